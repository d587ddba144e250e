"""podtls-ca controller: the real cluster, clock and election around reconcile(). Ends when the Lease is lost."""

import os
import signal
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

from ca.api import kube
from ca.controller.kubernetes import KubernetesControlPlane, lead
from ca.controller.reconcile import ControlPlane, Outcome, reconcile
from ca.errors import CAError, UnavailableError
from ca.settings import Settings

_ROUND_SECONDS: Final = 5.0
_RETRY_SECONDS: Final = 2.0


def control(environ: Mapping[str, str]) -> None:
    """Be a candidate for ever; as the leader, reconcile every few seconds.

    Raises ConfigurationError for wrong settings at the start, UnavailableError when the Lease was lost: the process
    ends and is started anew, so that no half-led state lives on.
    """
    # As PID 1 of a container the default action of SIGTERM would be nothing.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    settings = Settings.from_env(environ)
    configuration = kube.configuration(environ)
    cluster = KubernetesControlPlane(configuration, settings.identity.namespace)
    say(f"{settings.replica}: a candidate in {settings.identity.namespace}")
    lead(configuration, settings.identity.namespace, settings.replica, lambda: _rounds(cluster, settings))
    raise UnavailableError("the Lease was lost")


def _rounds(cluster: ControlPlane, settings: Settings) -> None:
    before: Outcome | None = None
    say(f"{settings.replica}: leads")
    while True:
        try:
            outcome = reconcile(cluster, settings.trust_domain, settings.zone, datetime.now(UTC))
        except CAError as error:
            # What is published stays; nothing is better served by ending here.
            say(str(error))
            time.sleep(_RETRY_SECONDS)
            continue
        if outcome != before:
            say(f"root until {outcome.root_until:%F}, issuing CA until {outcome.issuing_until:%F}")
            for warning in outcome.warnings:
                say(f"warning: {warning}")
        before = outcome
        time.sleep(_ROUND_SECONDS)


def say(line: str) -> None:
    """One line of the controller's log."""
    sys.stderr.write(f"podtls-ca controller: {line}{os.linesep}")

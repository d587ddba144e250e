"""podtls-ca controller: waits for the Lease, then reconciles every few seconds, as long as this replica leads.

The real cluster, clock and log around reconcile.py, which holds the policy. The process ends when the Lease is lost.
"""

import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Final

from kubernetes.client import CoordinationV1Api
from kubernetes.leaderelection.electionconfig import Config
from kubernetes.leaderelection.leaderelection import LeaderElection
from kubernetes.leaderelection.resourcelock.leaselock import LeaseLock

from ca.controller.kubernetes import KubernetesControlPlane, TimedClient, translate_errors
from ca.controller.reconcile import ControlPlane, Outcome, reconcile_authority
from ca.errors import CAError, UnavailableError
from ca.kubeconfig import load_configuration
from ca.settings import Settings
from contract.names import CONTROLLER_NAME

_ROUND_SECONDS: Final = 5.0
_RETRY_SECONDS: Final = 2.0


def run_controller(environ: Mapping[str, str]) -> None:
    """Wait for the Lease; as the leader, reconcile every few seconds.

    Raises ConfigurationError for wrong settings at the start, UnavailableError when the Lease is lost: then the process
    must end and start again, so that no state of the old term survives.
    """
    # As PID 1 of a container the default action of SIGTERM would be nothing.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    settings = Settings.from_env(environ)
    client = TimedClient(load_configuration(environ.get("KUBECONFIG", "")))
    namespace = settings.identity.namespace
    cluster = KubernetesControlPlane(client, namespace)
    _log(f"{settings.replica}: a candidate in {namespace}")
    lead(client, namespace, settings.replica, lambda: _reconcile_forever(cluster, settings))
    raise UnavailableError("the Lease was lost")


def _reconcile_forever(cluster: ControlPlane, settings: Settings) -> None:
    before: Outcome | None = None
    _log(f"{settings.replica}: leads")
    while True:
        try:
            outcome = reconcile_authority(cluster, settings.trust_domain, settings.zone, datetime.now(UTC))
        except CAError as error:
            # What is published stays; ending here would help nobody.
            _log(str(error))
            time.sleep(_RETRY_SECONDS)
            continue
        if outcome != before:
            _log_outcome(outcome)
        before = outcome
        time.sleep(_ROUND_SECONDS)


def _log_outcome(outcome: Outcome) -> None:
    _log(f"root until {outcome.root_until:%F}, issuing CA until {outcome.issuing_until:%F}")
    for warning in outcome.warnings:
        _log(f"warning: {warning}")


def _log(line: str) -> None:
    sys.stderr.write(f"podtls-ca controller: {line}{os.linesep}")


def lead(client: TimedClient, namespace: str, identity: str, work: Callable[[], None]) -> None:
    """Wait until the Lease is ours and do `work`; return when the Lease is lost or the work ended.

    Raises UnavailableError when the API server cannot be reached, or does not answer.
    """
    with translate_errors(f"Lease {CONTROLLER_NAME}"):
        create_candidate(client, namespace, identity, work).run()  # type: ignore[no-untyped-call]


def create_candidate(client: TimedClient, namespace: str, identity: str, work: Callable[[], None]) -> LeaderElection:
    """A candidate for the Lease, who has not asked for it yet."""
    config = Config(  # type: ignore[no-untyped-call]
        _ClientLeaseLock(client, namespace, identity),
        lease_duration=15,
        renew_deadline=10,
        retry_period=2,
        onstarted_leading=work,
        onstopped_leading=lambda: None,
    )
    return LeaderElection(config)  # type: ignore[no-untyped-call]


class _ClientLeaseLock(LeaseLock):
    """A LeaseLock over our own client: by itself it takes the process's default client, whose requests never end.

    If a server accepts connections and never answers (a load balancer that drops packets), both replicas would wait
    forever, alive and ready, and nobody would lead.
    """

    def __init__(self, client: TimedClient, namespace: str, identity: str) -> None:
        super().__init__(CONTROLLER_NAME, namespace, identity)  # type: ignore[no-untyped-call]
        self.api_instance = CoordinationV1Api(client)

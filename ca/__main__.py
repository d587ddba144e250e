"""The command podtls-ca: bootstrap, create, controller. Errors become one line and an exit code."""

import argparse
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NoReturn

from audit.errors import AuditError
from audit.log import EvidenceLog
from ca import bootstrap
from ca.authority import creation
from ca.authority.authority import load_authority
from ca.errors import CAError, UnavailableError
from ca.settings import Settings
from contract.names import EXIT_CONFIGURATION, EXIT_UNAVAILABLE
from injector.edge.render import render_edge
from injector.edge.settings import EdgeSettings
from injector.environment import read_listen_addresses
from injector.errors import InjectorError
from injector.nginx import network

_POLL_SECONDS: Final = 60  # how often --keep checks whether the serving certificate is due

_EPILOG: Final = """\
environment (all optional):
  PODTLS_TRUST_DOMAIN   trust domain of all identities            (cluster.local)
  PODTLS_ZONE           DNS zone of the cluster                   (cluster.local)
  PODTLS_AUTHORITY      directory with tls.crt, tls.key, ca.crt   (/var/run/podtls-authority)
  PODTLS_LOG            evidence log                              (/var/log/podtls/evidence.jsonl)
  PODTLS_SERVING_NAMES  DNS names of the CA API, with commas      (podtls-ca.podtls-system.svc and with the zone)
  PODTLS_NAMESPACE      namespace of podtls itself                (podtls-system)
  KUBECONFIG            controller: the cluster, when outside of it
  PODTLS_RUN            where the edge proxy reads its files      (/var/run/podtls)

examples:
  podtls-ca create ./authority
  PODTLS_AUTHORITY=./authority/issuing podtls-ca bootstrap

exit codes: 0; 64 wrong arguments or settings; 69 something is unavailable, try again"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code."""
    parsed = _parser().parse_args(arguments)
    try:
        if parsed.command == "create":
            _create(parsed.directory, os.environ)
        elif parsed.command == "controller":
            # Late: it brings the kubernetes client, and a CA pod starts with `bootstrap`.
            from ca.controller.leader import run_controller

            run_controller(os.environ)
        elif parsed.keep:
            _keep(os.environ)
        else:
            _bootstrap(os.environ, datetime.now(UTC))
    except (CAError, AuditError, InjectorError) as error:
        _log(f"{parsed.command}: {error}")
        return _exit_code(error)
    return 0


def _create(directory: Path, environ: Mapping[str, str]) -> None:
    settings = Settings.from_env(environ)
    made = creation.create_authority(settings.trust_domain, settings.zone, datetime.now(UTC))
    creation.save_authority(made, directory)
    root, issuing = made.root.certificate, made.issuing.certificate
    _log(f"create: {directory}: root until {root.not_valid_after_utc:%F}; keep {directory}/root.key offline")
    _log(f"create: {directory}/issuing: issuing CA until {issuing.not_valid_after_utc:%F}")


def _bootstrap(environ: Mapping[str, str], now: datetime) -> None:
    settings = Settings.from_env(environ)
    edge = EdgeSettings.of_kind("ca", environ)
    listen = read_listen_addresses(environ) or network.listen_addresses()
    path = bootstrap.issue_serving_certificate(
        settings,
        load_authority(settings.authority),
        EvidenceLog(settings.log),
        nginx_conf=render_edge(edge, run=settings.run_directory, listen=listen),
        now=now,
    )
    _log(f"bootstrap: {path}: {', '.join(settings.serving_names)}")


def _keep(environ: Mapping[str, str]) -> NoReturn:
    # As PID 1 of a container the default action of SIGTERM would be nothing.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    _bootstrap(environ, datetime.now(UTC))
    while True:
        time.sleep(_POLL_SECONDS)
        _renew_when_due(environ, datetime.now(UTC))


def _renew_when_due(environ: Mapping[str, str], now: datetime) -> None:
    try:
        settings = Settings.from_env(environ)
        if bootstrap.is_renewal_due(settings, load_authority(settings.authority), now):
            _bootstrap(environ, now)
    except (CAError, AuditError, InjectorError) as error:
        # The previous generation stays; the next poll tries again, and /readyz fails when its certificate expires.
        _log(f"bootstrap: {error}")


def _exit_code(error: CAError | AuditError | InjectorError) -> int:
    if isinstance(error, InjectorError):
        return error.exit_code
    passing = isinstance(error, (UnavailableError, AuditError))
    return EXIT_UNAVAILABLE if passing else EXIT_CONFIGURATION


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="podtls-ca",
        description="The certificate authority of podtls: what runs before and beside the CA API.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="bootstrap | create | controller")
    bootstrapping = commands.add_parser(
        "bootstrap", help="sign the serving certificate of this CA pod and write the files of its edge proxy"
    )
    bootstrapping.add_argument(
        "--keep", action="store_true", help="keep running, and renew it after two thirds of its life"
    )
    creating = commands.add_parser("create", help="make a new root and an issuing CA under it")
    creating.add_argument("directory", type=Path, metavar="DIR", help="gets root.crt, root.key and issuing/")
    commands.add_parser(
        "controller", help="keep authority, trust bundle and caBundle of a cluster (elected by a Lease)"
    )
    return parser


class _Parser(argparse.ArgumentParser):
    """argparse's own code for wrong arguments is 2; ours is the one of the other programs."""

    def error(self, message: str) -> NoReturn:
        self.exit(EXIT_CONFIGURATION, f"{self.prog}: {message}; try {self.prog} --help\n")


def _log(line: str) -> None:
    sys.stderr.write(f"podtls-ca {line}\n")


if __name__ == "__main__":
    sys.exit(main())

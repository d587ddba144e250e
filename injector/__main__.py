"""podtls-injector init | renew | check: the real clock, disk, network and Nginx wired together.

Errors become one line on stderr and in the termination message, and an exit code. When to renew is decided in
enroll/schedule.py, and here by what the CA says of the pod's names.
"""

import os
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from cryptography import x509

from contract.names import (
    ENV_TERMINATION_MESSAGE,
    ENV_TRUST_BUNDLE,
    ENV_TRUST_BUNDLE_FILE,
    EXIT_CONFIGURATION,
    TERMINATION_MESSAGE,
)
from injector import bootstrap, generation
from injector.edge.render import render_edge
from injector.edge.settings import read_edge_kind
from injector.enroll import certificate, est, schedule
from injector.enroll.https import HTTPSExchange
from injector.enroll.retry import persist
from injector.environment import read_run_directory
from injector.errors import InjectorError, RefusedError, SettingsError
from injector.nginx import network, program
from injector.nginx.render import Config, render_pod
from injector.settings import Settings

_EXIT_NOTHING_TO_DO: Final = 10
_RENEW_BUDGET: Final = 60  # seconds; the sidecar comes again anyway
_CA_POLL_INTERVAL: Final = 15  # seconds between two polls for a new generation in a CA pod
_EDGE_POLL_INTERVAL: Final = 60  # and in a webhook pod: until it has a certificate of a new root, no pod is admitted
_USAGE: Final = """\
podtls-injector init                      get a certificate, write a generation, exit 0
podtls-injector renew [POLLS [FAILURES]]  get a new one when it is time or when the names changed
podtls-injector check                     say whether the current generation is valid; exit 0 or 1

init exits with 0, 64 (configuration), 69 (CA or volume unavailable) or 77 (refused); `renew` does likewise, prints
the seconds until it wants to be called again, and exits with 10 when there was nothing to do."""


class SystemClock:
    """The real time."""

    monotonic = staticmethod(time.monotonic)
    sleep = staticmethod(time.sleep)

    @staticmethod
    def now() -> datetime:
        """The time of day, aware, UTC."""
        return datetime.now(UTC)

    @staticmethod
    def chance() -> float:
        """A random number, 0 <= x < 1."""
        return int.from_bytes(os.urandom(4), "big") / 2**32


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code."""
    match list(sys.argv[1:] if arguments is None else arguments):
        case ["init"]:
            return _init(os.environ)
        case ["renew", *counts] if len(counts) <= 2 and all(count.isdecimal() for count in counts):
            polls, failures = [*map(int, counts), 0, 0][:2]
            return _renew(os.environ, polls=polls, failures=failures)
        case ["check"]:
            return _check(os.environ)
        case ["-h" | "--help"]:
            _print_result(_USAGE)
            return 0
        case _:
            sys.stderr.write(f"{_USAGE}\n")
            return EXIT_CONFIGURATION


def _init(environ: Mapping[str, str]) -> int:
    try:
        settings = _read_settings(environ)
        _enroll(settings, budget=settings.budget)
    except InjectorError as error:
        _log(f"init: {error}")
        _leave_message(environ, f"podtls init: {error}")
        return error.exit_code
    return 0


def _renew(environ: Mapping[str, str], *, polls: int, failures: int) -> int:
    clock = SystemClock()
    try:
        if read_edge_kind(environ) == "ca":
            # A CA pod signs its own certificate (`podtls-ca bootstrap`); the sidecar serves what it finds.
            _print_result(_CA_POLL_INTERVAL)
            return _EXIT_NOTHING_TO_DO
        settings = _read_settings(environ)
        chain = _read_chain(settings.paths.run)
        renews = _wants_renewal(chain, settings, polls=polls)
        if renews:
            chain = _enroll(settings, budget=min(settings.budget, _RENEW_BUDGET)).chain
    except InjectorError as error:
        pause = schedule.seconds_to_retry(failures, chance=clock.chance())
        _log(f"renew: {error}; the certificate before stays, next try in {pause} s")
        _print_result(pause)
        return error.exit_code
    pause = schedule.seconds_to_poll(chain[0], now=clock.now(), polls=polls, chance=clock.chance())
    _print_result(min(pause, _EDGE_POLL_INTERVAL) if settings.edge else pause)
    return 0 if renews else _EXIT_NOTHING_TO_DO


def _check(environ: Mapping[str, str]) -> int:
    try:
        current = generation.read(read_run_directory(environ))
        chain = tuple(x509.load_pem_x509_certificates(current.certificate))
        bundle = certificate.Bundle.parse(current.bundle)
        if not certificate.matches(chain, current.key):
            raise RefusedError("the certificate is for another key")
        certificate.verify_chain(chain, bundle=bundle, now=SystemClock.now())
    except (InjectorError, ValueError) as error:
        _print_result(f"podtls check: {error}")
        return 1
    _print_result(f"podtls check: {_describe(chain[0])}")
    return 0


def _read_settings(environ: Mapping[str, str]) -> Settings:
    """The settings, with the trust bundle of the file that is named, as it is now. Raises SettingsError."""
    if path := environ.get(ENV_TRUST_BUNDLE_FILE):
        try:
            environ = {**environ, ENV_TRUST_BUNDLE: Path(path).read_text(encoding="ascii")}
        except (OSError, ValueError) as error:
            raise SettingsError(f"{ENV_TRUST_BUNDLE_FILE}={path!r}: no readable PEM file: {error}") from error
    return Settings.from_env(environ)


def _wants_renewal(chain: certificate.Chain, settings: Settings, *, polls: int) -> bool:
    """Whether a new certificate is wanted: it is time, or the CA would give other names. The first poll asks nobody."""
    if schedule.is_renewal_due(chain, bundle=settings.bundle, now=SystemClock.now()):
        return True
    return polls > 0 and _fetch_names(settings) != certificate.names(chain[0])[0]


def _fetch_names(settings: Settings) -> frozenset[str]:
    """The DNS names that the CA would give this pod now. Raises RefusedError when it takes us for another one."""
    exchange = _exchange(settings)
    names = persist(
        lambda deadline: est.fetch_names(exchange, token=_read_token(settings), deadline=deadline),
        budget=min(settings.budget, _RENEW_BUDGET),
        clock=SystemClock(),
    )
    if names.uri != str(settings.identity):
        raise RefusedError(f"the CA says that this pod is {names.uri[:300]!r}, and it is {settings.identity}")
    return names.dns


def _enroll(settings: Settings, *, budget: int) -> bootstrap.Enrollment:
    """Walk the path of bootstrap.py with real effects."""
    clock = SystemClock()
    exchange = _exchange(settings)
    enrollment = bootstrap.enroll(
        settings,
        _render_nginx_conf(settings),
        ask=lambda request: persist(
            lambda deadline: est.enroll(exchange, request, token=_read_token(settings), deadline=deadline),
            budget=budget,
            clock=clock,
        ),
        now=clock.now,
        publish=lambda new: generation.write(settings.paths.run, new, accept=program.test),
    )
    _log(f"{enrollment.directory.name}: {_describe(enrollment.chain[0])}")
    return enrollment


def _render_nginx_conf(settings: Settings) -> str:
    listen = settings.listen or network.listen_addresses()
    if settings.edge is not None:
        return render_edge(settings.edge, run=settings.paths.run, listen=listen)
    return render_pod(
        Config(
            run=settings.paths.run,
            listen=listen,
            mode=settings.mode,
            trust_domain=settings.identity.trust_domain,
            ports=settings.ports,
            upstreams=settings.upstreams,
            resolvers=network.resolvers(settings.paths.resolv_conf) if settings.upstreams else (),
            stream_module=program.stream_module(),
        )
    )


def _exchange(settings: Settings) -> HTTPSExchange:
    return HTTPSExchange(settings.ca_endpoint, settings.bundle.pem)


def _read_token(settings: Settings) -> str:
    """The token as it is now: kubelet renews the file. Raises SettingsError."""
    path = settings.paths.token
    try:
        token = path.read_text(encoding="ascii").strip()
    except (OSError, ValueError) as error:
        raise SettingsError(f"{path}: no readable token: {error}") from error
    # RFC 6750 section 2.1; a line break would write further headers.
    if not token or not all(character.isalnum() or character in "-._~+/=" for character in token):
        raise SettingsError(f"{path}: {len(token)} characters that are not a bearer token (RFC 6750 section 2.1)")
    return token


def _read_chain(run: Path) -> certificate.Chain:
    try:
        return tuple(x509.load_pem_x509_certificates(generation.read(run).certificate))
    except ValueError as error:
        raise SettingsError(f"{run}: the current certificate cannot be read: {error}") from error


def _describe(leaf: x509.Certificate) -> str:
    dns, uris = certificate.names(leaf)
    return f"{', '.join(sorted(uris))} until {leaf.not_valid_after_utc:%Y-%m-%dT%H:%M:%SZ} as {', '.join(sorted(dns))}"


def _print_result(line: object) -> None:
    sys.stdout.write(f"{line}\n")


def _log(line: str) -> None:
    sys.stderr.write(f"podtls {line}\n")


def _leave_message(environ: Mapping[str, str], line: str) -> None:
    """Leave the line where kubelet reads it; 4096 bytes are what it takes."""
    path = environ.get(ENV_TERMINATION_MESSAGE, TERMINATION_MESSAGE)
    try:
        Path(path).write_text(line[:2000] + "\n", encoding="utf-8")
    except OSError as error:
        _log(f"init: {path}: no termination message: {error.strerror}")


if __name__ == "__main__":
    sys.exit(main())

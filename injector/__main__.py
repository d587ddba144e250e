"""podtls-injector init | renew | check: the real clock, disk, network and Nginx wired together.

Errors become one line on stderr and in the termination message, and an exit code. No decision is taken here.
"""

import os
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from cryptography import x509

from contract.names import ENV_TRUST_BUNDLE, ENV_TRUST_BUNDLE_FILE, EXIT_CONFIGURATION, TERMINATION_MESSAGE
from injector import bootstrap, generation
from injector.enroll import certificate, est, schedule
from injector.enroll.https import Https
from injector.enroll.retry import persist
from injector.errors import InjectorError, RefusedError, SettingsError
from injector.nginx import network, program, render
from injector.settings import ENV_TERMINATION_MESSAGE, Settings, front_kind, run_directory

_EXIT_NOTHING_TO_DO: Final = 10
_RENEW_BUDGET: Final = 60  # seconds; the sidecar comes again anyway
_CA_FRONT_SECONDS: Final = 15  # how often the sidecar of a CA pod looks for a new generation
_FRONT_SECONDS: Final = 60  # and that of a webhook pod: until it has a certificate of a new root, no pod is admitted
_USAGE: Final = """\
podtls-injector init                      get a certificate, write a generation, exit 0
podtls-injector renew [LOOKS [FAILURES]]  get a new one when it is time or when the names changed
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
    """Run one command and answer the exit code."""
    match list(sys.argv[1:] if arguments is None else arguments):
        case ["init"]:
            return _init(os.environ)
        case ["renew", *counts] if len(counts) <= 2 and all(count.isdecimal() for count in counts):
            looks, failures = [*map(int, counts), 0, 0][:2]
            return _renew(os.environ, looks=looks, failures=failures)
        case ["check"]:
            return _check(os.environ)
        case ["-h" | "--help"]:
            _answer(_USAGE)
            return 0
        case _:
            sys.stderr.write(f"{_USAGE}\n")
            return EXIT_CONFIGURATION


def _init(environ: Mapping[str, str]) -> int:
    try:
        settings = _settings(environ)
        _enroll(settings, budget=settings.budget)
    except InjectorError as error:
        _say(f"init: {error}")
        _leave_message(environ, f"podtls init: {error}")
        return error.exit_code
    return 0


def _renew(environ: Mapping[str, str], *, looks: int, failures: int) -> int:
    clock = SystemClock()
    try:
        if front_kind(environ) == "ca":
            # A CA pod signs its own certificate (`podtls-ca bootstrap`); the sidecar serves what it finds.
            _answer(_CA_FRONT_SECONDS)
            return _EXIT_NOTHING_TO_DO
        settings = _settings(environ)
        chain = _current_chain(settings.paths.run)
        renewed = _is_due(chain, settings, looks=looks)
        if renewed:
            chain = _current_chain(_enroll(settings, budget=min(settings.budget, _RENEW_BUDGET)).parent)
    except InjectorError as error:
        pause = schedule.seconds_to_retry(failures, chance=clock.chance())
        _say(f"renew: {error}; the certificate before stays, next try in {pause} s")
        _answer(pause)
        return error.exit_code
    pause = schedule.seconds_to_next(chain[0], now=clock.now(), looks=looks, chance=clock.chance())
    _answer(min(pause, _FRONT_SECONDS) if settings.front else pause)
    return 0 if renewed else _EXIT_NOTHING_TO_DO


def _check(environ: Mapping[str, str]) -> int:
    try:
        current = generation.read(run_directory(environ))
        chain = tuple(x509.load_pem_x509_certificates(current.certificate))
        bundle = certificate.Bundle.parse(current.bundle)
        if not certificate.matches(chain, current.key):
            raise RefusedError("the certificate is for another key")
        certificate.verify_chain(chain, bundle=bundle, now=SystemClock.now())
    except (InjectorError, ValueError) as error:
        _answer(f"podtls check: {error}")
        return 1
    _answer(f"podtls check: {_describe(chain[0])}")
    return 0


def _settings(environ: Mapping[str, str]) -> Settings:
    """The settings, with the trust bundle of the file that is named, as it is now. Raises SettingsError."""
    if path := environ.get(ENV_TRUST_BUNDLE_FILE):
        try:
            environ = {**environ, ENV_TRUST_BUNDLE: Path(path).read_text(encoding="ascii")}
        except (OSError, ValueError) as error:
            raise SettingsError(f"{ENV_TRUST_BUNDLE_FILE}={path!r}: no readable PEM file: {error}") from error
    return Settings.from_env(environ)


def _is_due(chain: certificate.Chain, settings: Settings, *, looks: int) -> bool:
    """Whether it is time, the root is another one, or the CA would give other names. The first look asks nobody."""
    leaf, now = chain[0], SystemClock.now()
    if certificate.renewal_due(leaf) <= now or not certificate.is_trusted(chain, bundle=settings.bundle, now=now):
        return True
    if looks == 0:
        return False
    exchange = _exchange(settings)
    names = persist(
        lambda deadline: est.fetch_names(exchange, token=_token(settings), deadline=deadline),
        budget=min(settings.budget, _RENEW_BUDGET),
        clock=SystemClock(),
    )
    if names.uri != str(settings.identity):
        raise RefusedError(f"the CA says that this pod is {names.uri[:300]!r}, and it is {settings.identity}")
    return names.dns != certificate.names(leaf)[0]


def _enroll(settings: Settings, *, budget: int) -> Path:
    """Walk the path of bootstrap.py with real effects; answer the new generation's directory."""
    clock = SystemClock()
    exchange = _exchange(settings)
    directory = bootstrap.enroll(
        settings,
        _nginx_conf(settings),
        ask=lambda request: persist(
            lambda deadline: est.enroll(exchange, request, token=_token(settings), deadline=deadline),
            budget=budget,
            clock=clock,
        ),
        now=clock.now,
        publish=lambda new: generation.write(settings.paths.run, new, accept=program.test),
    )
    _say(f"{directory.name}: {_describe(_current_chain(directory.parent)[0])}")
    return directory


def _nginx_conf(settings: Settings) -> str:
    listen = settings.listen or network.listen_addresses()
    if settings.front is not None:
        return render.render_front(settings.front, run=settings.paths.run, listen=listen)
    return render.render(
        render.Config(
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


def _exchange(settings: Settings) -> Https:
    return Https(settings.door, settings.bundle.pem)


def _token(settings: Settings) -> str:
    """The token as it is now: kubelet renews the file. Raises SettingsError."""
    path = settings.paths.token
    try:
        token = path.read_text(encoding="ascii").strip()
    except (OSError, ValueError) as error:
        raise SettingsError(f"{path}: no readable token: {error}") from error
    # RFC 6750 section 2.1; a line break would write further headers.
    if not token or not all(character.isalnum() or character in "-._~+/=" for character in token):
        raise SettingsError(f"{path}: {len(token)} characters that are no bearer token (RFC 6750 section 2.1)")
    return token


def _current_chain(run: Path) -> certificate.Chain:
    try:
        return tuple(x509.load_pem_x509_certificates(generation.read(run).certificate))
    except ValueError as error:
        raise SettingsError(f"{run}: the current certificate cannot be read: {error}") from error


def _describe(leaf: x509.Certificate) -> str:
    dns, uris = certificate.names(leaf)
    return f"{', '.join(sorted(uris))} until {leaf.not_valid_after_utc:%Y-%m-%dT%H:%M:%SZ} as {', '.join(sorted(dns))}"


def _answer(line: object) -> None:
    sys.stdout.write(f"{line}\n")


def _say(line: str) -> None:
    sys.stderr.write(f"podtls {line}\n")


def _leave_message(environ: Mapping[str, str], line: str) -> None:
    """Leave the line where kubelet reads it; 4096 bytes are what it takes."""
    path = environ.get(ENV_TERMINATION_MESSAGE, TERMINATION_MESSAGE)
    try:
        Path(path).write_text(line[:2000] + "\n", encoding="utf-8")
    except OSError as error:
        _say(f"init: {path}: no termination message: {error.strerror}")


if __name__ == "__main__":
    sys.exit(main())

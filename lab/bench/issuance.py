"""CPU of signing a leaf beside OpenSSL's own share of it, and of a whole enrollment at the CA."""

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec

from ca.authority.authority import load_authority
from ca.authority.leaf import LeafNames, issue
from contract.identity import TrustDomain, WorkloadIdentity
from contract.names import LIFETIME_SECONDS
from lab.bench import admission, authority, cpu, figures, openssl, review
from lab.bench.authority import RunningCA
from lab.bench.client import connected
from lab.bench.errors import MissingError
from lab.bench.figures import Options, Row
from lab.bench.standin import ACCOUNT

ISSUE: Final = "podtls: ca.authority.leaf"
SHARE: Final = "openssl speed: sign + verify"
WHOLE: Final = "podtls: Nginx + gunicorn"
SHARE_TARGET: Final = 3.0
WHOLE_TARGET_US: Final = 1800.0
_LEAVES: Final = 500  # of a round
_ENROLLMENTS: Final = 40  # of a round


def measure(options: Options) -> list[Row]:
    """The issuance rows. Raises BenchError, MissingError (no Nginx)."""
    with TemporaryDirectory(prefix="podtls-bench-") as temporary:
        directory = Path(temporary)
        rows = _signing(directory / "authority", options)
        options.log("starting the CA")
        with authority.serving(directory, admission.injected_pod(directory)) as ca:
            numbers = count()
            _enrollments(ca, numbers)  # The first ones connect to the API server and warm both processes up.
            measured = figures.interleave(
                {WHOLE: partial(_enrollments, ca, numbers)},
                rounds=options.rounds,
                on_round=partial(_told, options, "enrollment"),
            )
    whole = figures.own("enrollment at the CA", WHOLE, "us CPU", measured[WHOLE])
    return [*rows, figures.own_below(whole, WHOLE_TARGET_US)]


def _signing(directory: Path, options: Options) -> list[Row]:
    sign = leaf_signer(directory)
    subjects: dict[str, Callable[[], float]] = {ISSUE: partial(_leaves, sign), SHARE: openssl.sign_and_verify_us}
    try:
        openssl.sign_and_verify_us()
    except MissingError as error:
        options.log(f"{error}: OpenSSL's share is left out")
        del subjects[SHARE]
    told = partial(_told, options, "signing")
    measured = figures.interleave(subjects, rounds=options.rounds, on_round=told)
    ours = figures.own("issuance", ISSUE, "us CPU", measured[ISSUE])
    if SHARE not in measured:
        return [ours]
    return [ours, figures.peer(ours, SHARE, measured[SHARE], at_most=SHARE_TARGET, words="at most 3 x")]


def leaf_signer(directory: Path) -> Callable[[], object]:
    """What issues one leaf of a usual pod, by a new authority in a new folder. Raises BenchError."""
    authority.create(directory)
    identity = WorkloadIdentity(TrustDomain(authority.TRUST_DOMAIN), review.NAMESPACE, ACCOUNT)
    bases = ("checkout.shop.svc", "checkout-admin.shop.svc")
    dns = (*bases, *(f"{base}.{authority.ZONE}" for base in bases), f"10-1-2-3.shop.pod.{authority.ZONE}")
    return partial(
        issue,
        ec.generate_private_key(ec.SECP256R1()).public_key(),
        LeafNames(identity, dns),
        authority=load_authority(directory / "issuing"),
        now=datetime.now(UTC),
        lifetime=timedelta(seconds=LIFETIME_SECONDS),
    )


def _leaves(sign: Callable[[], object]) -> float:
    """CPU microseconds of one leaf, in this process."""
    sign()
    before = time.process_time()
    for _ in range(_LEAVES):
        sign()
    return (time.process_time() - before) / _LEAVES * 1e6


def _enrollments(ca: RunningCA, numbers: Iterator[int]) -> float:
    """CPU microseconds of one enrollment at the CA: a connection of its own, as each pod has, and its handshake too."""
    context = ca.server.endpoint.context()
    requests = [(ca.standin.create_pod(next(numbers)), authority.signing_request()) for _ in range(_ENROLLMENTS)]
    before = cpu.tree_seconds(ca.server.roots)
    for token, request in requests:
        with connected(ca.server.endpoint, context) as connection:
            authority.enroll(connection, token, request)
    return (cpu.tree_seconds(ca.server.roots) - before) / _ENROLLMENTS * 1e6


def _told(options: Options, what: str, number: int) -> None:
    options.log(f"{what}, round {number + 1} of {options.rounds}")

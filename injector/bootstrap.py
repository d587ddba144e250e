"""How a pod gets its identity: key, request, certificate, check, generation, in this order, one function a step.

`init` and `renew` both walk this path. The effects (asking, the time, writing) are arguments; a failure of any step
leaves the generation before as it was.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from injector.enroll.certificate import (
    Chain,
    encode_chain,
    encode_key,
    make_key,
    make_request,
    verify,
    without_authorities,
)
from injector.generation import Generation
from injector.settings import Settings


@dataclass(frozen=True, slots=True)
class Enrollment:
    """A new identity of the pod: the directory of its generation, and the chain in it."""

    directory: Path
    chain: Chain


def enroll(
    settings: Settings,
    nginx: str,
    *,
    ask: Callable[[bytes], Chain],
    now: Callable[[], datetime],
    publish: Callable[[Generation], Path],
) -> Enrollment:
    """Make a key, have it certified, and publish both with their nginx.conf.

    Raises RefusedError for a certificate that is not what we asked for, and what `ask` and `publish` raise.
    """
    key = make_key()
    request = make_request(key)
    sent = ask(request)
    verify(sent, key=key, bundle=settings.bundle, identity=settings.identity, now=now())
    chain = without_authorities(sent, settings.bundle)
    directory = publish(
        Generation(
            key=encode_key(key),
            certificate=encode_chain(chain),
            bundle=settings.bundle.pem,
            nginx=nginx.encode(),
        )
    )
    return Enrollment(directory, chain)

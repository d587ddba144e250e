"""How a pod gets its identity: key, request, certificate, check, generation, in this order, one function a step.

`init` and `renew` both walk this path. The effects (asking, the time, writing) are arguments; a failure of any step
leaves the generation before as it was.
"""

from collections.abc import Callable
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


def enroll(
    settings: Settings,
    nginx: str,
    *,
    ask: Callable[[bytes], Chain],
    now: Callable[[], datetime],
    publish: Callable[[Generation], Path],
) -> Path:
    """Make a key, have it certified, and publish both with their nginx.conf; answer the new generation's directory.

    Raises RefusedError for a certificate that is not what we asked for, and what `ask` and `publish` raise.
    """
    key = make_key()
    request = make_request(key)
    chain = ask(request)
    verify(chain, key=key, bundle=settings.bundle, identity=settings.identity, now=now())
    return publish(
        Generation(
            key=encode_key(key),
            certificate=encode_chain(without_authorities(chain, settings.bundle)),
            bundle=settings.bundle.pem,
            nginx=nginx.encode(),
        )
    )

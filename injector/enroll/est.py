"""What we ask the CA: a certificate (EST, RFC 7030) and our names. The only home of what a status means."""

import base64
import json
import re
from dataclasses import dataclass
from typing import Final

from cryptography import x509

from contract.names import PATH_ENROLL, PATH_NAMES, TYPE_PEM_CHAIN
from injector.enroll.certificate import Chain
from injector.enroll.https import Exchange, HTTPRequest, HTTPResponse
from injector.errors import InjectorError, RefusedError, TokenRefusedError, UnavailableError

# Worth another try: 202 is EST's "not yet" (RFC 7030 section 4.2.3), the others are trouble that passes.
_LATER: Final = {202, 408, 429, 500, 502, 503, 504}
_CHAIN_LIMIT: Final = 8  # certificates


@dataclass(frozen=True, slots=True)
class GrantedNames:
    """The names that the CA would put into this pod's certificate now."""

    dns: frozenset[str]
    uri: str


def enroll(exchange: Exchange, request: bytes, *, token: str, deadline: float) -> Chain:
    """Ask for a certificate (RFC 7030 section 4.2). Returns the chain, leaf first, not yet verified.

    Raises RefusedError (TokenRefusedError for a 401) when the CA says no, and UnavailableError when there is no
    usable response: garbage is a proxy's error page more often than anything else.
    """
    response = exchange(
        HTTPRequest(
            method="POST",
            path=PATH_ENROLL,
            token=token,
            headers=(
                ("Accept", TYPE_PEM_CHAIN),
                ("Content-Type", "application/pkcs10"),
                ("Content-Transfer-Encoding", "base64"),
            ),
            body=base64.encodebytes(request),
        ),
        deadline=deadline,
    )
    return _parse_chain(_accepted(response, TYPE_PEM_CHAIN))


def fetch_names(exchange: Exchange, *, token: str, deadline: float) -> GrantedNames:
    """Ask which names the CA would give us now; raises as `enroll` does."""
    request = HTTPRequest(method="GET", path=PATH_NAMES, token=token, headers=(("Accept", "application/json"),))
    body = _accepted(exchange(request, deadline=deadline), "application/json")
    try:
        members = json.loads(body)
        return GrantedNames(dns=frozenset(str(name) for name in members["dns"]), uri=str(members["uri"]))
    except (ValueError, TypeError, KeyError) as error:
        raise UnavailableError(f"the CA's names response is malformed: {body[:80]!r}") from error


def _accepted(response: HTTPResponse, content_type: str) -> bytes:
    """The body of a 200 of the right type; anything else raises what it means."""
    if response.status != 200:
        raise _error(response)
    if response.content_type.partition(";")[0].strip().lower() != content_type:
        raise UnavailableError(f"the CA answered {response.content_type[:80]!r} instead of {content_type}")
    return response.body


def _error(response: HTTPResponse) -> InjectorError:
    said = f"the CA answered {response.status}{_quote(response.body)}"
    if response.status == 401:
        return TokenRefusedError(f"{said} (the pod's token is not accepted)")
    if response.status in _LATER:
        # Retry-After may be a date as well; then our own pace is as good.
        wish = response.retry_after
        return UnavailableError(said, retry_after=float(wish) if re.fullmatch(r"[0-9]{1,6}", wish) else None)
    if 400 <= response.status < 500:
        return RefusedError(said)
    return UnavailableError(said)


def _parse_chain(pem: bytes) -> Chain:
    try:
        chain = tuple(x509.load_pem_x509_certificates(pem))
    except ValueError as error:
        raise UnavailableError(f"the CA's response is not a certificate chain: {pem[:80]!r}") from error
    if len(chain) > _CHAIN_LIMIT:
        raise UnavailableError(f"the CA's chain has {len(chain)} certificates, at most {_CHAIN_LIMIT} are allowed")
    return chain


def _quote(body: bytes) -> str:
    """What the CA says, for a human, on one line and without control characters."""
    text = " ".join(body[:300].decode("utf-8", "replace").split())
    return f": {''.join(character for character in text if character.isprintable())}" if text else ""

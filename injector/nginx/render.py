"""nginx.conf as text: `render` for a pod's app traffic, `render_front` for our own pods. Pure: values in, text out.

The text lies in templates/ (package data); a golden of each kind lies in tests/golden/nginx. All values that get here
were parsed by settings.py or endpoints.py, so none can hold a quote, a `$` or a control character.
"""

import re
import string
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import ClassVar, Final

from contract.names import (
    BODY_LIMIT,
    CA_BODY_LIMIT,
    CURRENT,
    DRAINING_FILE,
    HEADER_CALLER,
    HEADER_SOURCE,
    PID_FILE,
    VERSION,
)
from injector.edge import errors
from injector.nginx.endpoints import Inbound, Upstream
from injector.settings import FrontSettings

_TEMPLATES: Final = Path(__file__).parent / "templates"

# kind -> (seconds that the app may take, body limit). kube-apiserver waits 5 s; the CA asks the API server.
_FRONTS: Final = {"webhook": (10, BODY_LIMIT), "ca": (30, CA_BODY_LIMIT)}


@dataclass(frozen=True, slots=True)
class Config:
    """A pod's app traffic."""

    run: Path
    listen: tuple[str, ...]  # addresses of the TLS ports: 0.0.0.0, [::]
    mode: str  # mtls | tls
    trust_domain: str
    ports: tuple[Inbound, ...]
    upstreams: tuple[Upstream, ...]
    resolvers: tuple[str, ...]  # of resolv.conf; used by upstreams only
    stream_module: Path | None = None  # a module to load, where stream is not built in


def render(config: Config) -> str:
    """nginx.conf for a pod: TLS ports before the app's ports, and upstreams that go out as mTLS."""
    blocks = [_clients(config)] if config.mode == "mtls" else []
    blocks += [_inbound(port, config) for port in config.ports]
    if config.upstreams:
        blocks.append(_fill("stream-resolver.conf", resolvers=" ".join(config.resolvers)))
    blocks += [_upstream(upstream) for upstream in config.upstreams]
    # At `info` Nginx says why a handshake failed and whose connection went where.
    module = f'load_module "{config.stream_module}";\n' if config.stream_module else ""
    return _main(_fill("stream.conf", blocks="".join(blocks)), run=config.run, load_module=module, log_level="info")


def render_front(front: FrontSettings, *, run: Path, listen: tuple[str, ...]) -> str:
    """nginx.conf for a front: HTTPS to the app's unix socket, with limits, and with answers when the app is gone."""
    read_timeout, body_limit = _FRONTS[front.kind]
    block = _fill(
        "front.conf",
        run=run,
        draining=DRAINING_FILE,
        certificate=_certificate(front.kind, run),
        listen=_listen(listen, front.port),
        error_type="application/json" if front.kind == "webhook" else "text/plain",
        body_limit=body_limit,
        rate=front.rate,
        burst=front.burst,
        connections=front.connections,
        app_socket=front.app_socket,
        client_ca=_fill("front-client-ca.conf", client_ca=front.client_ca) if front.client_ca else "",
        read_timeout=f"{read_timeout}s",
        header_source=HEADER_SOURCE,
        header_caller=HEADER_CALLER,
        errors=_errors(front.kind, body_limit),
    )
    return _main(block, run=run, load_module="", log_level="notice")


def _certificate(kind: str, run: Path) -> str:
    """Whence the front takes its certificate.

    kube-apiserver keeps its connections and does not try again when a reload closes one under a request, so the
    webhook's front reads a new certificate without a reload. The CA's clients come once, and try again.
    """
    if kind == "webhook":
        return _fill("front-certificate-by-handshake.conf", run=run, current=CURRENT)
    return _fill("front-certificate-at-start.conf")


def _main(block: str, *, run: Path, load_module: str, log_level: str) -> str:
    return _fill(
        "main.conf",
        version=VERSION,
        load_module=load_module,
        run=run,
        pid_file=PID_FILE,
        log_level=log_level,
        block=block.rstrip(),
    )


def _clients(config: Config) -> str:
    return _fill("stream-clients.conf", trust_domain_regex=re.escape(config.trust_domain))


def _inbound(port: Inbound, config: Config) -> str:
    template = "stream-inbound-mtls.conf" if config.mode == "mtls" else "stream-inbound-tls.conf"
    listen = _listen(config.listen, port.tls, options=" so_keepalive=5m::")
    return _fill(template, tls=port.tls, app=port.app, listen=listen)


def _upstream(upstream: Upstream) -> str:
    return _fill(
        "stream-upstream.conf",
        address=upstream.address,
        port=upstream.port,
        host=upstream.host,
        host_port=upstream.host_port,
    )


def _listen(addresses: tuple[str, ...], port: int, *, options: str = "") -> str:
    return "".join(f"        listen {address}:{port} ssl{options};\n" for address in addresses)


def _errors(kind: str, body_limit: int) -> str:
    """One location per status that Nginx itself may answer with; what the app answers passes unchanged."""
    return "".join(
        _fill(
            "front-error.conf",
            codes=" ".join(str(code) for code in error.nginx_codes) + f" ={error.code}",
            code=error.code,
            retry_after="            add_header Retry-After 1 always;\n" if error.retry else "",
            elsewhere="            keepalive_timeout 0;\n" if error.elsewhere else "",
            body=errors.status_body(error, body_limit) if kind == "webhook" else "$podtls_no_body",
        )
        for error in errors.FRONT_ERRORS
    )


class _Template(string.Template):
    """`@{name}`, since Nginx needs the dollar for itself."""

    delimiter: ClassVar[str] = "@"
    idpattern: ClassVar[str] = r"(?!)"  # a bare @name is text
    braceidpattern: ClassVar[str] = r"[a-z_]+"


@cache
def _template(name: str) -> _Template:
    return _Template((_TEMPLATES / name).read_text(encoding="utf-8"))


def _fill(name: str, **values: object) -> str:
    """Fill a template; a name that stands in only one of the two is our bug and rises as KeyError."""
    return _template(name).substitute(values)

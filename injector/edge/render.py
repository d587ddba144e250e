"""nginx.conf of an edge proxy: HTTPS before an app of ours. Pure: values in, text out.

The text lies in templates/ (package data); a golden of each kind lies in tests/golden/nginx.
"""

from pathlib import Path
from typing import Final

from contract.names import BODY_LIMIT, CA_BODY_LIMIT, CURRENT, DRAINING_FILE, HEADER_CALLER, HEADER_SOURCE
from injector.edge.errors import EDGE_ERRORS, EdgeError, encode_body
from injector.edge.settings import EdgeSettings
from injector.nginx.template import fill, fill_listen, fill_main

_TEMPLATES: Final = Path(__file__).parent / "templates"

# kind -> (seconds that the app may take, body limit). kube-apiserver waits 5 s; the CA asks the API server.
_KINDS: Final = {"webhook": (10, BODY_LIMIT), "ca": (30, CA_BODY_LIMIT)}


def render_edge(edge: EdgeSettings, *, run: Path, listen: tuple[str, ...]) -> str:
    """HTTPS to the app's unix socket, with limits, and with responses of its own when the app is gone."""
    read_timeout, body_limit = _KINDS[edge.kind]
    block = fill(
        _TEMPLATES / "edge.conf",
        run=run,
        draining=DRAINING_FILE,
        certificate=_certificate(edge.kind, run),
        listen=fill_listen(listen, edge.port),
        error_type="application/json" if edge.kind == "webhook" else "text/plain",
        body_limit=body_limit,
        rate=edge.rate,
        burst=edge.burst,
        connections=edge.connections,
        app_socket=edge.app_socket,
        client_ca=fill(_TEMPLATES / "client-ca.conf", client_ca=edge.client_ca) if edge.client_ca else "",
        read_timeout=f"{read_timeout}s",
        header_source=HEADER_SOURCE,
        header_caller=HEADER_CALLER,
        errors="".join(_error(error, edge.kind, body_limit) for error in EDGE_ERRORS),
    )
    return fill_main(block, run=run, load_module="", log_level="notice")


def _certificate(kind: str, run: Path) -> str:
    """Where the proxy takes its certificate from.

    kube-apiserver keeps its connections and does not try again when a reload closes one under a request, so the
    webhook's edge proxy reads a new certificate without a reload. The CA's clients come once, and try again.
    """
    if kind == "webhook":
        return fill(_TEMPLATES / "certificate-by-handshake.conf", run=run, current=CURRENT)
    return fill(_TEMPLATES / "certificate-at-start.conf")


def _error(error: EdgeError, kind: str, body_limit: int) -> str:
    """The location of a status that Nginx itself may answer with; the app's own responses pass unchanged."""
    return fill(
        _TEMPLATES / "error.conf",
        codes=" ".join(str(code) for code in error.nginx_codes) + f" ={error.code}",
        code=error.code,
        retry_after="            add_header Retry-After 1 always;\n" if error.retry else "",
        elsewhere="            keepalive_timeout 0;\n" if error.elsewhere else "",
        body=encode_body(error, body_limit) if kind == "webhook" else "$podtls_no_body",
    )

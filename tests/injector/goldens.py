"""The goldens of nginx.conf: `python -m tests.injector.goldens` writes them anew; review the diff like code."""

from pathlib import Path
from typing import Final

from contract.grammar import parse_port_pairs, parse_upstreams
from contract.identity import TrustDomain
from contract.names import ENV_EDGE_CLIENT_CA, RUN_DIRECTORY
from injector.edge.render import render_edge
from injector.edge.settings import EdgeSettings
from injector.nginx.render import Config, render_pod

DIRECTORY: Final = Path(__file__).parents[1] / "golden" / "nginx"
_RUN: Final = Path(RUN_DIRECTORY)
_ALL: Final = ("0.0.0.0", "[::]")  # noqa: S104 - text, nobody binds it


def cases() -> dict[str, str]:
    """Name -> nginx.conf as we render it now."""
    client_ca = {ENV_EDGE_CLIENT_CA: "/etc/podtls/client-ca.crt"}
    return {
        "mtls-two-ports": _render(ports="8443=8080,8444=9090", listen=_ALL),
        "tls-one-port": _render(mode="tls", ports="8443=8080"),
        "upstreams-and-a-module": _render(
            ports="8443=8080",
            upstreams="127.0.1.1:80=payments.shop.svc.cluster.local:443,127.0.1.2:5432=db-0.db.bank.svc.cluster.local:8443",
            stream_module=Path("/usr/lib/nginx/modules/ngx_stream_module.so"),
        ),
        "no-ports": _render(trust_domain="prod.example-1.org"),
        "edge-webhook": _edge("webhook", client_ca),
        "edge-ca": _edge("ca", {}),
    }


def write() -> None:
    """Write all goldens, remove those of cases that are gone."""
    DIRECTORY.mkdir(parents=True, exist_ok=True)
    for old in DIRECTORY.glob("*.conf"):
        old.unlink()
    for name, text in cases().items():
        (DIRECTORY / f"{name}.conf").write_text(text)


def _render(
    *,
    ports: str = "",
    upstreams: str = "",
    mode: str = "mtls",
    trust_domain: str = "cluster.local",
    listen: tuple[str, ...] = _ALL[:1],
    stream_module: Path | None = None,
) -> str:
    return render_pod(
        Config(
            run=_RUN,
            listen=listen,
            mode=mode,
            trust_domain=TrustDomain(trust_domain),
            ports=parse_port_pairs(ports) if ports else (),
            upstreams=parse_upstreams(upstreams) if upstreams else (),
            resolvers=("10.96.0.10", "[fd00::a]"),
            stream_module=stream_module,
        )
    )


def _edge(kind: str, environ: dict[str, str]) -> str:
    return render_edge(EdgeSettings.of_kind(kind, environ), run=_RUN, listen=_ALL)


if __name__ == "__main__":
    write()

"""nginx.conf of an enrolled pod: TLS ports before the app's ports, and upstreams that leave as mTLS. Pure.

The text lies in templates/ (package data); a golden of each kind lies in tests/golden/nginx.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from contract.grammar import PortPair, Upstream
from contract.identity import TrustDomain
from injector.nginx.template import fill, fill_listen, fill_main

_TEMPLATES: Final = Path(__file__).parent / "templates"


@dataclass(frozen=True, slots=True)
class _Mode:
    """How a mode treats who connects: the template of a TLS port, and whether it asks the map of clients."""

    inbound: str
    asks_clients: bool


_MODES: Final = {
    "mtls": _Mode("stream-inbound-mtls.conf", asks_clients=True),
    "tls": _Mode("stream-inbound-tls.conf", asks_clients=False),
}


@dataclass(frozen=True, slots=True)
class Config:
    """A pod's app traffic."""

    run: Path
    listen: tuple[str, ...]  # addresses of the TLS ports: 0.0.0.0, [::]
    mode: str  # of contract.names.SUPPORTED_MODES
    trust_domain: TrustDomain
    ports: tuple[PortPair, ...]
    upstreams: tuple[Upstream, ...]
    resolvers: tuple[str, ...]  # of resolv.conf; used by upstreams only
    stream_module: Path | None = None  # a module to load, where stream is not built in


def render_pod(config: Config) -> str:
    """nginx.conf for a pod's app traffic."""
    mode = _MODES[config.mode]
    blocks = [_clients(config.trust_domain)] if mode.asks_clients else []
    blocks += [_inbound(pair, mode, config.listen) for pair in config.ports]
    if config.upstreams:
        blocks.append(fill(_TEMPLATES / "stream-resolver.conf", resolvers=" ".join(config.resolvers)))
    blocks += [_upstream(upstream) for upstream in config.upstreams]
    module = f'load_module "{config.stream_module}";\n' if config.stream_module else ""
    block = fill(_TEMPLATES / "stream.conf", blocks="".join(blocks))
    # At `info` Nginx says why a handshake failed and whose connection went where.
    return fill_main(block, run=config.run, load_module=module, log_level="info")


def _clients(trust_domain: TrustDomain) -> str:
    return fill(_TEMPLATES / "stream-clients.conf", trust_domain_regex=re.escape(str(trust_domain)))


def _inbound(pair: PortPair, mode: _Mode, addresses: tuple[str, ...]) -> str:
    listen = fill_listen(addresses, pair.tls, options=" so_keepalive=5m::")
    return fill(_TEMPLATES / mode.inbound, tls=pair.tls, app=pair.app, listen=listen)


def _upstream(upstream: Upstream) -> str:
    return fill(
        _TEMPLATES / "stream-upstream.conf",
        address=upstream.address,
        port=upstream.port,
        host=upstream.host,
        host_port=upstream.remote_port,
    )

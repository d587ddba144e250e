"""What the pod's network has: DNS servers and IPv6. Reads two files."""

import ipaddress
from pathlib import Path
from typing import Final

from injector.errors import SettingsError

_IPV6: Final = Path("/proc/net/if_inet6")  # a line per IPv6 address; empty or absent without IPv6


def listen_addresses(ipv6: Path = _IPV6) -> tuple[str, ...]:
    """All addresses, as Nginx spells them. Two listeners, so that IPv4 peers are shown as IPv4."""
    try:
        return ("0.0.0.0", "[::]") if ipv6.read_text(encoding="ascii") else ("0.0.0.0",)  # noqa: S104 - a pod's ports
    except OSError:
        return ("0.0.0.0",)  # noqa: S104 - a kernel without IPv6


def resolvers(resolv_conf: Path) -> tuple[str, ...]:
    """The name servers as Nginx spells them; the local machine when there is none (resolv.conf(5)).

    Raises SettingsError when the file cannot be read. Scoped addresses are left out: Nginx does not know them.
    """
    try:
        lines = resolv_conf.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        raise SettingsError(f"{resolv_conf}: cannot be read: {error.strerror}") from error
    words = [line.split() for line in lines]
    found = [_spell(line[1]) for line in words if len(line) > 1 and line[0] == "nameserver"]
    return tuple(server for server in found if server) or ("127.0.0.1",)


def _spell(server: str) -> str:
    """Spell an address, or the [address]:port of BSD's resolv.conf(5), for Nginx; empty for what it cannot use."""
    host, _, port = server.removeprefix("[").partition("]:") if server.startswith("[") else (server, "", "")
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return ""
    if isinstance(address, ipaddress.IPv6Address):
        if address.scope_id is not None:
            return ""
        host = f"[{address}]"
    return f"{host}:{int(port)}" if port.isascii() and port.isdigit() else host

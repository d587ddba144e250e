"""The pods' network: a bridge in the sandbox, and for each pod namespaces of its own with one address on it.

Addresses mirror a common cluster: pods 10.244.0.0/16, Services 10.96.0.0/16. What is behind a Service is services.py's.
"""

import contextlib
import ipaddress
import itertools
import json
import subprocess
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from lab.sandbox.errors import SandboxError
from lab.sandbox.linux import kernel, launch

GATEWAY: Final = "10.244.0.1"  # the bridge: the node, the DNS server and the API server, as pods see them
POD_NETWORK: Final = ipaddress.ip_network("10.244.0.0/16")
SERVICE_NETWORK: Final = ipaddress.ip_network("10.96.0.0/16")
# Each pod answers on a second address too. What reaches it there came through a Service, and its answers go back
# through the proxy although they are addressed to the client's pod: so the pod can be shown the client's own address.
_RETURN_NETWORK: Final = "10.245.0.0/16"
_RETURN_TABLE: Final = 100
_BRIDGE: Final = "podtls0"
_SECONDS: Final = 10
_PINNED: Final = ("net", "uts", "ipc")
# A host that filters by reverse path would pass it on to us, and would drop the answers that go through the proxy.
_NO_REVERSE_PATH_FILTER: Final = {"net.ipv4.conf.all.rp_filter": "0", "net.ipv4.conf.default.rp_filter": "0"}


@dataclass(frozen=True, slots=True)
class PodNetwork:
    """A pod's place in the network: its address, its wire's end in the sandbox, and the pins of its namespaces."""

    address: str
    interface: str
    directory: Path

    @property
    def namespaces(self) -> dict[str, str]:
        """Files that stand for the pod's namespaces, by the names of /proc/PID/ns."""
        return {name: str(self.directory / name) for name in _PINNED}


class Network:
    """The bridge and its pods; `directory` (on the sandbox's own memory file system) keeps the pins."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._numbers = itertools.count(2)
        self._lock = threading.Lock()

    def up(self) -> None:
        """Make the bridge, once. Raises SandboxError."""
        launch.write_sysctls(_NO_REVERSE_PATH_FILTER)
        _ip(
            "link set lo up",
            f"link add {_BRIDGE} type bridge",
            f"addr add {GATEWAY}/16 dev {_BRIDGE}",
            f"addr add {return_address(GATEWAY)}/16 dev {_BRIDGE}",
            f"link set {_BRIDGE} up",
            # All Service addresses are this machine's, as to a proxy that listens on them.
            f"route add local {SERVICE_NETWORK} dev lo",
            f"route add local default dev lo table {_RETURN_TABLE}",
            f"rule add from {_RETURN_NETWORK} iif {_BRIDGE} lookup {_RETURN_TABLE} pref 1",
        )

    def add_pod(self, hostname: str, sysctls: Mapping[str, str]) -> PodNetwork:
        """Make namespaces for a pod and wire them to the bridge. Raises SandboxError."""
        with self._lock:
            number = next(self._numbers)
        pod = PodNetwork(str(POD_NETWORK[number]), f"veth{number}", self._directory / str(number))
        pod.directory.mkdir(parents=True)
        for pin in pod.namespaces.values():
            Path(pin).touch()
        plan = {
            "hostname": hostname,
            "pins": pod.namespaces,
            "sysctls": {**_NO_REVERSE_PATH_FILTER, **sysctls},
            "ip": _commands_inside(pod),
        }
        _run(launch.command("pod"), json.dumps(plan))
        _ip(f"link set {pod.interface} master {_BRIDGE} up")
        return pod

    def remove_pod(self, pod: PodNetwork) -> None:
        """Let the pod's namespaces go; they end with the last process in them. Its wire is cut at once."""
        with contextlib.suppress(SandboxError):  # The wire may have gone with the namespace.
            _ip(f"link del {pod.interface}")
        for pin in pod.namespaces.values():
            kernel.unmount(pin)
            Path(pin).unlink()
        pod.directory.rmdir()


def return_address(address: str) -> str:
    """The second address of the pod that has this first one."""
    offset = int(ipaddress.ip_address(address)) - int(POD_NETWORK.network_address)
    return str(ipaddress.ip_network(_RETURN_NETWORK)[offset])


def _commands_inside(pod: PodNetwork) -> Sequence[str]:
    return (
        "link set lo up",
        # The sandbox's first process is in the network namespace where the bridge is.
        f"link add eth0 type veth peer name {pod.interface} netns 1",
        f"addr add {pod.address}/16 dev eth0",
        f"addr add {return_address(pod.address)}/32 dev eth0",
        "link set eth0 up",
        f"route add default via {GATEWAY}",
        f"route add default via {GATEWAY} table {_RETURN_TABLE}",
        f"rule add from {_RETURN_NETWORK} lookup {_RETURN_TABLE}",
    )


def _ip(*commands: str, seconds: float = _SECONDS) -> None:
    _run(["ip", "-batch", "-"], "\n".join(commands), seconds)


def _run(command: Sequence[str], text: str, seconds: float = _SECONDS) -> None:
    try:
        subprocess.run(
            command, input=text, text=True, check=True, capture_output=True, timeout=seconds, env=launch.environment()
        )
    except subprocess.CalledProcessError as error:
        raise SandboxError(f"the network of the demo: {' '.join(command[-2:])}: {error.stderr.strip()}") from error
    except subprocess.TimeoutExpired as error:
        raise SandboxError(f"the network of the demo: {' '.join(command[-2:])}: nothing for {seconds} s") from error

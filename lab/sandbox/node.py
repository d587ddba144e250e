"""The stand-in node put together: network, DNS, Service proxy and kubelet, all in this process, in a sandbox."""

import asyncio
import contextlib
import importlib.resources
import threading
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

from lab.nginx import MissingNginxError, find_nginx
from lab.sandbox.errors import ContainerError, SandboxError
from lab.sandbox.kubelet import rootfs
from lab.sandbox.kubelet.container import NodeResources
from lab.sandbox.kubelet.kubelet import Kubelet
from lab.sandbox.linux import enclosure
from lab.sandbox.linux.capture import Capture
from lab.sandbox.linux.network import GATEWAY, Network
from lab.sandbox.linux.programs import find_interpreter
from lab.sandbox.services import dns
from lab.sandbox.services.proxy import Backend, ServiceName, ServiceProxy
from lab.sandbox.state import ClusterState

_SECONDS: Final = 10
_FIRST_PAUSE_SECONDS: Final = 1.0  # kubelet waits 10 s before a first restart; nobody should wait so long for a demo
_Result = TypeVar("_Result")


class Node:
    """A running node; `kubelet` runs pods on it."""

    def __init__(self, kubelet: Kubelet, loop: "_Loop", proxy: ServiceProxy) -> None:
        self.kubelet = kubelet
        self._loop = loop
        self._proxy = proxy

    def sync_services(self) -> None:
        """Return when the proxy listens for all Services there are; it follows them by itself too, a little later."""
        self._loop.run(self._proxy.sync())

    def capture(self, namespace: str, pod: str) -> Capture:
        """Begin a capture on a pod's wire. Raises NotFoundError, or ContainerError before it has one."""
        running = self.kubelet.pod(namespace, pod).sandbox
        if running is None:
            raise ContainerError(f"pod {namespace}/{pod} has no network yet")
        return Capture(running.network.interface)


@contextlib.contextmanager
def running_node(
    state: ClusterState,
    *,
    zone: str = "cluster.local",
    fixed_backends: Mapping[ServiceName, Sequence[Backend]] | None = None,
    directory: Path = enclosure.STATE / "node",
    first_pause: float = _FIRST_PAUSE_SECONDS,
) -> Iterator[Node]:
    """A node for as long as the block runs.

    `fixed_backends`: of Services without a selector, e.g. {("default", "kubernetes"): [("10.244.0.1", 6443)]}.
    Raises SandboxError: not in a sandbox, or a program is missing.
    """
    if not enclosure.is_inside():
        raise SandboxError("a node runs in a sandbox only: lab.sandbox.linux.enclosure.enter comes first")
    image = rootfs.image(Path("/"), find_interpreter(), _nginx(), _sidecar())
    network = Network(directory / "net")
    network.up()
    loop = _Loop()
    proxy = ServiceProxy(state, fixed_backends or {})
    close_dns = loop.run(dns.serve(dns.Names(state, zone).addresses, GATEWAY))
    loop.begin(proxy.follow())
    kubelet = Kubelet(NodeResources(state, network, image, directory, zone, first_pause))
    try:
        yield Node(kubelet, loop, proxy)
    finally:
        kubelet.stop()
        loop.call(close_dns)
        loop.run(proxy.close())
        loop.stop()


class _Loop:
    """An event loop in a thread of its own."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="node-network", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, _Result]) -> _Result:
        """Do it there and return its result."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(_SECONDS)

    def begin(self, work: Coroutine[Any, Any, None]) -> None:
        """Do it there, for as long as the loop runs."""
        asyncio.run_coroutine_threadsafe(work, self._loop)

    def call(self, function: Callable[[], None]) -> None:
        """Call it there."""
        self._loop.call_soon_threadsafe(function)

    def stop(self) -> None:
        """Cancel all other tasks, and end."""
        self.run(_cancel_others())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_SECONDS)
        self._loop.close()


async def _cancel_others() -> None:
    others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


def _nginx() -> Path:
    try:
        return find_nginx().program
    except MissingNginxError as error:
        raise SandboxError(str(error)) from error


def _sidecar() -> str:
    """The script of podtls-sidecar, as the image has it."""
    script = importlib.resources.files("injector") / "sidecar.sh"
    if not script.is_file():
        raise SandboxError("injector/sidecar.sh is missing from this installation")
    return script.read_text(encoding="utf-8")

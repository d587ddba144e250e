"""The stand-in node put together: network, DNS, Service proxy and kubelet, all in this process, in a sandbox."""

import asyncio
import contextlib
import importlib.resources
import threading
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

from podtls.demo import dns, rootfs, sandbox
from podtls.demo.assembly import Surroundings
from podtls.demo.capture import Capture
from podtls.demo.errors import ContainerError, SandboxError
from podtls.demo.kubelet import Kubelet
from podtls.demo.network import GATEWAY, Network
from podtls.demo.programs import find_interpreter, find_nginx
from podtls.demo.services import Backend, ServiceName, ServiceProxy
from podtls.demo.state import ClusterState

_SECONDS: Final = 10
_FIRST_PAUSE_SECONDS: Final = 1.0  # kubelet waits 10 s before a first restart; who watches a demo should not
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
    directory: Path = sandbox.STATE / "node",
    first_pause: float = _FIRST_PAUSE_SECONDS,
) -> Iterator[Node]:
    """A node for as long as the block runs.

    `fixed_backends`: of Services without a selector, e.g. {("default", "kubernetes"): [("10.244.0.1", 6443)]}.
    Raises SandboxError: not in a sandbox, or a program is missing.
    """
    if not sandbox.is_inside():
        raise SandboxError("a node runs in a sandbox only: podtls.demo.sandbox.enter comes first")
    image = rootfs.image(Path("/"), find_interpreter(), find_nginx(), _sidecar())
    network = Network(directory / "net")
    network.up()
    loop = _Loop()
    proxy = ServiceProxy(state, fixed_backends or {})
    close_dns = loop.run(dns.serve(dns.Names(state, zone).addresses, GATEWAY))
    loop.begin(proxy.follow())
    kubelet = Kubelet(Surroundings(state, network, image, directory, zone, first_pause))
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
        """Cancel what is still going on, and end."""
        self.run(_cancel_others())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_SECONDS)
        self._loop.close()


async def _cancel_others() -> None:
    others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


def _sidecar() -> str:
    """The script of podtls-sidecar, as the image has it."""
    script = importlib.resources.files("injector") / "sidecar.sh"
    if not script.is_file():
        raise SandboxError("injector/sidecar.sh is missing from this installation")
    return script.read_text(encoding="utf-8")

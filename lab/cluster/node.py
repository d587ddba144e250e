"""A real node beside the control plane: containerd, kubelet, kube-proxy and CoreDNS in namespaces of their own."""

import os
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from lab.cluster import node_config
from lab.cluster.binaries import binary
from lab.cluster.cluster import Cluster
from lab.cluster.control_plane import Place, Site, answers, start_control_plane
from lab.cluster.errors import ClusterError
from lab.cluster.images import Image, build_pause
from lab.cluster.journal import Run
from lab.cluster.namespaces import ADDRESS, Namespaces, open_namespaces
from lab.cluster.node_config import NODE
from lab.cluster.processes import Process, start, wait_until
from lab.cluster.sweep import cgroup_name, make_cgroups

DNS = Path(__file__).parent / "manifests/dns.yaml"
API_PORT = 6443
RELAY = Path(__file__).parent / "relay.py"
# Asked through the API server, since the node's network cannot be reached from here.
PROBES = {
    "kube-proxy": f"/api/v1/nodes/http:{NODE}:10256/proxy/healthz",
    "CoreDNS": f"/api/v1/nodes/http:{NODE}:8181/proxy/ready",
}


@dataclass(frozen=True, slots=True)
class Node:
    """A running node: its cluster, and what only somebody on the node can do."""

    cluster: Cluster
    namespaces: Namespaces
    programs: tuple[Process, ...]

    def run(self, *argv: str, input: str | None = None) -> str:  # noqa: A002  (the name subprocess uses)
        """Run a command as root on the node, in its network, mounts and process numbers; returns its stdout."""
        return self.namespaces.run(*argv, input=input)

    def load(self, image: Image) -> None:
        """Make an image known to the node; pods name it with `imagePullPolicy: Never` or `IfNotPresent`."""
        _import(self.namespaces, image)

    def container_pid(self, namespace: str, pod: str, *, container: str) -> int:
        """The process number, on the node, of a running container's first process."""
        status = self.cluster.get("pod", pod, "--namespace", namespace)["status"]
        entries = [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]
        (identifier,) = [entry["containerID"] for entry in entries if entry["name"] == container]
        tasks = [line.split() for line in self.run("ctr", "--namespace=k8s.io", "tasks", "list").splitlines()]
        return next(int(pid) for task, pid, *_ in tasks if task == identifier.removeprefix("containerd://"))

    def provide_volume(self, namespace: str, claim: str, *, size: str = "1Gi", limit: str | None = None) -> None:
        """A PersistentVolume for one claim: on the node's disk, or with a limit such as `16m` a tmpfs of that size.

        A `local` volume, because fsGroup applies to it; a `hostPath` would stay root's.
        """
        name = f"{namespace}-{claim}"
        path = f"/var/lib/podtls-volumes/{name}"
        self.run("mkdir", "-p", path)
        if limit:
            # One that is there keeps what is in it.
            self.run("sh", "-euc", f"mountpoint -q {path} || mount -t tmpfs -o size={limit} tmpfs {path}")
        host = {"key": "kubernetes.io/hostname", "operator": "In", "values": [NODE]}
        spec = {
            "capacity": {"storage": size},
            "accessModes": ["ReadWriteOnce"],
            "persistentVolumeReclaimPolicy": "Retain",
            "storageClassName": "",
            "claimRef": {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": namespace, "name": claim},
            "local": {"path": path},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [host]}]}},
        }
        self.cluster.apply({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name}, "spec": spec})


def start_node(run: Run, *, api_server_arguments: Sequence[str] = ()) -> Node:
    """Start a control plane and a node; returns when the node is Ready, and Services and DNS answer."""
    pause = build_pause()
    make_cgroups(run)
    namespaces = open_namespaces(run)
    containerd = _start_containerd(run, namespaces, pause=pause)
    relay, port = _start_relay(run, namespaces)
    place = Place(ADDRESS, 2379, 2380, API_PORT, client_port=port, enter=namespaces.enter)
    control_plane = start_control_plane(run, place, api_server_arguments=api_server_arguments)
    cluster, site = control_plane.cluster, control_plane.site
    cluster.kubectl("apply", "--server-side", "-f", str(DNS))
    wait_until("containerd answers", lambda: _has_containerd(namespaces), watched=[containerd])
    _import(namespaces, pause)
    joining = (_start_kubelet(site), _start_kube_proxy(site), _start_coredns(site))
    programs = (namespaces.holder, relay, *control_plane.programs, containerd, *joining)
    wait_until("the node is Ready", lambda: _is_ready(cluster), watched=programs, seconds=120)
    for name, url in PROBES.items():
        wait_until(f"{name} is ready", partial(answers, cluster, url), watched=programs)
    return Node(cluster, namespaces, programs)


def _start_containerd(run: Run, namespaces: Namespaces, *, pause: Image) -> Process:
    node_config.write_json(run.folder / "cni/podtls.conflist", node_config.cni())
    config = run.folder / "containerd.toml"
    names = {"sandbox_image": pause.name, "cni_plugins": node_config.CNI_PLUGINS, "cni_config": run.folder / "cni"}
    config.write_text(node_config.CONTAINERD % names)
    return start(run, "containerd", [*namespaces.enter, "containerd", f"--config={config}"])


def _start_relay(run: Run, namespaces: Namespaces) -> tuple[Process, int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        os.set_inheritable(listener.fileno(), True)
        command = [sys.executable, str(RELAY), str(listener.fileno()), ADDRESS, str(API_PORT)]
        process = start(run, "relay", [*namespaces.enter_network, *command])
        return process, listener.getsockname()[1]


def _start_kubelet(site: Site) -> Process:
    resolv_conf = site.run.folder / "resolv.conf"
    resolv_conf.write_text(node_config.RESOLV_CONF)
    config = node_config.kubelet(cgroup_name(site.run), site.authority.path, resolv_conf=resolv_conf)
    path = node_config.write_json(site.run.folder / "kubelet.json", config)
    kubeconfig = site.kubeconfig(f"system:node:{NODE}", "system:nodes")
    names = [f"--hostname-override={NODE}", f"--node-ip={ADDRESS}"]
    return _start(site, "kubelet", f"--config={path}", f"--kubeconfig={kubeconfig}", *names)


def _start_kube_proxy(site: Site) -> Process:
    config = node_config.kube_proxy(site.kubeconfig("system:kube-proxy"))
    path = node_config.write_json(site.run.folder / "kube-proxy.json", config)
    return _start(site, "kube-proxy", f"--config={path}")


def _start_coredns(site: Site) -> Process:
    path = site.run.folder / "Corefile"
    path.write_text(node_config.COREFILE % site.kubeconfig("coredns"))
    return _start(site, "coredns", f"-conf={path}")


def _start(site: Site, name: str, *arguments: str) -> Process:
    return start(site.run, name, [*site.place.enter, binary(name), *arguments])


def _import(namespaces: Namespaces, image: Image) -> None:
    namespaces.run("ctr", "--namespace=k8s.io", "images", "import", str(image.archive))


def _has_containerd(namespaces: Namespaces) -> bool:
    try:
        namespaces.run("ctr", "version")
    except ClusterError:
        return False
    return True


def _is_ready(cluster: Cluster) -> bool:
    conditions = [
        condition["status"]
        for node in cluster.get("nodes")["items"]
        for condition in node["status"]["conditions"]
        if condition["type"] == "Ready"
    ]
    return conditions == ["True"]

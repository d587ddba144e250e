"""etcd, kube-apiserver, kube-controller-manager and kube-scheduler, on the machine itself or inside a node."""

import socket
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from lab.cluster.binaries import binary
from lab.cluster.cluster import Cluster, write_kubeconfig
from lab.cluster.errors import KubectlError
from lab.cluster.journal import Run
from lab.cluster.pki import (
    ClusterAuthority,
    create_cluster_authority,
    issue_client,
    issue_server,
    write_service_account_keys,
)
from lab.cluster.processes import Process, start, wait_until

AUDIT_POLICY = Path(__file__).parent / "manifests/audit-policy.yaml"
ISSUER = "https://kubernetes.default.svc"
SERVICE_RANGE = "10.96.0.0/16"
SERVER_NAMES = ("kubernetes", "kubernetes.default", "kubernetes.default.svc", "localhost")
SERVER_ADDRESSES = ("127.0.0.1", "10.96.0.1")


@dataclass(frozen=True, slots=True)
class Place:
    """Where the programs run: what they bind, how they are entered, and where clients outside reach the API server."""

    address: str
    etcd_port: int
    etcd_peer_port: int
    api_port: int
    client_port: int
    enter: tuple[str, ...] = ()

    @property
    def server(self) -> str:
        """The API server as programs in this place reach it."""
        return f"https://{self.address}:{self.api_port}"

    @property
    def etcd(self) -> str:
        """Etcd's address for clients."""
        return f"http://127.0.0.1:{self.etcd_port}"


@dataclass(frozen=True, slots=True)
class Site:
    """What every program of a cluster is started with: the run that it belongs to, its place, its authority."""

    run: Run
    place: Place
    authority: ClusterAuthority

    def kubeconfig(self, user: str, group: str | None = None) -> Path:
        """A kubeconfig for one of the cluster's programs, as a user of its own."""
        pair = issue_client(self.authority, user, group=group)
        path = self.authority.folder / f"{pair.key.stem}.kubeconfig"
        return write_kubeconfig(path, self.place.server, authority=self.authority, user=pair)


@dataclass(frozen=True, slots=True)
class ControlPlane:
    """A running control plane, and the site that a node of it is built on."""

    cluster: Cluster
    site: Site
    programs: tuple[Process, ...]


def on_loopback() -> Place:
    """A place on this machine, without root."""
    etcd, peer, server = find_free_ports(3)
    return Place("127.0.0.1", etcd, peer, server, client_port=server)


def find_free_ports(count: int) -> list[int]:
    """Ports of loopback that nobody listened on a moment ago, all different."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def start_control_plane(run: Run, place: Place, *, api_server_arguments: Sequence[str] = ()) -> ControlPlane:
    """Start all four programs; returns when service accounts are made in new namespaces."""
    site = Site(run, place, create_cluster_authority(run.folder / "pki"))
    etcd = _start(site, "etcd", _etcd_flags(site))
    server = _start(site, "kube-apiserver", _api_server_flags(site), *api_server_arguments)
    cluster = _cluster(site)
    wait_until("kube-apiserver is ready", lambda: answers(cluster, "/readyz"), watched=(etcd, server), seconds=120)
    manager = _start(site, "kube-controller-manager", _manager_flags(site))
    scheduler = _start(site, "kube-scheduler", _scheduler_flags(site))
    programs = (etcd, server, manager, scheduler)
    account = "/api/v1/namespaces/default/serviceaccounts/default"
    wait_until("the default service account is there", lambda: answers(cluster, account), watched=programs)
    return ControlPlane(cluster, site, programs)


def answers(cluster: Cluster, path: str) -> bool:
    """Whether the API server answers this path with success."""
    try:
        cluster.kubectl("get", "--raw", path, "--request-timeout=2s")
    except KubectlError:
        return False
    return True


def _cluster(site: Site) -> Cluster:
    admin = issue_client(site.authority, "admin", group="system:masters")
    server = f"https://127.0.0.1:{site.place.client_port}"
    path = write_kubeconfig(site.run.folder / "kubeconfig", server, authority=site.authority, user=admin)
    return Cluster(site.run, path, server, site.run.logs / "audit.log")


def _start(site: Site, name: str, settings: Mapping[str, object], *more: str) -> Process:
    flags = [f"--{key}={value}" for key, value in settings.items()]
    return start(site.run, name, [*site.place.enter, binary(name), *flags, *more])


def _etcd_flags(site: Site) -> dict[str, object]:
    clients, peers = site.place.etcd, f"http://127.0.0.1:{site.place.etcd_peer_port}"
    return {
        "data-dir": site.run.folder / "etcd",
        "unsafe-no-fsync": "true",
        "listen-client-urls": clients,
        "advertise-client-urls": clients,
        "listen-peer-urls": peers,
        "initial-advertise-peer-urls": peers,
        "initial-cluster": f"default={peers}",
    }


def _api_server_flags(site: Site) -> dict[str, object]:
    place, authority = site.place, site.authority
    serving = issue_server(authority, names=SERVER_NAMES, addresses=[*SERVER_ADDRESSES, place.address])
    kubelet = issue_client(authority, "kube-apiserver-kubelet-client", group="system:masters")
    accounts = write_service_account_keys(authority.folder)
    on_node = bool(place.enter)
    return {
        "etcd-servers": place.etcd,
        "secure-port": place.api_port,
        "bind-address": "0.0.0.0" if on_node else place.address,  # noqa: S104  (all of the node's own network)
        "advertise-address": place.address,
        # The endpoint of the Service `kubernetes` may not be a loopback address.
        "endpoint-reconciler-type": "lease" if on_node else "none",
        "tls-cert-file": serving.certificate,
        "tls-private-key-file": serving.key,
        "client-ca-file": authority.path,
        "kubelet-client-certificate": kubelet.certificate,
        "kubelet-client-key": kubelet.key,
        "kubelet-preferred-address-types": "InternalIP",
        "service-cluster-ip-range": SERVICE_RANGE,
        "service-account-issuer": ISSUER,
        "service-account-key-file": accounts.certificate,
        "service-account-signing-key-file": accounts.key,
        "api-audiences": ISSUER,
        "authorization-mode": "Node,RBAC",
        "enable-admission-plugins": "NodeRestriction",
        "allow-privileged": "true",
        "audit-policy-file": AUDIT_POLICY,
        "audit-log-path": site.run.logs / "audit.log",
    }


def _manager_flags(site: Site) -> dict[str, object]:
    return {
        "kubeconfig": site.kubeconfig("system:kube-controller-manager"),
        "service-account-private-key-file": site.authority.folder / "service-account.key",
        "root-ca-file": site.authority.path,
        "use-service-account-credentials": "true",  # Else every controller is one user in the reviews.
        "leader-elect": "false",
        "secure-port": 0,
        "kube-api-qps": 500,  # The default of 20 is meant to spare a big cluster; here it is the start-up time.
        "kube-api-burst": 500,
    }


def _scheduler_flags(site: Site) -> dict[str, object]:
    return {"kubeconfig": site.kubeconfig("system:kube-scheduler"), "leader-elect": "false", "secure-port": 0}

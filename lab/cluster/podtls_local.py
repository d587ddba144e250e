"""podtls on a control plane without a node: its real objects in the cluster, its real programs as processes here.

The controller and the CA hold tokens of their own ServiceAccounts, so what their RBAC lets them do is all they can do.
The webhook enrolls at the real CA with a token of the pod that the StatefulSet's controller has made for it.
"""

import base64
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from contract.names import (
    BUNDLE_CONFIG_MAP,
    BUNDLE_FILE,
    CA_NAME,
    CA_SERVICE,
    CONTROLLER_NAME,
    ENV_AUTHORITY,
    ENV_EDGE_PORT,
    ENV_LISTEN,
    ENV_LOG,
    ENV_RUN,
    ENV_SOCKET,
    ENV_TRUST_BUNDLE_FILE,
    ISSUING_SECRET,
    WEBHOOK_NAME,
    WEBHOOK_SERVICE,
)
from injector import generation
from injector.edge.render import render_edge
from injector.edge.settings import EdgeSettings
from injector.enroll import certificate, est
from injector.generation import Generation
from lab.cluster.cluster import Cluster
from lab.cluster.control_plane import find_free_ports
from lab.cluster.endpoint import LOOPBACK, SECONDS, LoopbackEndpoint, give_address, pod_token
from lab.cluster.installation import (
    CONFIGURATION,
    CONFIGURATIONS,
    NAMESPACE,
    Object,
    account_kubeconfig,
    environment,
    find,
    leading_to_loopback,
    on_local_ports,
    render,
)
from lab.cluster.processes import Process, is_running, kill_with_children, start, wait_until
from lab.nginx import build_edge_command, find_nginx

ROOT = Path(__file__).parents[2]
APPS = {"ca": "ca.api.app", "webhook": "webhook.app"}
SERVICES = {"ca": CA_SERVICE, "webhook": WEBHOOK_SERVICE}


@dataclass
class Podtls:
    """podtls in one cluster. `objects` are the manifests as applied; ports and folders stay the same over restarts."""

    cluster: Cluster
    folder: Path
    objects: list[Object]
    ports: Mapping[str, int]
    programs: dict[str, Process] = field(default_factory=dict)
    commands: dict[str, list[str]] = field(default_factory=dict)

    # --- what the tests ask -------------------------------------------------------------------------------------

    @property
    def bundle(self) -> bytes:
        """The trust bundle as the ConfigMap has it."""
        found = self.cluster.get("configmap", BUNDLE_CONFIG_MAP, "--namespace", NAMESPACE)
        return str(found["data"][BUNDLE_FILE]).encode()

    @cached_property
    def init_image(self) -> str:
        """The image that the webhook injects."""
        workload = find(self.objects, "StatefulSet", WEBHOOK_NAME)
        return str(workload["spec"]["template"]["spec"]["initContainers"][0]["image"])

    def endpoint(self, name: str) -> LoopbackEndpoint:
        """The HTTPS endpoint of `ca` or `webhook`."""
        return LoopbackEndpoint(SERVICES[name], self.ports[name], self.bundle)

    def records(self, name: str) -> list[dict[str, Any]]:
        """The evidence of `ca` or `webhook`."""
        log = self.folder / name / "evidence.jsonl"
        return [json.loads(line) for line in log.read_bytes().splitlines()] if log.exists() else []

    def ca_bundles(self) -> set[bytes]:
        """Every caBundle in our webhook configurations; empty where there is none."""
        found = (self.cluster.get(kind, CONFIGURATION)["webhooks"] for kind in CONFIGURATIONS)
        return {base64.b64decode(entry["clientConfig"].get("caBundle", "")) for entries in found for entry in entries}

    # --- starting and stopping ----------------------------------------------------------------------------------

    def start_controller(self, replica: str = "podtls-controller-a") -> Process:
        """`podtls-ca controller` as the ServiceAccount podtls-controller."""
        variables = environment(self.objects, "Deployment", CONTROLLER_NAME, container="controller", pod=replica)
        kubeconfig = account_kubeconfig(self.cluster, CONTROLLER_NAME, self.folder / f"{replica}.kubeconfig")
        return self._start(replica, [sys.executable, "-m", "ca", "controller"], variables, KUBECONFIG=kubeconfig)

    def await_authority(self) -> None:
        """Return when the controller has published what pods and API server must trust."""
        watched = [each for name, each in self.programs.items() if "controller" in name]
        bundle = ["configmap", BUNDLE_CONFIG_MAP, "--namespace", NAMESPACE, "--ignore-not-found"]
        wait_until("the bundle is published", lambda: bool(self.cluster.kubectl("get", *bundle)), watched=watched)
        wait_until("caBundle is published", lambda: self.ca_bundles() == {self.bundle}, watched=watched)

    def start_ca(self) -> None:
        """Write the authority's files as the kubelet would, and start the CA with its edge proxy."""
        directory = self.folder / "ca"
        secret = self.cluster.get("secret", ISSUING_SECRET, "--namespace", NAMESPACE)
        for name, content in secret["data"].items():
            _write(directory / "authority" / name, base64.b64decode(content))
        variables = environment(self.objects, "StatefulSet", CA_NAME, container="ca", pod="podtls-ca-0")
        variables |= {
            ENV_AUTHORITY: str(directory / "authority"),
            ENV_LISTEN: LOOPBACK,
            ENV_EDGE_PORT: str(self.ports["ca"]),
            **self._places(directory),
        }
        bootstrap = self._start("ca-bootstrap", [sys.executable, "-m", "ca", "bootstrap", "--keep"], variables)
        wait_until("the CA has its certificate", (directory / "run/current").exists, watched=[bootstrap])
        kubeconfig = account_kubeconfig(self.cluster, CA_NAME, self.folder / "podtls-ca.kubeconfig")
        self._serve("ca", variables, KUBECONFIG=kubeconfig)

    def admit_webhook(self) -> None:
        """Enroll the webhook, start it, and lead kube-apiserver to it."""
        give_address(self.cluster, NAMESPACE, "podtls-webhook-0")
        self._enroll_webhook()
        self.start_webhook()
        # Last, since the CA gives names of Services that choose the pod, and an ExternalName chooses none.
        services = (find(self.objects, "Service", f"podtls-{name}") for name in self.ports)
        self.cluster.apply(*map(leading_to_loopback, services))

    def start_webhook(self) -> None:
        """Start the webhook with its edge proxy, on the identity that it was given."""
        directory = self.folder / "webhook"
        _write(directory / "bundle" / BUNDLE_FILE, self.bundle)
        variables = environment(self.objects, "StatefulSet", WEBHOOK_NAME, container="webhook", pod="podtls-webhook-0")
        variables |= {
            ENV_TRUST_BUNDLE_FILE: str(directory / "bundle" / BUNDLE_FILE),
            **self._places(directory),
        }
        self._serve("webhook", variables)

    def _enroll_webhook(self) -> None:
        """Fetch the webhook's certificate from the real CA, as podtls-init does for the pod podtls-webhook-0."""
        token = pod_token(self.cluster, NAMESPACE, "podtls-webhook-0", account=WEBHOOK_NAME)
        key = certificate.make_key()
        chain = est.enroll(
            self.endpoint("ca"), certificate.make_request(key), token=token, deadline=time.monotonic() + SECONDS
        )
        run, places = self.folder / "webhook/run", self._places(self.folder / "webhook")
        edge = EdgeSettings.of_kind("webhook", {**places, ENV_EDGE_PORT: str(self.ports["webhook"])})
        rendered = render_edge(edge, run=run, listen=(LOOPBACK,)).encode()
        files = Generation(certificate.encode_key(key), certificate.encode_chain(chain), self.bundle, rendered)
        generation.write(run, files)

    def stop(self, *names: str) -> None:
        """End programs of ours, all when none is named; those that are not running are left out."""
        for name in names or tuple(self.programs):
            process = self.programs.pop(name, None)
            if process is not None and is_running(process):
                os.kill(process.pid, signal.SIGTERM)
                wait_until(f"{name} has ended", partial(_has_ended, process), seconds=40)

    def kill(self, name: str) -> None:
        """`kill -9` of a program and of what it has started, as the kernel ends a container with its process 1."""
        kill_with_children(self.programs[name])

    def start_again(self, name: str) -> None:
        """The same command once more, as kubelet does when a container has ended."""
        self.programs[name] = start(self.cluster.run, f"podtls-{name}", self.commands[name])

    # --- parts --------------------------------------------------------------------------------------------------

    def _places(self, directory: Path) -> dict[str, str]:
        (directory / "run").mkdir(parents=True, exist_ok=True)
        return {
            ENV_RUN: str(directory / "run"),
            ENV_SOCKET: str(directory / "app.sock"),
            ENV_LOG: str(directory / "evidence.jsonl"),
        }

    def _serve(self, name: str, variables: Mapping[str, str], **more: Path) -> None:
        """Gunicorn and Nginx, until the endpoint answers."""
        # By itself gunicorn would take a folder in /dev/shm, which nobody removes after a `kill -9`.
        counters = self.folder / name / "metrics"
        counters.mkdir(exist_ok=True)
        command = [sys.executable, "-m", "gunicorn", "-c", f"python:{name}.gunicorn_conf", f"{APPS[name]}:from_env()"]
        app = self._start(name, command, variables, PROMETHEUS_MULTIPROC_DIR=counters, **more)
        wait_until(f"{name} listens", Path(variables[ENV_SOCKET]).exists, watched=[app])
        edge = self._start(f"{name}-edge", _edge_proxy(self.folder / name / "run"), {})
        wait_until(f"{name} is ready", self.endpoint(name).is_ready, watched=[app, edge])

    def _start(self, name: str, argv: Sequence[str], variables: Mapping[str, str], **more: Path) -> Process:
        settings = {"PYTHONPATH": ROOT, **variables, **more}
        assigned = [f"{key}={value}" for key, value in settings.items()]
        self.commands[name] = ["env", *assigned, *argv]
        self.start_again(name)
        return self.programs[name]


@contextmanager
def running_podtls(cluster: Cluster) -> Iterator[Podtls]:
    """podtls, working, in a cluster that has none. NotReadyError."""
    podtls = prepared(cluster)
    try:
        podtls.start_controller()
        podtls.await_authority()
        podtls.start_ca()
        podtls.admit_webhook()
        yield podtls
    finally:
        podtls.stop()


def prepared(cluster: Cluster) -> Podtls:
    """Podtls's objects in the cluster, and none of its programs running."""
    ports = dict(zip(("webhook", "ca"), find_free_ports(2), strict=True))
    objects = on_local_ports(render(), ports["webhook"])
    folder = cluster.run.folder / "podtls"
    folder.mkdir(mode=0o700)
    cluster.apply(*objects)
    return Podtls(cluster, folder, objects, ports)


def _edge_proxy(run: Path) -> list[str]:
    # Nginx overwrites its environment by its title, so that a sweep would not know it: it ends with its parent instead.
    assert shutil.which("setpriv"), "util-linux's setpriv is missing"
    return ["setpriv", "--pdeathsig", "TERM", *build_edge_command(find_nginx().program, run)]


def _has_ended(process: Process) -> bool:
    return not is_running(process)


def _write(path: Path, content: bytes) -> None:
    """As the kubelet: the file is there whole, or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}")
    fresh.write_bytes(content)
    fresh.chmod(0o600)
    fresh.rename(path)

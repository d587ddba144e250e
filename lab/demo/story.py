"""The demo from its first to its last line: each step started, shown and proven, in the order of a real enrollment.

How things look is show.py's; what they prove is decided in proofs/.
"""

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from cryptography import x509

from contract.names import CERTIFICATE_FILE, CURRENT, INJECT, INJECTED, KEY_FILE, RUN_VOLUME, STATUS
from contract.status_annotation import InjectionStatus
from lab.demo.cluster import DemoCluster
from lab.demo.peers import IMPOSTOR, VISITOR, find_client, find_server, impostor, visit, visitor
from lab.demo.proofs import evidence, refusals
from lab.demo.proofs.clients import Identity, Target, ask
from lab.demo.proofs.renewal import begun_renewal
from lab.demo.show import Show, names
from lab.sandbox.apiserver.admission import Admitted
from lab.sandbox.apiserver.store import Object
from lab.sandbox.errors import DemoError
from lab.sandbox.manifests import CONTROL_PLANE, build, load_workloads
from podtls.auditor.command import audit

_APP_SECONDS: Final = 30.0
_POLL_SECONDS: Final = 0.1
ENROLL: Final = {INJECT: "enabled"}


@dataclass(slots=True)
class Story:
    """One run of the demo: its cluster, its console, and the results of its proofs."""

    cluster: DemoCluster
    show: Show
    enrolled: list[Admitted] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    proven: int = 0
    serials: dict[int, str] = field(default_factory=dict)

    def run(self, manifest: Path) -> refusals.ProofSetup:
        """All of it. Raises DemoError where it cannot go on; a proof that failed is in `failed`."""
        objects = load_workloads(manifest)
        self._start_control_plane()
        self._enroll(objects)
        setup = self._choose_peers()
        served = self._show_identities(setup)
        with begun_renewal(setup, served) as renewal:
            self.show.step("Proof: plain HTTP in the apps, TLS on the wire")
            self._judge(refusals.plain_http_works(setup))
            self.show.step("Proof: everybody else is refused, and gets no application byte")
            self._judge(refusals.refusals(setup))
            self._judge(refusals.wrong_name(setup, VISITOR))
            self.show.step("Proof: a Service was added meanwhile; the certificate follows, and no connection is cut")
            leaf, held = renewal.finish()
            self.show.certificate(setup.server.pod, leaf)
            self.serials[leaf.serial_number] = setup.server.pod
            self._judge(held)
        self._read_log()
        return setup

    def _start_control_plane(self) -> None:
        show, cluster = self.show, self.cluster
        show.step("The control plane starts: our manifests, as pods")
        pods: list[Admitted] = []
        for manifest in build(CONTROL_PLANE):
            if manifest["kind"] == "MutatingWebhookConfiguration":
                cluster.apply(cluster.with_bundle(manifest))
                continue
            pods += cluster.apply(manifest)
            if manifest["kind"] == "Namespace":
                cluster.create_authority()
                show.fact("authority", "a root and an issuing CA, made now; no cert-manager")
        cluster.wait_ready(pods)
        for each in pods:
            show.fact("pod ready", f"{_full_name(each.pod)} ({', '.join(_container_names(each.pod))})")
        show.fact("registered", "MutatingWebhookConfiguration podtls, six entries")

    def _enroll(self, objects: Iterable[Object]) -> None:
        objects = sorted(objects, key=lambda raw: raw["kind"] != "Namespace")
        here = {raw["metadata"]["name"] for raw in objects if raw["kind"] == "Namespace"}
        namespaces = {raw["metadata"]["namespace"] for raw in objects if raw["kind"] != "Namespace"}
        for name in sorted(namespaces - here - {"default"}):
            self.cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        for raw in (raw for raw in objects if raw["kind"] == "Namespace"):
            self.cluster.apply(raw)
        self.show.step("A namespace is labelled; nobody edits the apps")
        for name in sorted(namespaces):
            self.cluster.api.label_namespace(name, dict(ENROLL))
            self.show.line(f"$ kubectl label namespace {name} {INJECT}={ENROLL[INJECT]}", "bold")
        self.show.step("The workloads are applied; kube-apiserver asks the webhook about each pod")
        for raw in objects:
            if raw["kind"] != "Namespace":
                self._admit(raw)
        self.cluster.wait_ready(self.enrolled)
        for each in self.enrolled:
            address = self.cluster.running(each.pod).address
            self.show.fact(
                "pod ready", f"{_full_name(each.pod)} at {address} ({', '.join(_container_names(each.pod))})"
            )

    def _admit(self, manifest: Object) -> None:
        for admitted in self.cluster.apply(manifest):
            self.enrolled.append(admitted)
            _show_admission(self.show, admitted)

    def _choose_peers(self) -> refusals.ProofSetup:
        """Choose the two sides of the proofs, and start the visitor."""
        cluster = self.cluster
        pods = [each.pod for each in self.enrolled]
        server = find_server(cluster.api.services(), pods)
        cluster.apply(impostor(server))
        running = cluster.kubelet.pod(server.namespace, server.pod)
        cluster.endpoints[server.namespace, IMPOSTOR] = [(running.address, server.tls_port)]
        visiting = cluster.apply(visitor(server))
        self.enrolled += visiting
        cluster.wait_ready(visiting)
        client = find_client(server, pods) or visit(server, server.service)
        pod = next(each.pod for each in self.enrolled if each.pod["metadata"]["name"] == client.pod)
        folder = cluster.folders(pod).volumes.path(RUN_VOLUME) / CURRENT
        identity = Identity(folder / CERTIFICATE_FILE, folder / KEY_FILE)
        leaf = x509.load_pem_x509_certificate(identity.chain.read_bytes())
        self.serials[leaf.serial_number] = client.pod
        status = next(each.pod for each in self.enrolled if each.pod["metadata"]["name"] == server.pod)
        mode = InjectionStatus.parse(status["metadata"]["annotations"][STATUS]).mode
        target = Target((running.address, server.tls_port), server.name, cluster.bundle)
        return refusals.ProofSetup(cluster, server, client, target, identity, names(leaf)[0], mode)

    def _show_identities(self, setup: refusals.ProofSetup) -> x509.Certificate:
        """Show the certificates and a handshake; the server's leaf."""
        self.show.step("Each pod got a certificate of its own, before its app started")
        leaf, version = _first_answer(setup)
        self.serials[leaf.serial_number] = setup.server.pod
        self.show.certificate(setup.server.pod, leaf)
        self.show.certificate(setup.client.pod, x509.load_pem_x509_certificate(setup.identity.chain.read_bytes()))
        self.show.fact("handshake", f"{version} with {setup.server.name}, verified with the bundle")
        return leaf

    def _read_log(self) -> None:
        self.show.step("Proof: the patch log lists it all")
        paths = evidence.logs(self.cluster)
        self.show.line("$ podtls audit list", "bold")
        audit.main(["list", *map(str, paths)], standalone_mode=False)
        injected = [each.pod for each in self.enrolled if INJECTED in each.pod["metadata"].get("labels", {})]
        self._judge(evidence.everything_is_recorded(paths, injected, self.serials))

    def _judge(self, given: Iterable[refusals.Proof]) -> None:
        for proof in given:
            self.show.verdict(proof.claim, proof.why, held=proof.held)
            self.proven += proof.held
            if not proof.held:
                self.failed.append(proof.claim)


def _first_answer(setup: refusals.ProofSetup) -> tuple[x509.Certificate, str]:
    """The server's leaf and the TLS version, once its app answers at all. Raises DemoError."""
    deadline = time.monotonic() + _APP_SECONDS
    while True:
        attempt = ask(setup.target, setup.identity)
        if attempt.certificate is not None and attempt.received:
            return attempt.certificate, attempt.version
        if time.monotonic() > deadline:
            raise DemoError(
                f"{setup.server.pod}: no answer to `GET /` through TLS port {setup.server.tls_port} for "
                f"{_APP_SECONDS:g} s ({attempt.ended}); the app has to speak HTTP"
            )
        time.sleep(_POLL_SECONDS)


def _show_admission(show: Show, admitted: Admitted) -> None:
    called = admitted.called
    if called is None:
        show.fact("not asked", f"{_full_name(admitted.pod)}: its namespace is not enrolled")
        return
    request = admitted.review["request"]
    metadata = request["object"]["metadata"]
    show.line(f"POST https://{called.server_name}:{called.port}{called.path}?timeout={called.timeout_seconds}s", "bold")
    show.fact("AdmissionReview", f"{request['operation']} Pod, uid {request['uid']}")
    show.fact("pod", f"{request['namespace']}/{metadata.get('name') or metadata['generateName'] + '*'}")
    show.fact("asked for by", request["userInfo"]["username"])
    for warning in admitted.warnings:
        show.line(f"Warning: {warning}", "yellow")
    show.patch(admitted.operations)


def _full_name(pod: Object) -> str:
    return f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"


def _container_names(pod: Object) -> list[str]:
    return [container["name"] for container in (*pod["spec"].get("initContainers", []), *pod["spec"]["containers"])]

"""podtls itself on a cluster: our images built, our manifests applied as an administrator would, waited for."""

import json
import re
import shlex
import sys
from pathlib import Path

from contract.names import CA_NAME, SYSTEM_NAMESPACE, WEBHOOK_NAME
from lab.cluster.base_image import build_base
from lab.cluster.cache import fingerprint
from lab.cluster.cluster import Cluster
from lab.cluster.host_clients import client_mounts
from lab.cluster.images import Image, cached, run_isolated
from lab.cluster.node import Node
from lab.cluster.processes import wait_until

REPOSITORY = Path(__file__).resolve().parents[2]
MANIFESTS = REPOSITORY / "manifests"
TEST_OVERLAY = Path(__file__).parent / "manifests"
NAMESPACE = SYSTEM_NAMESPACE
INIT_IMAGE = "localhost/podtls-init:dev"
CONTROL_PLANE_IMAGE = "localhost/podtls-webhook:dev"

# What a person may type into a new cluster; `python -m lab.cluster up` prints it.
TO_TRY = (
    "kubectl get pods --namespace shop",
    "kubectl logs --namespace shop deployment/checkout --container checkout --tail 3",
    "kubectl exec --namespace shop deployment/payments --container podtls-nginx -- podtls-injector check",
    # The API server keeps to one replica for a while, so the other one may have seen nothing.
    *(
        f"kubectl exec --namespace {NAMESPACE} podtls-webhook-{ordinal} --container webhook -- podtls audit list"
        for ordinal in range(2)
    ),
)


def build_our_images() -> tuple[Image, Image]:
    """Both images by `make images`, on our Debian base; a build with unchanged sources costs nothing."""
    base = build_base()

    def fill(folder: Path) -> None:
        options = [f"--build-arg=BASE={base.name}", *(f"--volume={mount}" for mount in client_mounts(folder))]
        variables = ["BUILDER=buildah", f"PYTHON={sys.executable}", f"BUILD_ARGS={shlex.join(options)}"]
        run_isolated(["make", "-C", str(REPOSITORY), "images", *variables], "make images")

    key = fingerprint(_sources(), base.archive.name)
    init, control_plane = cached([INIT_IMAGE, CONTROL_PLANE_IMAGE], fill, key=key)
    return init, control_plane


def _sources() -> list[Path]:
    """All that the images are made of: the builder's context, which .dockerignore lists, and what drives the build."""
    context = re.findall(r"^!(.+)$", (REPOSITORY / ".dockerignore").read_text(), re.MULTILINE)
    return [
        REPOSITORY / name for name in (".dockerignore", "Makefile", "Dockerfile.init", "Dockerfile.webhook", *context)
    ]


def install(node: Node, overlay: str = "default") -> None:
    """`kubectl apply -k` of an overlay, with volumes for the evidence; returns when the whole of podtls is ready."""
    # Small volumes can be filled.
    prepare(node, limit="32m" if overlay == "tests" else None)
    folder = TEST_OVERLAY if overlay == "tests" else MANIFESTS / "overlays" / overlay
    node.cluster.kubectl("apply", "--server-side", "-k", str(folder))
    wait_ready(node.cluster)


def prepare(node: Node, *, limit: str | None = None) -> None:
    """What an administrator has before the install: images that the node can pull, and storage for the evidence."""
    for image in build_our_images():
        node.load(image)
    provide_evidence(node, limit=limit)


def provide_evidence(node: Node, *, limit: str | None = None) -> None:
    """A volume for the evidence of each replica; those that a deleted claim has left are made available again."""
    for name in (WEBHOOK_NAME, CA_NAME):
        for ordinal in range(2):
            claim = f"evidence-{name}-{ordinal}"
            node.cluster.kubectl("delete", "persistentvolume", f"{NAMESPACE}-{claim}", "--ignore-not-found")
            node.provide_volume(NAMESPACE, claim, limit=limit)


def open_shop(node: Node) -> None:
    """The example shop as its comment says, in its namespace, labelled; returns when checkout has paid."""
    objects, cluster = shop(node, CONTROL_PLANE_IMAGE), node.cluster
    cluster.apply(*[found for found in objects if found["kind"] == "Namespace"])
    cluster.kubectl("label", "namespace", "shop", "podtls.io/inject=enabled")
    cluster.apply(*[found for found in objects if found["kind"] != "Namespace"])
    for name in ("deployment/payments", "deployment/checkout"):
        cluster.kubectl("rollout", "status", name, "-n", "shop", "--timeout=100s")
    logs = ("logs", "-n", "shop", "deployment/checkout", "-c", "checkout")
    wait_until("checkout has paid", lambda: "200 payments: 42.00 EUR received" in cluster.kubectl(*logs))


def wait_ready(cluster: Cluster, *, seconds: int = 100) -> None:
    """Return when webhook, CA and controller run as often as they should and kube-apiserver trusts the webhook."""
    for workload in ("statefulset/podtls-ca", "statefulset/podtls-webhook", "deployment/podtls-controller"):
        cluster.kubectl("rollout", "status", workload, "-n", NAMESPACE, f"--timeout={seconds}s")
    wait_until("caBundle is published", lambda: _has_ca_bundle(cluster))


def _has_ca_bundle(cluster: Cluster) -> bool:
    webhooks = cluster.get("mutatingwebhookconfiguration", "podtls")["webhooks"]
    return all("caBundle" in webhook["clientConfig"] for webhook in webhooks)


def shop(node: Node, image: str) -> list[dict[str, object]]:
    """The example shop with an image that this node has, its containers otherwise as shipped."""
    rendered = node.cluster.kubectl(
        "create", "--dry-run=client", "-o", "json", "-f", str(MANIFESTS / "examples/shop.yaml")
    )
    decoder, objects, rest = json.JSONDecoder(), [], rendered.strip()
    while rest:
        found, end = decoder.raw_decode(rest)
        objects.append(found)
        rest = rest[end:].lstrip()
    for found in objects:
        for container in found.get("spec", {}).get("template", {}).get("spec", {}).get("containers", []):
            container["image"] = image
    return objects

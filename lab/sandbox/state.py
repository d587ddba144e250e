"""What the stand-in kubelet, DNS and proxy ask of the stand-in API server. One Protocol; no behaviour may live here."""

from typing import Any, Protocol

Manifest = dict[str, Any]


class ClusterState(Protocol):
    """The API server, as a node sees it: raw objects in the API's camelCase. Called from several threads."""

    def pods(self) -> list[Manifest]:
        """All pods, with labels, spec and the status that the kubelet wrote."""
        ...

    def services(self) -> list[Manifest]:
        """All Services."""
        ...

    def config_map(self, namespace: str, name: str) -> Manifest:
        """The ConfigMap; raises a DemoError when there is none."""
        ...

    def secret(self, namespace: str, name: str) -> Manifest:
        """The Secret, `data` in base64; raises a DemoError when there is none."""
        ...

    def update_pod_status(self, namespace: str, name: str, status: Manifest) -> None:
        """Replace `status` of the pod; does nothing when the pod is gone."""
        ...

    def create_token(self, pod: Manifest, audience: str, seconds: int) -> str:
        """A bearer token bound to the pod, for one audience ("" is the API server's own)."""
        ...

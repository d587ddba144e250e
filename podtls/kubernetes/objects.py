"""Kubernetes objects as raw JSON: what every kind of them has, and where the API server has it. No judgement."""

from typing import Any, Final

Object = dict[str, Any]  # A Kubernetes object as JSON has it.

# The API server labels each namespace with its name.
NAMESPACE_NAME: Final = "kubernetes.io/metadata.name"


def name_of(found: Object) -> str:
    """Its name."""
    return str(found["metadata"]["name"])


def labels_of(found: Object) -> dict[str, str]:
    """Its labels."""
    return found["metadata"].get("labels") or {}


def annotations_of(found: Object) -> dict[str, str]:
    """Its annotations."""
    return found["metadata"].get("annotations") or {}


def object_path(found: Object) -> str:
    """Where the API server has it, by apiVersion, kind, namespace and name.

    https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-uris
    """
    version, kind, metadata = found["apiVersion"], str(found["kind"]).lower(), found["metadata"]
    plural = f"{kind.removesuffix('y')}ies" if kind.endswith("y") else f"{kind}s"
    namespace = f"namespaces/{metadata['namespace']}/" if "namespace" in metadata else ""
    return f"/{'apis' if '/' in version else 'api'}/{version}/{namespace}{plural}/{metadata['name']}"

"""`podtls uninject`: YAML in, the same without what podtls added out."""

import copy
from collections.abc import Callable
from typing import Any

import click

from contract.names import INJECTED, STATUS
from documents.edits import edit_document
from documents.stream import Document, join_documents, read_documents
from podtls.console import note, print_diff
from podtls.inject.workloads import DocumentWorkload, find_workloads
from webhook.managed import RESERVED_CONTAINERS, is_reserved_volume
from webhook.ports import SYSCTL
from webhook.upstreams import is_upstream_address


@click.command(
    epilog="""\b
Examples:
  podtls uninject -f injected.yaml | kubectl apply -f -
  kubectl get deployment checkout -o yaml | podtls uninject -f - --diff
"""
)
@click.option(
    "-f", "--filename", "files", multiple=True, required=True, metavar="FILE", help="YAML or JSON; - is stdin."
)
@click.option("--diff", is_flag=True, help="Print a unified diff.")
def uninject(files: tuple[str, ...], *, diff: bool) -> None:
    """Remove what podtls added to the pods of YAML files: containers, volumes, label, annotation, host aliases.

    All else stays, comments and your own podtls.io/ annotations too. A sysctl that upstreams below port 1024 need stays
    as well, with a warning, because it may be yours.
    """
    changes = [
        (source, document.text, _uninject_document(document, source)) for source, document in read_documents(files)
    ]
    if diff:
        for change in changes:
            print_diff(*change)
    else:
        click.echo(join_documents(after for _, _, after in changes), nl=False)


def _uninject_document(document: Document, source: str) -> str:
    for warning in document.warnings:
        note(warning)
    value = copy.deepcopy(document.value)
    for workload in find_workloads(value, source=source, namespace="default"):
        if _strip(workload.pod) and _has_sysctl(workload):
            note(f"{workload}: sysctl {SYSCTL} stays, it may be yours")
    return edit_document(document, value)


def _strip(pod: dict[str, Any]) -> bool:
    """Removes what carries reserved names, and what is empty then. Returns whether anything was removed."""
    spec, metadata = pod["spec"], pod.get("metadata")
    found = [
        _drop_items(spec, "initContainers", lambda item: item.get("name") in RESERVED_CONTAINERS),
        _drop_items(spec, "volumes", lambda item: is_reserved_volume(item.get("name"))),
    ]
    # Without podtls's containers an alias in its network is somebody else's.
    if any(found):
        _drop_items(spec, "hostAliases", lambda item: is_upstream_address(item.get("ip")))
    if isinstance(metadata, dict):
        found.append(_drop_member(metadata, "labels", INJECTED))
        found.append(_drop_member(metadata, "annotations", STATUS))
        if not metadata:
            del pod["metadata"]
    return any(found)


def _drop_items(spec: dict[str, Any], key: str, is_managed: Callable[[dict[str, Any]], bool]) -> bool:
    items = spec.get(key)
    if not isinstance(items, list):
        return False
    kept = [item for item in items if not (isinstance(item, dict) and is_managed(item))]
    if len(kept) == len(items):
        return False
    spec[key] = kept
    if not kept:
        del spec[key]
    return True


def _drop_member(metadata: dict[str, Any], key: str, name: str) -> bool:
    members = metadata.get(key)
    if not isinstance(members, dict) or name not in members:
        return False
    del members[name]
    if not members:
        del metadata[key]
    return True


def _has_sysctl(workload: DocumentWorkload) -> bool:
    context = workload.pod["spec"].get("securityContext")
    sysctls = context.get("sysctls") if isinstance(context, dict) else None
    return any(isinstance(item, dict) and item.get("name") == SYSCTL for item in sysctls or [])

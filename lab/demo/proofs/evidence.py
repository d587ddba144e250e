"""The proof that the evidence is whole: every patch and certificate of the demo is in the logs, and they agree."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

from audit.log import TornLine, read
from audit.record import AdmissionRecord, CertificateRecord, Record
from contract.names import STATUS
from contract.status_annotation import InjectionStatus
from lab.demo.cluster import DemoCluster
from lab.demo.proofs.refusals import Proof
from lab.sandbox.apiserver.store import Object
from lab.sandbox.manifests import OUR_NAMESPACE

LOG_NAME: Final = "evidence.jsonl"
_CLAIM: Final = "evidence"


def logs(cluster: DemoCluster) -> list[Path]:
    """The evidence log of each replica of ours, on its volume."""
    pods = [pod for pod in cluster.api.pods() if pod["metadata"]["namespace"] == OUR_NAMESPACE]
    claims = [f"{_CLAIM}-{pod['metadata']['name']}" for pod in pods]
    return [cluster.kubelet.claim_directory(OUR_NAMESPACE, claim) / LOG_NAME for claim in sorted(claims)]


def everything_is_recorded(
    paths: Iterable[Path], pods: Iterable[Object], serials: Mapping[int, str]
) -> Iterator[Proof]:
    """Each injected pod names its record; each certificate that was served (serial -> pod) names the pod's record."""
    lines = [line for path in paths for line in read(path)]
    torn = [line for line in lines if isinstance(line, TornLine)]
    records: list[Record] = [line for line in lines if not isinstance(line, TornLine)]
    named = {pod["metadata"]["name"]: _record_id(pod) for pod in pods}
    yield _patches(named, records, torn)
    yield _certificates(named, records, serials)


def _patches(named: Mapping[str, str], records: Iterable[Record], torn: list[TornLine]) -> Proof:
    patches = {each.id for each in records if isinstance(each, AdmissionRecord) and each.decision == "inject"}
    missing = [name for name, record in named.items() if record not in patches]
    return Proof(
        "the patch log lists the patch of every injected pod",
        bool(named) and not missing and not torn,
        (
            f"{len(named)} pods, each with its record id in {STATUS}; missing: {', '.join(missing) or 'none'}",
            f"lines that are not a record: {len(torn)}",
        ),
    )


def _certificates(named: Mapping[str, str], records: Iterable[Record], serials: Mapping[int, str]) -> Proof:
    issued = {
        int(each.serial, 16): (each.pod, each.patch_record)
        for each in records
        if isinstance(each, CertificateRecord) and each.decision == "issue"
    }
    missing = [f"{serial:x}" for serial, pod in serials.items() if issued.get(serial) != (pod, named.get(pod))]
    return Proof(
        "the log lists every certificate that was served, and each names the patch of its pod",
        bool(serials) and not missing,
        (f"{len(serials)} certificates seen on the wire and in the pods; missing: {', '.join(missing) or 'none'}",),
    )


def _record_id(pod: Object) -> str:
    return InjectionStatus.parse(pod["metadata"]["annotations"][STATUS]).record

"""What the webhook would do to the workloads of a document, and the document with it done. No files, no output.

No record is written here, so podtls.io/status gets an empty id; the webhook fills in its own when the pod is created.
"""

import copy
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import jsonpatch

from podtls.errors import InputError
from podtls.inject.workloads import DocumentWorkload, find_workloads
from webhook.decision import Decision, Defaults, Inject, decide
from webhook.errors import ReviewError
from webhook.injection import inject
from webhook.jsonpatch import Operation, build_pointer
from webhook.request import build_request
from webhook.response import collect_warnings
from webhook.settings import InjectionSettings

_NO_RECORD = ""


@dataclass(frozen=True, slots=True)
class OfflineAdmission:
    """What the webhook would do to one workload. The operations' paths start at its pod."""

    workload: DocumentWorkload
    decision: Decision
    operations: tuple[Operation, ...]

    @property
    def warnings(self) -> list[str]:
        """The warnings that its user would get."""
        return collect_warnings(self.decision, self.operations)

    def patch(self) -> list[dict[str, Any]]:
        """The JSON patch (RFC 6902) of the whole object, such as `kubectl patch --type=json` takes."""
        return [_prefix_path(self.workload.pod_path, operation.to_json()) for operation in self.operations]


@dataclass(frozen=True, slots=True)
class OfflineWebhook:
    """The webhook with an administrator's settings and the defaults of a namespace."""

    defaults: Defaults
    settings: InjectionSettings
    namespace: str

    def admit(self, value: Any, source: str) -> list[OfflineAdmission]:
        """An admission for each workload of a document. Raises InputError for anything that is not a pod at all."""
        workloads = find_workloads(value, source=source, namespace=self.namespace)
        return [self._admit_workload(workload, source) for workload in workloads]

    def _admit_workload(self, workload: DocumentWorkload, source: str) -> OfflineAdmission:
        try:
            request = build_request(workload.pod, namespace=workload.namespace)
        except ReviewError as error:
            raise InputError(f"{source}: {workload}: {error}") from error
        decision = decide(request, self.defaults, self.settings.pods.policy)
        operations = inject(request.pod, decision, _NO_RECORD, self.settings) if isinstance(decision, Inject) else []
        return OfflineAdmission(workload, decision, tuple(operations))


def apply_patches(value: Any, admissions: Sequence[OfflineAdmission]) -> Any:
    """A copy of the document with all patches applied."""
    patched = copy.deepcopy(value)
    for admission in admissions:
        operations = [_prefix_path(admission.workload.path, operation) for operation in admission.patch()]
        patched = jsonpatch.apply_patch(patched, operations, in_place=True)
    return patched


def _prefix_path(path: Iterable[str | int], operation: dict[str, Any]) -> dict[str, Any]:
    return {**operation, "path": build_pointer(*path) + operation["path"]}

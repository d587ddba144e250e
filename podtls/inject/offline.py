"""What the webhook would answer for workloads in documents at hand, and the documents with it. No files, no output.

There is no record of what is done here, so podtls.io/status gets an empty id; the webhook, when it meets the pod, puts
in its own.
"""

import copy
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import jsonpatch

from podtls.errors import InputError
from podtls.inject.workloads import Workload, find
from webhook.decision import Decision, Defaults, Inject, decide
from webhook.errors import ReviewError
from webhook.injection import inject
from webhook.jsonpatch import Operation, build_pointer
from webhook.request import build_request
from webhook.response import collect_warnings
from webhook.settings import InjectionSettings

_NO_RECORD = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """What happens to one workload. The operations' paths start at its pod."""

    workload: Workload
    decision: Decision
    operations: tuple[Operation, ...]

    @property
    def warnings(self) -> list[str]:
        """What its user is warned of."""
        return collect_warnings(self.decision, self.operations)

    def patch(self) -> list[dict[str, Any]]:
        """The JSON patch (RFC 6902) of the whole object, such as `kubectl patch --type=json` takes."""
        return [_below(self.workload.pod_path, operation.to_json()) for operation in self.operations]


@dataclass(frozen=True, slots=True)
class Webhook:
    """The webhook as an administrator would have set it up, with the choice of a namespace."""

    defaults: Defaults
    settings: InjectionSettings
    namespace: str

    def answers(self, value: Any, source: str) -> list[Answer]:
        """An answer for each workload of a document. Raises InputError for what is no pod at all."""
        return [self._answer(workload, source) for workload in find(value, source=source, namespace=self.namespace)]

    def _answer(self, workload: Workload, source: str) -> Answer:
        try:
            request = build_request(workload.pod, namespace=workload.namespace)
        except ReviewError as error:
            raise InputError(f"{source}: {workload}: {error}") from error
        decision = decide(request, self.defaults, self.settings.pods.policy)
        operations = inject(request.pod, decision, _NO_RECORD, self.settings) if isinstance(decision, Inject) else []
        return Answer(workload, decision, tuple(operations))


def apply(value: Any, answers: Sequence[Answer]) -> Any:
    """The document with all answers applied; the one given is left as it is."""
    patched = copy.deepcopy(value)
    for answer in answers:
        operations = [_below(answer.workload.path, operation) for operation in answer.patch()]
        patched = jsonpatch.apply_patch(patched, operations, in_place=True)
    return patched


def _below(path: Iterable[str | int], operation: dict[str, Any]) -> dict[str, Any]:
    return {**operation, "path": build_pointer(*path) + operation["path"]}

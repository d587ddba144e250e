"""What a pod is judged by: its namespace and what is the same for the whole cluster. Values only."""

from collections.abc import Sequence
from dataclasses import dataclass

from podtls.check.trust import Certificates
from podtls.kubernetes.reader import Object


@dataclass(frozen=True, slots=True)
class Surroundings:
    """`namespace` is None where it may not be read, `configuration` also where there is none."""

    namespace: Object | None
    configuration: Object | None
    configuration_known: bool
    bundle: Certificates
    zone: str
    services: Sequence[Object]

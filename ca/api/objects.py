"""What the CA reads of Kubernetes objects: typed, so that a malformed response of the API server goes no further.

Read only: unknown fields are skipped here, so nothing of this may ever be sent back. Field names are the API's.
"""

from datetime import datetime
from typing import Annotated

import msgspec

# RFC 3339 with its zone, as the API server writes it; a time without one could not be compared with the clock.
Time = Annotated[datetime, msgspec.Meta(tz=True)]


class _Object(msgspec.Struct, frozen=True, rename="camel"):
    """Absent and null mean the same to the API server, hence `| None` where it may say either."""


class ObjectMeta(_Object, frozen=True):
    """https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/object-meta/."""

    name: str
    namespace: str
    uid: str
    creation_timestamp: Time
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None
    deletion_timestamp: Time | None = None


class Container(_Object, frozen=True):
    """A container of a Pod: only its name is of interest here."""

    name: str


class PodSpec(_Object, frozen=True):
    """The part of a PodSpec that says where and as whom a pod runs."""

    service_account_name: str | None = None
    node_name: str | None = None
    hostname: str | None = None
    subdomain: str | None = None
    init_containers: list[Container] | None = None


class PodIP(_Object, frozen=True):
    """One address of a pod; the API server knows at most one of each family."""

    ip: str


class PodCondition(_Object, frozen=True):
    """Only when the condition last changed; which one it is does not matter here."""

    last_transition_time: Time | None = None


class PodStatus(_Object, frozen=True):
    """What the kubelet last said about a pod."""

    phase: str | None = None
    pod_ips: list[PodIP] | None = msgspec.field(default=None, name="podIPs")
    start_time: Time | None = None
    conditions: list[PodCondition] | None = None


class Pod(_Object, frozen=True):
    """A Pod as the API server stores it."""

    metadata: ObjectMeta
    spec: PodSpec
    status: PodStatus = PodStatus()


class ServiceSpec(_Object, frozen=True):
    """The part of a ServiceSpec that decides which pods carry the Service's name."""

    type: str | None = None
    selector: dict[str, str] | None = None
    cluster_ip: str | None = msgspec.field(default=None, name="clusterIP")


class ServiceMeta(_Object, frozen=True):
    """A Service's name; its namespace is the one that was asked for."""

    name: str


class Service(_Object, frozen=True):
    """A Service as the API server stores it."""

    metadata: ServiceMeta
    spec: ServiceSpec


class ServiceList(_Object, frozen=True):
    """The response to `GET /api/v1/namespaces/<namespace>/services`."""

    items: list[Service] | None = None


class UserInfo(_Object, frozen=True):
    """Who a token belongs to. `extra` carries what a bound token is bound to."""

    username: str = ""
    extra: dict[str, list[str]] | None = None


class TokenReviewStatus(_Object, frozen=True):
    """https://kubernetes.io/docs/reference/kubernetes-api/authentication-resources/token-review-v1/."""

    authenticated: bool = False
    audiences: list[str] | None = None
    user: UserInfo = UserInfo()


class TokenReview(_Object, frozen=True):
    """A TokenReview as the API server returns it."""

    status: TokenReviewStatus

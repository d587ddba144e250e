"""Behaving stand-ins behind our small Protocols, shared by all tests. No mocks: each keeps state as the real part."""

import copy
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

import msgspec

from audit.errors import AuditError
from audit.record import AdmissionRecord, encode
from ca.api.objects import Pod, Service, TokenReview
from ca.controller.reconcile import Secret
from ca.errors import CAError
from lab.sandbox.errors import NotFoundError
from podtls.errors import UnreachableError
from podtls.kubernetes.reader import Access, ApiResponse


@dataclass
class FakeClock:
    """A clock (injector.enroll.retry.Clock) that moves only when somebody sleeps, and a die that always falls alike."""

    time: float = 1000.0
    luck: float = 0.5
    slept: list[float] = field(default_factory=list)

    def monotonic(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.time += seconds

    def chance(self) -> float:
        return self.luck


@dataclass
class FakeEvidenceLog:
    """An evidence log (webhook.evidence.Log) that keeps what a disk would; with `error` it is full."""

    records: list[AdmissionRecord] = field(default_factory=list)
    error: AuditError | None = None

    def append(self, record: AdmissionRecord) -> None:
        self.check_writable()
        # What cannot be encoded cannot be written.
        encode(record)
        self.records.append(record)

    def check_writable(self) -> None:
        if self.error is not None:
            raise self.error


@dataclass
class FakeClusterState:
    """The API server as the demo's node sees it (lab.sandbox.state.ClusterState): objects in memory, made-up tokens."""

    pod_objects: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    service_objects: list[dict[str, Any]] = field(default_factory=list)
    config_maps: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    secrets: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    tokens: int = 0

    def add_pod(self, pod: dict[str, Any]) -> None:
        self.pod_objects[pod["metadata"]["namespace"], pod["metadata"]["name"]] = pod

    def pods(self) -> list[dict[str, Any]]:
        return copy.deepcopy(list(self.pod_objects.values()))

    def services(self) -> list[dict[str, Any]]:
        return copy.deepcopy(self.service_objects)

    def config_map(self, namespace: str, name: str) -> dict[str, Any]:
        return self._find(self.config_maps, "configmaps", namespace, name)

    def secret(self, namespace: str, name: str) -> dict[str, Any]:
        return self._find(self.secrets, "secrets", namespace, name)

    def update_pod_status(self, namespace: str, name: str, status: dict[str, Any]) -> None:
        self._find(self.pod_objects, "pods", namespace, name)
        self.pod_objects[namespace, name]["status"] = copy.deepcopy(status)

    def create_token(self, pod: dict[str, Any], audience: str, seconds: int) -> str:
        self.tokens += 1
        return f"{pod['metadata']['name']}|{audience}|{seconds}|{self.tokens}"

    @staticmethod
    def _find(objects: dict[tuple[str, str], dict[str, Any]], kind: str, namespace: str, name: str) -> dict[str, Any]:
        try:
            return copy.deepcopy(objects[namespace, name])
        except KeyError as error:
            raise NotFoundError(f'{kind} "{name}" not found') from error


@dataclass
class FakeCluster:
    """An API server as the CA sees it (ca.api.app.ClusterAPI): keeps objects as raw JSON, answers as the real one.

    A token that it has vouched for stays good when its pod goes, as in the real one's cache of ten seconds. `down`
    says how it fails; `asked` are the questions that came.
    """

    pods: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    service_objects: list[dict[str, Any]] = field(default_factory=list)
    tokens: dict[str, tuple[list[str], dict[str, Any]]] = field(default_factory=dict)
    ignores_audiences: bool = False
    down: CAError | None = None
    asked: list[str] = field(default_factory=list)
    events: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)

    def issue_token(self, user: dict[str, Any], *audiences: str) -> str:
        """A token of this user, as TokenRequest makes it."""
        token = f"token-{len(self.tokens)}.of.{user['username'].replace(':', '_')}"
        self.tokens[token] = (list(audiences), user)
        return token

    def review(self, unverified_token: str, audience: str) -> TokenReview:
        self._ask("review")
        audiences, user = self.tokens.get(unverified_token, ([], None))
        status: dict[str, Any] = {"user": {}}
        if user is not None and self.ignores_audiences:
            status = {"authenticated": True, "user": user}
        elif user is not None and audience in audiences:
            status = {"authenticated": True, "user": user, "audiences": [audience]}
        return msgspec.convert({"kind": "TokenReview", "status": status}, TokenReview)

    def pod(self, namespace: str, name: str) -> Pod | None:
        self._ask("pod")
        found = self.pods.get((namespace, name))
        return None if found is None else msgspec.convert(found, Pod)

    def services(self, namespace: str) -> list[Service]:
        self._ask("services")
        found = [service for service in self.service_objects if service["metadata"]["namespace"] == namespace]
        return msgspec.convert(found, list[Service])

    def create_event(self, namespace: str, event: dict[str, Any]) -> None:
        self._ask("event")
        # The first of its name stays: a second one would be answered 409.
        self.events.setdefault((namespace, event["metadata"]["name"]), copy.deepcopy(event))

    def _ask(self, question: str) -> None:
        self.asked.append(question)
        if self.down is not None:
            raise self.down


@dataclass
class FakeControlPlane:
    """A cluster (ca.controller.reconcile.ControlPlane) that creates once and replaces only the version it read."""

    secrets: dict[str, Secret] = field(default_factory=dict)
    bundle: bytes = b""
    ca_bundle: bytes = b""
    writes: list[str] = field(default_factory=list)

    def secret(self, name: str) -> Secret | None:
        return self.secrets.get(name)

    def create_secret(self, name: str, data: Mapping[str, bytes]) -> None:
        if name not in self.secrets:
            self.writes.append(f"create {name}")
            self.secrets[name] = Secret(dict(data), "1")

    def replace_secret(self, name: str, data: Mapping[str, bytes], *, version: str) -> None:
        if self.secrets[name].version == version:
            self.writes.append(f"replace {name}")
            self.secrets[name] = Secret(dict(data), str(int(version) + 1))

    def publish_bundle(self, bundle: bytes) -> None:
        self.bundle = bundle

    def publish_ca_bundle(self, bundle: bytes) -> None:
        self.ca_bundle = bundle


@dataclass
class FakeApiServer:
    """An API server as the operator's command reads it (podtls.kubernetes.reader.ClusterReader): raw objects by path.

    `denied` is what the caller may not do (an Access without a name or namespace denies all of them), `proxied` what
    stands behind its proxies, by path (an error: it hangs), `page` how many items of a list it answers at most,
    `asked` what was asked.
    """

    objects: dict[str, dict[str, Any]] = field(default_factory=dict)
    version: str = "v1.36.3"
    date: str = ""
    denied: set[Access] = field(default_factory=set)
    proxied: dict[str, ApiResponse | UnreachableError] = field(default_factory=dict)
    status: int = 0
    page: int = 500
    asked: list[str] = field(default_factory=list)

    def add(self, *objects: dict[str, Any]) -> None:
        """Store objects where the API has them."""
        for each in objects:
            self.objects[self.path(each["kind"], each["metadata"], each["apiVersion"])] = copy.deepcopy(each)

    def find(self, kind: str, name: str) -> dict[str, Any]:
        """The one stored object of this kind and name, to be changed in place."""
        ((_, found),) = ((key, each) for key, each in self.objects.items() if key.endswith(f"/{kind.lower()}s/{name}"))
        return found

    def remove(self, kind: str, name: str) -> None:
        self.objects = {key: each for key, each in self.objects.items() if not key.endswith(f"/{kind.lower()}s/{name}")}

    @staticmethod
    def path(kind: str, metadata: dict[str, Any], api_version: str) -> str:
        root = f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"
        inside = f"/namespaces/{metadata['namespace']}" if "namespace" in metadata else ""
        return f"{root}{inside}/{kind.lower()}s/{metadata['name']}"

    def get(self, path: str) -> ApiResponse:
        self.asked.append(path)
        bare, _, query = path.partition("?")
        if self.status:
            return self._status(self.status, "as the test wants it")
        if bare == "/version":
            return self._answer(200, {"gitVersion": self.version})
        access = self._access(bare)
        if not self.may(access):
            return self._status(403, f"you cannot {access}")
        if access.resource.endswith("/proxy"):
            behind = self.proxied.get(bare) or self._status(503, "no endpoints available")
            if isinstance(behind, UnreachableError):
                raise behind
            return behind
        if access.verb == "list":
            return self._list(bare, dict(parse_qsl(query)))
        found = self.objects.get(bare)
        return self._answer(200, found) if found else self._status(404, f"{bare} not found")

    def may(self, access: Access) -> bool:
        return not any(
            (each.verb, each.group, each.resource) == (access.verb, access.group, access.resource)
            and each.namespace in {"", access.namespace}
            and each.name in {"", access.name}
            for each in self.denied
        )

    @staticmethod
    def _access(path: str) -> Access:
        _, root, *rest = path.split("/")
        group, parts = ("", rest[1:]) if root == "api" else (rest[0], rest[2:])
        namespace = parts[1] if parts[0] == "namespaces" and len(parts) > 2 else ""
        resource, name, *sub = (*(parts[2:] if namespace else parts), "")
        whole = f"{resource}/{sub[0]}" if sub and sub[0] else resource
        return Access("get" if name else "list", whole, group, namespace, name)

    def _list(self, path: str, query: dict[str, str]) -> ApiResponse:
        root, _, resource = path.rpartition("/")
        everywhere = "/namespaces/" not in path and resource != "namespaces"
        found = [
            each
            for key, each in self.objects.items()
            if key.rpartition("/")[0] == path
            or (everywhere and re.fullmatch(f"{root}/namespaces/[^/]+/{resource}/[^/]+", key))
        ]
        for word, part in (("labelSelector", "labels"), ("fieldSelector", "")):
            for key, _, value in (term.partition("=") for term in filter(None, query.get(word, "").split(","))):
                found = [
                    each for each in found if ((each["metadata"].get(part) or {}) if part else each).get(key) == value
                ]
        start, size = int(query.get("continue", "0")), min(self.page, int(query["limit"]))
        following = {"continue": str(start + size)} if start + size < len(found) else {}
        # As the real one, it leaves the kind out of a list's items.
        items = [{key: value for key, value in each.items() if key not in {"kind", "apiVersion"}} for each in found]
        return self._answer(200, {"kind": "List", "metadata": following, "items": items[start : start + size]})

    def _status(self, code: int, message: str) -> ApiResponse:
        return self._answer(code, {"kind": "Status", "status": "Failure", "message": message, "code": code})

    def _answer(self, code: int, value: dict[str, Any]) -> ApiResponse:
        return ApiResponse(code, json.dumps(value).encode(), self.date)

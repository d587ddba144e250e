"""Reads from the API server through a small Protocol: raw JSON in, the expected statuses turned into values and errors.

The real reader is client.py's; nothing here knows the kubernetes client, and nothing here writes.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Protocol
from urllib.parse import urlencode

from podtls.errors import CredentialsError, ForbiddenError, UnreachableError
from podtls.kubernetes.objects import Object

_PAGE: Final = 500  # What kubectl asks for at a time.


@dataclass(frozen=True, slots=True)
class ApiResponse:
    """A response of the API server; `date` is its Date header, empty where there is none."""

    status: int
    body: bytes
    date: str = ""


@dataclass(frozen=True, slots=True)
class Access:
    """One thing that a caller may or may not do, as a SelfSubjectAccessReview has it; `group` is empty for the core."""

    verb: str
    resource: str
    group: str = ""
    namespace: str = ""
    name: str = ""

    def __str__(self) -> str:
        """As `kubectl auth can-i` takes it."""
        resource, _, subresource = self.resource.partition("/")
        words = [self.verb, f"{resource}.{self.group}" if self.group else resource]
        if self.name:
            words[-1] += f"/{self.name}"
        if subresource:
            words.append(f"--subresource={subresource}")
        if self.namespace:
            words += ["-n", self.namespace]
        return " ".join(words)


class ClusterReader(Protocol):
    """An API server to read from. Both methods raise UnreachableError when it does not answer."""

    def get(self, path: str) -> ApiResponse:
        """GET a path, with its query, whatever the status of the response."""
        ...

    def may(self, access: Access) -> bool:
        """Whether the caller may do this. Raises CredentialsError."""
        ...


def read_object(cluster: ClusterReader, path: str) -> Object | None:
    """The object at `path`, None where there is none.

    Raises UnreachableError, CredentialsError (401) or ForbiddenError (403).
    """
    return parse_object(cluster.get(path), path)


def list_items(cluster: ClusterReader, path: str, **query: str) -> list[Object]:
    """All items of the list at `path`, page by page. Raises as read_object()."""
    return list(iterate_items(cluster, path, **query))


def iterate_items(cluster: ClusterReader, path: str, **query: str) -> Iterator[Object]:
    """The same, one by one: of a long list only a page is in memory. Raises as read_object(), also in between."""
    asked = {"limit": _PAGE, **query}
    while True:
        page = read_object(cluster, f"{path}?{urlencode(asked)}") or {}
        following = (page.get("metadata") or {}).get("continue")
        yield from page.pop("items", None) or []
        if not following:
            return
        asked["continue"] = following


def parse_object(response: ApiResponse, path: str) -> Object | None:
    """The object of a response, None for 404. Raises as read_object()."""
    if response.status == 404:
        return None
    try:
        found = json.loads(response.body)
    except ValueError as error:
        raise UnreachableError(f"API server: {path}: answers {response.status} without JSON") from error
    if 200 <= response.status < 300 and isinstance(found, dict):
        return found
    message = found.get("message", "") if isinstance(found, dict) else ""
    if response.status == 401:
        raise CredentialsError(f"API server: the credentials are not accepted (401 {message})")
    if response.status == 403:
        raise ForbiddenError(f"API server: {message or path}")
    raise UnreachableError(f"API server: {path}: answers {response.status} {message}")

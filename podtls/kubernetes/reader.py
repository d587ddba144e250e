"""Reading from the API server through a small Protocol: raw JSON in, the statuses that we expect turned into values.

The real reader is api.py's; nothing here knows the kubernetes client, and nothing here writes.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, Protocol
from urllib.parse import urlencode

from podtls.errors import CredentialsError, ForbiddenError, UnreachableError

Object = dict[str, Any]  # A Kubernetes object as JSON has it.

_PAGE: Final = 500  # What kubectl asks for at a time.


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer of the API server; `date` is its Date header, empty where there is none."""

    status: int
    body: bytes
    date: str = ""


@dataclass(frozen=True, slots=True)
class Access:
    """One thing that a caller may or may not do, as a SelfSubjectAccessReview has it. `group` "" is the core."""

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
    """An API server that somebody may read from. Both raise UnreachableError when it does not answer."""

    def get(self, path: str) -> Answer:
        """GET a path, with its query, and return whatever status it has."""
        ...

    def may(self, access: Access) -> bool:
        """Whether the caller may do this. Raises CredentialsError."""
        ...


def read(cluster: ClusterReader, path: str) -> Object | None:
    """The object at `path`, None where there is none.

    Raises UnreachableError, CredentialsError (401) or ForbiddenError (403).
    """
    return parse(cluster.get(path), path)


def items(cluster: ClusterReader, path: str, **query: str) -> list[Object]:
    """All items of the list at `path`, page by page. Raises as read()."""
    return list(each_item(cluster, path, **query))


def each_item(cluster: ClusterReader, path: str, **query: str) -> Iterator[Object]:
    """The same one after the other: of a long list no more than a page is in memory. Raises as read(), on the way."""
    asked = {"limit": _PAGE, **query}
    while True:
        page = read(cluster, f"{path}?{urlencode(asked)}") or {}
        following = (page.get("metadata") or {}).get("continue")
        yield from page.pop("items", None) or []
        if not following:
            return
        asked["continue"] = following


def parse(answer: Answer, path: str) -> Object | None:
    """The object in an answer, None for 404. Raises as read()."""
    if answer.status == 404:
        return None
    try:
        found = json.loads(answer.body)
    except ValueError as error:
        raise UnreachableError(f"API server: {path}: answers {answer.status} without JSON") from error
    if 200 <= answer.status < 300 and isinstance(found, dict):
        return found
    message = found.get("message", "") if isinstance(found, dict) else ""
    if answer.status == 401:
        raise CredentialsError(f"API server: the credentials are not accepted (401 {message})")
    if answer.status == 403:
        raise ForbiddenError(f"API server: {message or path}")
    raise UnreachableError(f"API server: {path}: answers {answer.status} {message}")

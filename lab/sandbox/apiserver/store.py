"""Objects of the stand-in API server, in memory: raw JSON by kind, namespace and name. Knows no HTTP and no webhook."""

import secrets
import threading
import uuid
from datetime import UTC, datetime
from typing import Any, Final

import orjson

from lab.sandbox.errors import ConflictError, NotFoundError

Object = dict[str, Any]
Key = tuple[str, str, str]

# Suffixes of generated names: no vowels, so that no word is formed (k8s.io/apimachinery, util/rand).
NAME_LETTERS: Final = "bcdfghjklmnpqrstvwxz2456789"


class Store:
    """All objects, safe to use from several threads; it returns copies.

    Namespaced and cluster-scoped objects lie side by side; the latter have the namespace "".
    """

    def __init__(self) -> None:
        self._objects: dict[Key, Object] = {}
        self._lock = threading.RLock()
        self._version = 0

    def create(self, raw: Object) -> Object:
        """Keep a new object and return it with uid, resourceVersion, creationTimestamp and, for generateName, its name.

        Raises ConflictError when one of that name is there.
        """
        with self._lock:
            stored = _copy(raw)
            metadata = stored.setdefault("metadata", {})
            if not metadata.get("name"):
                metadata["name"] = metadata["generateName"] + random_suffix()
            key = _key(stored)
            if key in self._objects:
                raise ConflictError(f'{key[0]} "{key[2]}" already exists')
            metadata.setdefault("uid", str(uuid.uuid4()))
            metadata["creationTimestamp"] = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            return self._keep(key, stored)

    def get(self, kind: str, namespace: str, name: str) -> Object:
        """One object. Raises NotFoundError."""
        with self._lock:
            return _copy(self._find(kind, namespace, name))

    def list(self, kind: str, namespace: str | None = None) -> list[Object]:
        """All objects of a kind, of one namespace or of all, oldest first."""
        with self._lock:
            return [
                _copy(stored)
                for (stored_kind, stored_namespace, _), stored in self._objects.items()
                if stored_kind == kind and namespace in {None, stored_namespace}
            ]

    def merge(self, kind: str, namespace: str, name: str, changes: Object) -> Object:
        """Change an object by a JSON merge patch (RFC 7396) and return it. Raises NotFoundError."""
        with self._lock:
            changed = _merged(self._find(kind, namespace, name), changes)
            return self._keep((kind, namespace, name), changed)

    def replace(self, kind: str, namespace: str, name: str, fields: Object) -> Object:
        """Give an object these top-level fields, each whole, and return it. Raises NotFoundError."""
        with self._lock:
            changed = self._find(kind, namespace, name) | _copy(fields)
            return self._keep((kind, namespace, name), changed)

    def _find(self, kind: str, namespace: str, name: str) -> Object:
        try:
            return self._objects[kind, namespace, name]
        except KeyError as error:
            where = f" in namespace {namespace}" if namespace else ""
            raise NotFoundError(f'{kind} "{name}" not found{where}') from error

    def _keep(self, key: Key, stored: Object) -> Object:
        self._version += 1
        stored["metadata"] = stored["metadata"] | {"resourceVersion": str(self._version)}
        self._objects[key] = stored
        return _copy(stored)


def random_suffix(length: int = 5) -> str:
    """What the API server puts behind a generateName."""
    return "".join(secrets.choice(NAME_LETTERS) for _ in range(length))


def _copy(raw: Object) -> Object:
    """A deep copy of JSON. copy.deepcopy takes ten times as long, which the benchmarks would notice."""
    copied: Object = orjson.loads(orjson.dumps(raw))
    return copied


def _key(raw: Object) -> Key:
    return raw["kind"], raw["metadata"].get("namespace", ""), raw["metadata"]["name"]


def _merged(target: Any, changes: Any) -> Any:
    if not isinstance(changes, dict):
        return changes
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in changes.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = _merged(result.get(key), value)
    return result

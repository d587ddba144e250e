"""How the stand-in API server answers a request: the few resources that our CA, a kubelet and tests ask for.

Source: Kubernetes API, core/v1, coordination.k8s.io/v1 Lease, authentication.k8s.io/v1 TokenReview and TokenRequest.
Every error is a metav1.Status. Objects are apiserver.py's, HTTP is listener.py's.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import orjson
import trustme

from lab.sandbox.apiserver.apiserver import APIServer
from lab.sandbox.apiserver.authorization import Action, authorize
from lab.sandbox.apiserver.listener import LOOPBACK, APIRequest, APIResponse, Listener, listen
from lab.sandbox.apiserver.store import Object
from lab.sandbox.apiserver.tokens import ISSUER
from lab.sandbox.errors import DemoError, NotFoundError, UnauthorizedError

_REASONS: Final = {401: "Unauthorized", 403: "Forbidden", 404: "NotFound", 409: "AlreadyExists", 422: "Invalid"}
# A prefix is allowed, as behind a proxy that serves several clusters.
_PATH: Final = re.compile(
    r"(?:/.*)?/(?:api|apis/(?P<group>[^/]+))/v1(?:/namespaces/(?P<namespace>[^/]+))?"
    r"/(?P<resource>[^/]+)(?:/(?P<name>[^/]+)(?:/(?P<subresource>[^/]+))?)?"
)


@dataclass(frozen=True, slots=True)
class Call:
    """The namespace and name in a request's path ("" when it has none), and its body."""

    namespace: str
    name: str
    body: bytes

    def parse_body(self) -> Any:
        """The body's JSON."""
        return orjson.loads(self.body)


Handle = Callable[[APIServer, Call], tuple[HTTPStatus, Object]]


def respond(api: APIServer, request: APIRequest) -> APIResponse:
    """What the API server says to this request."""
    try:
        status, body = _respond(api, request)
    except DemoError as error:
        status, body = _failure(error.http_status, str(error))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        status, body = _failure(HTTPStatus.BAD_REQUEST, f"the request body cannot be read: {error!r}")
    return APIResponse(status, orjson.dumps(body))


@contextmanager
def serve(api: APIServer, certificate: trustme.LeafCert, address: tuple[str, int] = LOOPBACK) -> Iterator[Listener]:
    """Listen by HTTPS until the block ends."""
    with listen(partial(respond, api), certificate, address) as listener:
        yield listener


def _respond(api: APIServer, request: APIRequest) -> tuple[HTTPStatus, Object]:
    caller = _authenticate(api, request.headers.get("authorization", ""))
    match = _PATH.fullmatch(urlsplit(request.target).path)
    if match is None:
        raise NotFoundError("the server could not find the requested resource")
    parts = {key: unquote(value or "") for key, value in match.groupdict().items()}
    resource = "/".join(filter(None, (parts["resource"], parts["subresource"])))
    verb, handle = _find_route(request.method, resource, has_name=bool(parts["name"]))
    authorize(caller, Action(verb, parts["group"], resource), api.store)
    return handle(api, Call(parts["namespace"], parts["name"], request.body))


def _authenticate(api: APIServer, authorization: str) -> dict[str, Any]:
    scheme, _, unverified_token = authorization.partition(" ")
    if scheme.lower() != "bearer":  # RFC 9110 section 11.1; the Python client writes it in lower case.
        raise UnauthorizedError("Unauthorized")
    if unverified_token in api.static_tokens:
        return api.static_tokens[unverified_token]
    return api.authenticate(unverified_token).user_info


def _find_route(method: str, resource: str, *, has_name: bool) -> tuple[str, Handle]:
    verb = {"GET": "get" if has_name else "list", "POST": "create", "PUT": "update"}[method]
    try:
        return verb, _ROUTES[verb, resource]
    except KeyError as error:
        raise NotFoundError("the server could not find the requested resource") from error


def _review_token(api: APIServer, call: Call) -> tuple[HTTPStatus, Object]:
    """TokenReview v1. No audiences means the API server's own; a bad token is a result, not an error."""
    review = call.parse_body()
    spec = review["spec"]
    try:
        caller = api.authenticate(spec["token"], spec.get("audiences") or [ISSUER])
        status = {"authenticated": True, "user": caller.user_info, "audiences": list(caller.audiences)}
    except UnauthorizedError as error:
        status = {"user": {}, "error": f"[invalid bearer token, {error}]"}
    return HTTPStatus.CREATED, review | {"status": status}


def _request_token(api: APIServer, call: Call) -> tuple[HTTPStatus, Object]:
    """TokenRequest v1, as a kubelet makes it: one audience, bound to a pod."""
    request = call.parse_body()
    spec = request["spec"]
    pod = api.store.get("Pod", call.namespace, spec["boundObjectRef"]["name"])
    (audience,) = spec["audiences"]
    token = api.create_token(pod, audience, spec.get("expirationSeconds", 3600))
    return HTTPStatus.CREATED, request | {"status": {"token": token}}


def _get(kind: str, api: APIServer, call: Call) -> tuple[HTTPStatus, Object]:
    return HTTPStatus.OK, api.store.get(kind, call.namespace, call.name)


def _list(kind: str, api: APIServer, call: Call) -> tuple[HTTPStatus, Object]:
    found = api.store.list(kind, call.namespace)
    # The items of a list carry neither kind nor apiVersion.
    items = [{key: value for key, value in each.items() if key not in {"kind", "apiVersion"}} for each in found]
    return HTTPStatus.OK, {"kind": f"{kind}List", "apiVersion": "v1", "metadata": {}, "items": items}


def _create(kind: str, api: APIServer, call: Call) -> tuple[HTTPStatus, Object]:
    raw = call.parse_body() | {"kind": kind}
    raw["metadata"] = raw["metadata"] | {"namespace": call.namespace}
    return HTTPStatus.CREATED, api.store.create(raw)


def _create_pod(api: APIServer, call: Call) -> tuple[HTTPStatus, Object]:
    raw = call.parse_body() | {"kind": "Pod"}
    raw["metadata"] = raw["metadata"] | {"namespace": call.namespace}
    (admitted,) = api.apply(raw)
    return HTTPStatus.CREATED, admitted.pod


def _update(kind: str, api: APIServer, call: Call) -> tuple[HTTPStatus, Object]:
    return HTTPStatus.OK, api.store.replace(kind, call.namespace, call.name, call.parse_body())


def _update_pod_status(api: APIServer, call: Call) -> tuple[HTTPStatus, Object]:
    status = {"status": call.parse_body()["status"]}
    return HTTPStatus.OK, api.store.replace("Pod", call.namespace, call.name, status)


# (verb, resource) -> what answers it.
_ROUTES: Final[dict[tuple[str, str], Handle]] = {
    ("create", "tokenreviews"): _review_token,
    ("create", "serviceaccounts/token"): _request_token,
    ("get", "pods"): partial(_get, "Pod"),
    ("create", "pods"): _create_pod,
    ("update", "pods/status"): _update_pod_status,
    ("list", "services"): partial(_list, "Service"),
    ("create", "events"): partial(_create, "Event"),
    ("get", "leases"): partial(_get, "Lease"),
    ("create", "leases"): partial(_create, "Lease"),
    ("update", "leases"): partial(_update, "Lease"),
}


def _failure(code: int, message: str) -> tuple[HTTPStatus, Object]:
    body = {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": _REASONS.get(code, "BadRequest"),
        "code": int(code),
    }
    return HTTPStatus(code), body

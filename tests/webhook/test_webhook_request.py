import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.webhook.world import body, pod, review
from webhook.errors import ReviewError, ReviewTooLargeError
from webhook.request import build_request, parse_request

DEPLOYMENT_KIND = {"group": "apps", "version": "v1", "kind": "Deployment"}
DEPLOYMENT = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": {"replicas": 1}}
DEEP = b"[" * 200_000


def with_member(raw: bytes, text: bytes) -> bytes:
    return raw.replace(b'"dryRun": false', b'"dryRun": false, ' + text)


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        pytest.param(b"", "Input data was truncated", id="empty"),
        pytest.param(b"hello", "JSON is malformed", id="no-json"),
        pytest.param(b"\xff\xfe{}", "JSON is malformed", id="utf-16"),
        pytest.param(b"[]", "Expected `object`, got `array`", id="list"),
        pytest.param(b"null", "Expected `object`, got `null`", id="null"),
        pytest.param(body(pod())[:-1], "Input data was truncated", id="cut"),
        pytest.param(body(pod()) + b"{}", "trailing characters", id="two-documents"),
        pytest.param(with_member(body(pod()), b'"x": NaN'), "JSON is malformed", id="NaN"),
        pytest.param(with_member(body(pod()), b'"x": Infinity'), "JSON is malformed", id="Infinity"),
        pytest.param(with_member(body(pod()), b'"x": ' + DEEP), "maximum recursion depth", id="deep-unread"),
        pytest.param(
            with_member(body(pod()), b'"object": {"spec": {"volumes": [{"x": ' + DEEP), "recursion", id="deep-raw"
        ),
        pytest.param(with_member(body(pod()), b'"userInfo": {"x": [[]]}'), "$.request.userInfo", id="deep-userInfo"),
        pytest.param(with_member(body(pod()), b'"userInfo": {"x": 1e3}'), "$.request.userInfo", id="float-userInfo"),
        pytest.param(body(pod(), userInfo={"x": 2**53 + 1}), "$.request.userInfo", id="huge-integer"),
        pytest.param(body(pod(), userInfo={"x": "\ud800"}), "surrogate", id="lone-surrogate"),
        pytest.param(with_member(body(pod()), b'"userInfo": {"x": "\xff"}'), "utf-8", id="no-utf-8"),
        pytest.param(body(pod({"labels": {"a": 1}})), "Expected `str | null`, got `int`", id="label-number"),
        pytest.param(
            body(pod(initContainers=[{"name": 1}])), "Expected `str | null`, got `int`", id="init-name-number"
        ),
        pytest.param(body(pod(initContainers=["x"])), "Expected `object`, got `str`", id="init-container-string"),
        pytest.param(body(pod(volumes={"a": 1})), "$.request.object.spec.volumes", id="volumes-object"),
        pytest.param(body({"apiVersion": "v1", "kind": "Pod"}), "missing required field `spec`", id="no-spec"),
    ],
)
def test_body_that_is_not_a_review_of_a_pod_is_the_senders_error(sent: bytes, reason: str) -> None:
    with pytest.raises(ReviewError) as caught:
        parse_request(sent)

    assert str(caught.value).startswith("not an AdmissionReview of a Pod: ")
    assert reason in str(caught.value)
    assert caught.value.http_status == 400


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        pytest.param(
            {**review(pod()), "apiVersion": "admission.k8s.io/v1beta1"},
            "AdmissionReview: got 'admission.k8s.io/v1beta1 AdmissionReview', "
            "expected admission.k8s.io/v1 AdmissionReview",
            id="v1beta1",
        ),
        pytest.param(
            pod(), "AdmissionReview: got 'v1 Pod', expected admission.k8s.io/v1 AdmissionReview", id="a-bare-pod"
        ),
        pytest.param({**review(pod()), "request": None}, "request: missing", id="no-request"),
        pytest.param(review(pod(), uid=None), "request.uid: got 'None', expected the uid of the review", id="no-uid"),
        pytest.param(review(pod(), uid=""), "request.uid: got '', expected the uid of the review", id="empty-uid"),
        pytest.param(review(None), "request.object: missing", id="no-object"),
        pytest.param(review(None, operation="DELETE"), "request.operation: got 'DELETE', expected CREATE", id="DELETE"),
        pytest.param(
            review(pod(), operation="UPDATE"), "request.operation: got 'UPDATE', expected CREATE", id="UPDATE"
        ),
        pytest.param(
            review(DEPLOYMENT, kind=DEPLOYMENT_KIND),
            "request.kind: got 'apps/v1 Deployment', expected core/v1 Pod",
            id="deployment",
        ),
        pytest.param(
            review(DEPLOYMENT), "request.object: got 'apps/v1 Deployment', expected v1 Pod", id="deployment-called-pod"
        ),
        pytest.param(
            review(pod(), kind=None), "request.kind: got 'core/None None', expected core/v1 Pod", id="no-kind"
        ),
        pytest.param(
            review(pod(), subResource="binding"), "request.subResource: got 'binding', expected none", id="subresource"
        ),
        pytest.param(
            review(pod(), namespace="a; return 200"),
            "request.namespace: got 'a; return 200', expected an RFC 1123 label",
            id="namespace-with-nginx-syntax",
        ),
        pytest.param(
            review(pod(), namespace=None),
            "request.namespace: got 'None', expected an RFC 1123 label",
            id="no-namespace",
        ),
    ],
)
def test_review_of_something_else_is_refused_naming_the_field(sent: dict[str, Any], reason: str) -> None:
    with pytest.raises(ReviewError) as caught:
        parse_request(json.dumps(sent).encode())

    assert str(caught.value) == reason


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(body(pod(), userInfo={"username": "x" * 200_000}), id="userInfo"),
        pytest.param(body(pod({"ownerReferences": [{"name": "x"}] * 20_000})), id="owners"),
        pytest.param(body(pod(), uid="x" * 200_000), id="uid"),
        pytest.param(body(pod({"generateName": "x" * 200_000})), id="generateName"),
    ],
)
def test_review_that_would_fill_the_log_is_too_large(sent: bytes) -> None:
    with pytest.raises(ReviewTooLargeError, match="bytes, allowed 131072") as caught:
        parse_request(sent)

    assert caught.value.http_status == 413


def test_review_of_9_mib_is_read() -> None:
    raw = pod({"annotations": {"example.com/large": "x" * 9 * 1024 * 1024}})

    assert parse_request(body(raw)).pod.name == "web"


def test_what_we_read_of_a_review_is_what_was_sent() -> None:
    owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-1", "uid": "u", "controller": True}
    raw = pod({"generateName": "web-", "ownerReferences": [owner]}, serviceAccountName="web")

    request = parse_request(body(raw, dryRun=True, name=""))

    assert request.dry_run
    assert request.namespace == "shop"
    assert request.uid == "705ab4f5-6393-11e8-b7cc-42010a800002"
    assert request.user_info == review(raw)["request"]["userInfo"]
    assert request.pod.owners == [owner]
    assert (request.name, request.pod.generate_name, request.pod.service_account) == ("web", "web-", "web")


def test_of_duplicate_keys_the_last_one_counts() -> None:
    sent = with_member(body(pod()), b'"uid": "second", "dryRun": true')

    request = parse_request(sent)

    assert (request.uid, request.dry_run) == ("second", True)


def test_pod_at_hand_becomes_a_request() -> None:
    request = build_request({"spec": {}}, namespace="shop")

    assert (request.uid, request.namespace, request.pod.has_metadata) == ("", "shop", False)


@pytest.mark.parametrize(
    ("raw", "namespace", "reason"),
    [
        pytest.param({}, "shop", "not a Pod: Object missing required field `spec`", id="no-spec"),
        pytest.param({"spec": []}, "shop", "not a Pod: Expected `object`, got `array` - at `$.spec`", id="spec-list"),
        pytest.param({"spec": {}}, "Shop", "namespace: got 'Shop', expected an RFC 1123 label", id="namespace"),
    ],
)
def test_what_is_not_a_pod_does_not_become_a_request(raw: dict[str, Any], namespace: str, reason: str) -> None:
    with pytest.raises(ReviewError) as caught:
        build_request(raw, namespace=namespace)

    assert str(caught.value) == reason


@given(sent=st.binary(max_size=200))
def test_any_bytes_are_refused_as_the_senders_error(sent: bytes) -> None:
    with pytest.raises(ReviewError):
        parse_request(sent)

"""The review that is measured is one that kube-apiserver could send."""

import json

import kubernetes_validate

from lab.bench import review


def test_the_review_is_about_ten_kilobytes() -> None:
    size = len(review.body())

    assert 9_500 <= size <= 10_500


def test_the_pod_is_valid_for_the_kubernetes_schema() -> None:
    pod = review.pod()

    kubernetes_validate.validate(pod, "1.33", strict=True)


def test_every_review_has_a_uid_of_its_own_and_is_otherwise_the_same() -> None:
    first, second = (json.loads(review.body()) for _ in range(2))

    uids = {entry["request"].pop("uid") for entry in (first, second)}

    assert len(uids) == 2
    assert first == second


def test_the_fields_that_a_manager_owns_are_those_of_the_pod() -> None:
    pod = review.pod()

    owned = pod["metadata"]["managedFields"][0]["fieldsV1"]["f:spec"]

    assert {key.removeprefix("f:") for key in owned} == set(pod["spec"])
    assert 'k:{"name":"checkout"}' in owned["f:containers"]

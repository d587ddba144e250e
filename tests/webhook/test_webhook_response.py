import base64
import json

from audit.record import AdmissionRecord
from tests.webhook.world import RECORD, body, pod
from webhook.decision import Deny, Inject, Skip
from webhook.jsonpatch import Operation
from webhook.request import parse_request
from webhook.response import respond


def test_denial_carries_a_status_with_the_reason() -> None:
    response = json.loads(respond(parse_request(body(pod())), Deny("because"), [], RECORD))["response"]

    assert response == {
        "uid": "705ab4f5-6393-11e8-b7cc-42010a800002",
        "allowed": False,
        "status": {"status": "Failure", "message": "podtls: because", "reason": "Forbidden", "code": 403},
        "auditAnnotations": {"decision": "deny", "reason": "because", "record": RECORD},
    }


def test_skip_carries_its_warning_and_no_patch() -> None:
    answer = json.loads(respond(parse_request(body(pod())), Skip("because", ("podtls: because",)), [], RECORD))

    assert (answer["apiVersion"], answer["kind"]) == ("admission.k8s.io/v1", "AdmissionReview")
    assert answer["response"] == {
        "uid": "705ab4f5-6393-11e8-b7cc-42010a800002",
        "allowed": True,
        "warnings": ["podtls: because"],
        "auditAnnotations": {"decision": "skip", "reason": "because", "record": RECORD},
    }


def test_warnings_stay_within_what_the_api_server_shows() -> None:
    operations = [Operation("remove", f"/spec/volumes/{number}", note="x" * 300) for number in range(40)]

    response = json.loads(respond(parse_request(body(pod())), Skip("because", ()), operations, RECORD))["response"]

    assert [len(warning) for warning in response["warnings"]] == [256] * 11 + [len("podtls: and 29 more warnings")]


def test_patch_and_its_type_come_together() -> None:
    operations = [Operation("add", "/metadata/labels", {"a": "é"})]

    response = json.loads(respond(parse_request(body(pod())), Deny("x"), operations, RECORD))["response"]

    assert response["patchType"] == "JSONPatch"
    assert json.loads(base64.b64decode(response["patch"])) == [operations[0].to_json()]


def test_decisions_and_records_use_the_same_words() -> None:
    allowed = {Inject.kind, Skip.kind, Deny.kind}

    assert allowed == set(AdmissionRecord.__annotations__["decision"].__args__)

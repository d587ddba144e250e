"""The webhook that one writes first: Flask, a deep copy of the pod, and a patch computed as the difference.

It makes the same pod as ours, yet its additions come ready-made from a file, it decides nothing and it records nothing:
whatever is left out here makes it cheaper than a real one of its kind. It runs in gunicorn behind our edge
proxy.
"""

import base64
import copy
import json
import os
import secrets
from pathlib import Path
from typing import Any

import jsonpatch
from flask import Flask, Response, jsonify, request

ENV_ADDITIONS = "PODTLS_BENCH_ADDITIONS"  # path of what `additions` made
PLACEHOLDER = "0" * 32  # where the record id goes


def additions(pod: dict[str, Any], injected: dict[str, Any]) -> dict[str, Any]:
    """All that the injected pod has more than the one the user wrote, as naive webhooks keep it: lists and maps."""
    before, after = pod["spec"], injected["spec"]
    return {
        **{
            field: _new(before.get(field, []), after.get(field, []))
            for field in ("initContainers", "volumes", "hostAliases")
        },
        "sysctls": _new(_sysctls(before), _sysctls(after)),
        "labels": _more(pod, injected, "labels"),
        "annotations": _more(pod, injected, "annotations"),
    }


def mutate(pod: dict[str, Any], added: dict[str, Any], record: str) -> dict[str, Any]:
    """The pod with the additions in it; `pod` stays as it is."""
    mutated = copy.deepcopy(pod)
    metadata, spec = mutated["metadata"], mutated["spec"]
    metadata.setdefault("labels", {}).update(added["labels"])
    annotations = {key: value.replace(PLACEHOLDER, record) for key, value in added["annotations"].items()}
    metadata.setdefault("annotations", {}).update(annotations)
    spec["initContainers"] = copy.deepcopy(added["initContainers"]) + spec.get("initContainers", [])
    for field in ("volumes", "hostAliases"):
        if added[field]:
            spec[field] = spec.get(field, []) + copy.deepcopy(added[field])
    if added["sysctls"]:
        spec.setdefault("securityContext", {})["sysctls"] = _sysctls(spec) + copy.deepcopy(added["sysctls"])
    return mutated


def create_app(added: dict[str, Any]) -> Flask:
    """The app that answers each review with the patch that makes those additions."""
    app = Flask("naive")

    @app.post("/mutate/<mode>/<capture>")
    def mutating(mode: str, capture: str) -> Response:  # noqa: ARG001 - the route of ours
        review = request.get_json()
        pod = review["request"]["object"]
        mutated = mutate(pod, added, secrets.token_hex(16))
        patch = jsonpatch.make_patch(pod, mutated)
        answer = {
            "uid": review["request"]["uid"],
            "allowed": True,
            "patchType": "JSONPatch",
            "patch": base64.b64encode(json.dumps(patch.patch).encode()).decode(),
        }
        return jsonify(apiVersion="admission.k8s.io/v1", kind="AdmissionReview", response=answer)

    @app.get("/healthz")
    def health() -> str:
        return "ok"

    return app


def from_env() -> Flask:
    """The app with the additions of the file that the environment names."""
    return create_app(json.loads(Path(os.environ[ENV_ADDITIONS]).read_text()))


def _new(before: list[Any], after: list[Any]) -> list[Any]:
    return [entry for entry in after if entry not in before]


def _more(pod: dict[str, Any], injected: dict[str, Any], field: str) -> dict[str, str]:
    before = pod["metadata"].get(field, {})
    return {key: value for key, value in injected["metadata"].get(field, {}).items() if before.get(key) != value}


def _sysctls(spec: dict[str, Any]) -> list[Any]:
    entries: list[Any] = spec.get("securityContext", {}).get("sysctls", [])
    return entries

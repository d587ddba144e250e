"""The golden Pods: `python -m tests.webhook.goldens` rewrites tests/golden/pods/*/injected.yaml.

Most pod.yaml are written by hand. Those of DERIVED are made from another case, since they are Pods that have been
through podtls and the API server before.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from contract.names import ENV_BUDGET, STATUS, VERSION
from tests.webhook.api_server import as_sent, debug_copy
from tests.webhook.world import GOLDEN, LATER_RECORD, RECORD, apply, patch


def second_round() -> dict[str, Any]:
    """The Deployment's Pod in a second round: nothing is left to do."""
    return as_sent(first_round("deployment"))


def port_added() -> dict[str, Any]:
    """Between two rounds another webhook added a container with a port."""
    raw = as_sent(first_round("deployment"))
    raw["spec"]["containers"].append(
        {"name": "mesh", "image": "example.com/mesh:1", "ports": [{"containerPort": 9901}]}
    )
    return as_sent(raw)


def copied() -> dict[str, Any]:
    """`kubectl debug --copy-to` of an enrolled Pod."""
    return as_sent(debug_copy(as_sent(first_round("deployment"))))


def older_version() -> dict[str, Any]:
    """A Pod that an older podtls injected: another image, one variable less, a volume that podtls no longer adds."""
    raw = as_sent(first_round("bare"))
    for container in raw["spec"]["initContainers"]:
        container["image"] = "registry.example.com/podtls/init:0.0.9"
        container["env"] = [variable for variable in container["env"] if variable["name"] != ENV_BUDGET]
    raw["spec"]["volumes"].insert(0, {"name": "podtls-old", "emptyDir": {}})
    status = raw["metadata"]["annotations"]
    status[STATUS] = status[STATUS].replace(VERSION, "0.0.9")
    return raw


def prepended() -> dict[str, Any]:
    """Between two rounds another webhook put its own init container first."""
    raw = as_sent(first_round("init-containers"))
    raw["spec"]["initContainers"].insert(0, {"name": "mesh-init", "image": "example.com/mesh-init:1"})
    return as_sent(raw)


DERIVED: dict[str, Callable[[], dict[str, Any]]] = {
    "second-round": second_round,
    "port-added": port_added,
    "debug-copy": copied,
    "older-version": older_version,
    "foreign-init-first": prepended,
}


def cases() -> list[str]:
    """The names of all cases."""
    return sorted(path.parent.name for path in GOLDEN.glob("*/pod.yaml"))


def load(case: str, name: str = "pod") -> dict[str, Any]:
    """One file of a case."""
    raw = yaml.safe_load((GOLDEN / case / f"{name}.yaml").read_text("utf-8"))
    assert isinstance(raw, dict)
    return raw


def first_round(case: str) -> dict[str, Any]:
    """The Pod of a case as the API server sends it, injected."""
    raw = as_sent(load(case))
    return apply(raw, patch(raw))


def expected(case: str) -> dict[str, Any]:
    """The Pod of a case after our patch."""
    raw = load(case)
    return apply(raw, patch(raw, record=LATER_RECORD if case in DERIVED else RECORD))


class _Dumper(yaml.SafeDumper):
    """YAML as a person would write it: lines of a text as lines, no anchors."""

    def ignore_aliases(self, data: object) -> bool:
        del data
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)


def dump(raw: dict[str, Any]) -> str:
    """The Pod as YAML."""
    return yaml.dump(raw, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


def rewrite() -> None:
    """Writes every file that is derived."""
    for case, make in DERIVED.items():
        _write(GOLDEN / case / "pod.yaml", make())
    for case in cases():
        _write(GOLDEN / case / "injected.yaml", expected(case))


def _write(path: Path, raw: dict[str, Any]) -> None:
    # The order of keys means nothing, so it is not a change to review.
    if path.exists() and yaml.safe_load(path.read_text("utf-8")) == raw:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(dump(raw), "utf-8")


if __name__ == "__main__":
    rewrite()

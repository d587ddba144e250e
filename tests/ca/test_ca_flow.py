"""The enroll route stays what a newcomer can read on one screen: six calls, no branch."""

import ast
from pathlib import Path

from ca import app


def _enroll() -> ast.FunctionDef:
    tree = ast.parse(Path(app.__file__).read_text())
    (found,) = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name == "enroll")
    return found


def test_enroll_is_attest_key_names_issue_append_respond() -> None:
    docstring, now, *steps = _enroll().body

    called = [
        ast.unparse(step.value.func)
        for step in steps
        if isinstance(step, ast.Assign | ast.Expr | ast.Return)
        if isinstance(step.value, ast.Call)
    ]
    assert isinstance(docstring, ast.Expr)
    assert ast.unparse(now) == "now = self.clock()"
    assert called == ["attest", "csr.public_key", "names", "issue", "self.log.append", "_respond"]
    assert len(steps) == 6


def test_enroll_has_no_branch_no_loop_and_catches_nothing() -> None:
    branches = (ast.If, ast.IfExp, ast.For, ast.While, ast.Try, ast.With, ast.Match, ast.BoolOp, ast.comprehension)

    assert not [ast.unparse(node) for node in ast.walk(_enroll()) if isinstance(node, branches)]


def test_only_the_door_knows_flask() -> None:
    folder = Path(app.__file__).parent

    knowing = [path.name for path in folder.glob("*.py") if "flask" in path.read_text().lower().split()]

    assert knowing == ["app.py"]

"""Holds the route to the flow of house style section 2: five calls, one match, no other branch."""

import ast
from pathlib import Path

import pytest

import webhook

ROOM = Path(webhook.__file__ or "").parent
BRANCHES = (ast.If, ast.IfExp, ast.For, ast.While, ast.Try, ast.With, ast.BoolOp, ast.comprehension, ast.Lambda)


def functions(module: str) -> dict[str, ast.FunctionDef]:
    tree = ast.parse((ROOM / f"{module}.py").read_text("utf-8"))
    return {node.name: node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def calls(function: ast.FunctionDef) -> list[str]:
    nodes = [node for statement in function.body for node in ast.walk(statement) if isinstance(node, ast.Call)]
    return [ast.unparse(node.func) for node in sorted(nodes, key=lambda node: (node.lineno, node.col_offset))]


def test_route_is_five_calls_and_one_match() -> None:
    route = functions("app")["mutate"]

    nodes = [node for statement in route.body for node in ast.walk(statement)]
    assert calls(route) == ["parse", "decide", "inject", "journal.append", "respond"]
    assert sum(isinstance(node, ast.Match) for node in nodes) == 1
    assert not [node for node in nodes if isinstance(node, BRANCHES)]


def test_the_match_names_every_decision() -> None:
    route = functions("app")["mutate"]

    (match,) = (node for node in ast.walk(route) if isinstance(node, ast.Match))

    assert ast.unparse(match.subject) == "decision"
    assert [ast.unparse(case.pattern) for case in match.cases] == ["Inject()", "Skip() | Deny()"]


@pytest.mark.parametrize("path", sorted(ROOM.glob("*.py")), ids=lambda path: path.stem)
def test_flask_is_imported_in_app_alone_and_the_core_knows_no_clock_disk_or_environment(path: Path) -> None:
    tree = ast.parse(path.read_text("utf-8"))
    imported = {
        name.partition(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names])
    }

    assert ("flask" in imported) == (path.stem == "app")
    if path.stem not in {"app", "bundle", "evidence", "gunicorn_conf", "settings"}:
        assert not imported & {"os", "time", "datetime", "secrets", "random", "socket", "logging", "pathlib"}

"""The flow of `bootstrap.enroll` is held here: key, request, certificate, check, generation, one function a step."""

import ast
import subprocess
import sys
from pathlib import Path

import injector

PACKAGE = Path(injector.__file__).parent


def _calls(statement: ast.stmt) -> list[str]:
    calls = [node for node in ast.walk(statement) if isinstance(node, ast.Call)]
    return [call.func.id for call in calls if isinstance(call.func, ast.Name)]


def test_the_flow_is_five_steps_in_this_order_and_no_branch() -> None:
    tree = ast.parse((PACKAGE / "bootstrap.py").read_text())
    (flow,) = [node for node in tree.body if isinstance(node, ast.FunctionDef)]

    steps = [_calls(statement)[0] for statement in flow.body[1:]]

    assert steps == ["make_key", "make_request", "ask", "verify", "publish"]
    assert not [node for node in ast.walk(flow) if isinstance(node, ast.If | ast.Try | ast.For | ast.While | ast.Match)]


def test_the_injector_imports_the_standard_library_and_cryptography_only() -> None:
    modules = set()
    for file in PACKAGE.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                modules |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                modules.add((node.module or "").partition(".")[0])

    assert modules - sys.stdlib_module_names == {"cryptography", "injector"}


def test_what_start_up_cannot_afford_is_not_imported() -> None:
    script = "import sys, injector.__main__; print(*sys.modules)"

    loaded = subprocess.run(
        [sys.executable, "-I", "-c", f"import sys; sys.path.insert(0, {str(PACKAGE.parent)!r}); {script}"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout.split()

    assert not {"argparse", "logging", "urllib.request", "kubernetes", "flask", "asyncio", "importlib.metadata"} & set(
        loaded
    )

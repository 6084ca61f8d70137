"""The imports of the core: all at the top of a module, without a circle, without a framework."""

from __future__ import annotations

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import stepfold

ROOT = Path(stepfold.__file__).parent
CORE = [p for p in ROOT.glob("_*.py") if p.name not in ("__init__.py", "_export.py", "_stream.py")]
CORE += [p for package in ("_show", "_plan", "cells") for p in (ROOT / package).glob("*.py")]


def name_of(path: Path) -> str:
    """The dotted name of a module inside stepfold."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def relative(path: Path) -> list[ast.ImportFrom]:
    """The imports of stepfold's own modules in one of them."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return [n for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and n.level]


def imported(path: Path, statement: ast.ImportFrom) -> list[str]:
    """The modules of stepfold that a relative import names."""
    package = path.parent
    for _ in range(statement.level - 1):
        package = package.parent
    target = package.joinpath(*(statement.module or "").split("."))
    found = []
    for alias in statement.names:
        inner = target / f"{alias.name}.py"
        found.append(name_of(inner if inner.exists() else target))
    return found


def test_the_core_has_no_import_circle() -> None:
    graph: dict[str, set[str]] = {}
    for path in CORE:
        assert not any(n.col_offset for n in relative(path)), f"{path.name} imports inside a function"
        graph[name_of(path)] = {name for n in relative(path) for name in imported(path, n)}
    # the compiler is one module here
    compiler = [(path, n) for path in (ROOT / "_llvm").glob("*.py") for n in relative(path)]
    names = {name for path, n in compiler for name in imported(path, n)}
    graph["_llvm"] = {name for name in names if not name.startswith("_llvm")}
    assert "_step" in graph["_cell"]
    assert "_llvm" in graph["_show._code"]
    list(TopologicalSorter(graph).static_order())


def test_the_core_imports_no_framework_and_traces_no_cell_of_the_collection() -> None:
    absent = "{'keras', 'torch', 'jax', 'matplotlib', 'stepfold.cells'}"
    code = (
        f"import stepfold, sys; print(sorted({absent} & sys.modules.keys())); "
        "assert 'cells' in dir(stepfold); assert stepfold.cells.lstm.name == 'lstm'"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

"""The modules of the plan and of the LLVM lowering import one another in no circle."""

from __future__ import annotations

import ast
import graphlib
from pathlib import Path

import pytest

import stepfold

PACKAGES = ("_plan", "_llvm")


def imported(module: Path) -> set[str]:
    """The modules of its own package that a module imports, for types alone too."""
    found: set[str] = set()
    for statement in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if isinstance(statement, ast.ImportFrom) and statement.level == 1:
            found.update([statement.module] if statement.module else [name.name for name in statement.names])
    return found


@pytest.mark.parametrize("package", PACKAGES)
def test_modules_import_one_another_in_no_circle(package: str) -> None:
    folder = Path(stepfold.__file__).parent / package
    imports = {module.stem: imported(module) for module in folder.glob("*.py")}
    assert len(imports) > 3
    graphlib.TopologicalSorter(imports).prepare()

"""The example programs as pages."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from pathlib import Path

from ._markdown import fenced


def examples(files: Sequence[Path]) -> dict[str, str]:
    """Return a page for each program and one that lists them, place → Markdown."""
    rows = ["| program | what it does |", "|---|---|"]
    pages = {}
    for path in files:
        text = path.read_text(encoding="utf-8")
        about = ast.get_docstring(ast.parse(text)) or ""
        first = " ".join(about.split("\n\n")[0].split())
        rows.append(f"| [`{path.name}`]({path.stem}.md) | {first} |")
        pages[f"examples/{path.stem}"] = f"# {path.name}\n\n{first}\n\n{fenced(text, 'python')}"
    tree = "\n".join(path.stem for path in files)
    pages["examples/index"] = (
        "# Examples\n\nPrograms in the folder `examples/` of the repository.\n\n"
        + "\n".join(rows)
        + f"\n\n```{{toctree}}\n:hidden:\n\n{tree}\n```\n"
    )
    return pages

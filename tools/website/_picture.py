"""The picture of `How it works`: from a step to machine code, with what `cell.show` prints at each stage."""

from __future__ import annotations

import html
import re

from stepfold import Cell

from ._source import source

_UNITS = 32


def picture(cell: Cell) -> str:
    """Return the stages of a cell as one figure."""
    maths, gradient = cell.show("maths"), cell.show("gradient")
    llvm = cell.show("llvm", units=_UNITS).splitlines()
    asm = cell.show("asm", units=_UNITS).splitlines()
    stages = (
        ("The step", "what you write", source(cell).partition("\n\n\n")[2].rstrip().splitlines()),
        ("The graph", "the function is traced: these are its equations", _part(maths, 2)),
        (
            "The gradient",
            "reverse mode over the graph, in the same operations",
            _after(gradient, "Backward pass"),
        ),
        (
            "The plan",
            "what leaves the time loop, and the least that must be saved",
            [*_after(maths, "Computed outside"), "saved: " + " ".join(_after(maths, "Residuals"))],
        ),
        (
            "LLVM IR",
            f"{len(llvm):,} lines for {_UNITS} units; here a product",
            _around(llvm, r"call .*fmuladd", 3),
        ),
        ("Machine code", f"{len(asm):,} lines for this processor", _around(asm, r"fn?madd|fmla", 1)),
    )
    items = "".join(
        f"<li><strong>{title}</strong><span>{html.escape(about)}</span>"
        f'<pre tabindex="0">{_escaped(lines)}</pre></li>'
        for title, about, lines in stages
    )
    return f'<ol class="stages">{items}</ol>\n'


def _escaped(lines: list[str]) -> str:
    """Lines as HTML on one line of Markdown."""
    return "&#10;".join(html.escape(line.expandtabs(4)) for line in lines)


def _part(text: str, number: int) -> list[str]:
    return [line.strip() for line in text.split("\n\n")[number].splitlines()]


def _after(text: str, title: str) -> list[str]:
    """The lines below a title."""
    match = re.search(rf"^{title}[^\n]*\n(.*?)(?:\n\n|\Z)", text, re.DOTALL | re.MULTILINE)
    if match is None:
        raise ValueError(f"there is no part {title!r} in\n{text}")
    return [line.strip() for line in match[1].splitlines()]


def _around(lines: list[str], pattern: str, before: int) -> list[str]:
    """A few lines around the first that matches."""
    found = next((number for number, line in enumerate(lines) if re.search(pattern, line)), before)
    return [re.sub(r", align.*", "", line.strip()) for line in lines[max(0, found - before) : found + 4]]

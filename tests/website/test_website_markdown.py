"""Pages as the site's Markdown: blocks, links, equations, outputs; docstrings; the functions' page."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from stepfold import cell, cells, tanh
from tools.website._docstrings import described, paragraphs
from tools.website._functions import functions
from tools.website._functions import page as functions_page
from tools.website._gallery import index, measured
from tools.website._gallery import page as cell_page
from tools.website._markdown import Context, pieces, rendered
from tools.website._pages import sections
from tools.website._picture import picture
from tools.website._source import source

ROOT = Path(__file__).resolve().parents[2]


def context(place: str = "start", objects: frozenset[str] = frozenset()) -> Context:
    targets = {ROOT / "docs/cells.md": "cells", ROOT / "ARCHITECTURE.md": "architecture"}
    inserts = {"names": lambda defined: ", ".join(name for name in defined if name.islower())}
    return Context(place, ROOT / "docs/start.md", targets, objects, inserts)


def test_blocks_and_prose_alternate() -> None:
    text = "One\n\n````python\n```\n````\ntwo\n```\nplain\n```\n"
    assert [(p.language, p.text) for p in pieces(text)] == [
        (None, "One\n\n"), ("python", "```\n"), (None, "two\n"), ("", "plain\n"), (None, "\n"),
    ]  # fmt: skip
    with pytest.raises(ValueError, match="a block of python is never closed"):
        list(pieces("```python\nx = 1\n"))


def test_links_lead_to_pages() -> None:
    text = "[a](cells.md#try) [b](../ARCHITECTURE.md) [c](https://example.org/x.md) [d](#here)"
    assert rendered(text, context()).split() == [
        "[a](cells.md#try)", "[b](architecture.md)", "[c](https://example.org/x.md)", "[d](#here)",
    ]  # fmt: skip
    assert "(../cells.md)" in rendered("[a](cells.md)", context("reference/x"))
    with pytest.raises(
        ValueError, match=r"start\.md: the link \.\./Makefile leads to a file that is no page"
    ):
        rendered("[m](../Makefile)", context())


def test_known_names_become_links_outside_blocks_alone() -> None:
    known = frozenset({"stepfold.scan"})
    text = (
        "`stepfold.scan`, `stepfold.other`, [`stepfold.scan`](cells.md)\n\n```python\n`stepfold.scan`\n```\n"
    )
    found = rendered(text, context(objects=known))
    assert found.count("{py:obj}`stepfold.scan`") == 1
    assert "`stepfold.other`" in found


def test_outputs_and_inserts() -> None:
    block = '```python\nfor n in range(9):\n    print("line", n)\nnumber = 3\n```\n'
    assert "```text\nline 0\nline 1\n… 7 lines more\n```" in rendered(
        f"{block}<!-- output: 2 lines -->", context()
    )
    shown = rendered(
        f"{block}\n<!-- output: 2 lines from 1 before [5-9] -->\n<!-- insert: names -->\n", context()
    )
    assert "… 4 lines before\nline 4\nline 5\n… 3 lines more" in shown
    assert "n, number" in shown
    assert "line 0" not in rendered(f"<!-- not run: no -->\n{block}", context()).replace(block, "")
    for wrong, said in (
        ("<!-- output: some -->", "an output is `20 lines`"),
        ("<!-- output: 2 lines from absent -->", "no line of the output matches 'absent'"),
        ("<!-- insert: nothing -->", "there is no insert 'nothing'; there are names"),
        ("<!-- include: x -->", "no one knows what '<!-- include: x -->' means"),
    ):
        with pytest.raises(ValueError, match=said):
            rendered(f"{block}{wrong}\n", context())


def test_docstrings_as_markdown() -> None:
    text = """Do it, as `scan` does with a < b.

    It means::

        for t in range(time):
            pass

    Args:
        cell: what runs,
            for all rows.
        a, b: two numbers.

    Raises TypeError.
    """
    objects = {"stepfold.scan", "stepfold.do"}
    assert described(text) == {"cell", "a", "b"}
    assert paragraphs(text, "stepfold.do", objects) == (
        "Do it, as {py:obj}`scan <stepfold.scan>` does with a &lt; b.\n\nIt means:\n\n"
        "```python\nfor t in range(time):\n    pass\n```\n\n"
        "**Arguments**\n\n* `cell`: what runs, for all rows.\n* `a`, `b`: two numbers.\n\nRaises TypeError.\n"
    )


def test_every_function_of_the_language_is_listed() -> None:
    text = functions_page()
    assert len(functions()) > 40
    for name in functions():
        assert f"<stepfold.{name}>`" in text, name
    assert (
        "| {py:func}`relu(x) <stepfold.relu>` | `maximum(x, 0)`; its derivative at 0 is 0. | 0 | 0 | 0.5 | 2"
        in text
    )


@pytest.mark.parametrize("name", ["lstm", "lem"])
def test_a_page_of_the_gallery(name: str) -> None:
    pytest.importorskip("latex2mathml")
    one = cells.by_name(name)
    text = cell_page(one, "family", measured(ROOT))
    assert text.startswith(f"# {name}\n")
    assert '<math xmlns="http://www.w3.org/1998/Math/MathML" display="block">' in text
    assert "&</mi>" not in text  # an alignment that was not understood
    assert f"def {name}(x, " in text
    assert '"""' not in text
    assert ("Hyper-parameters: `step=1.0`" in text) == (name == "lem")
    assert "## What it costs and what it remembers\n\n" in text
    assert f"[{name}]({name}.md)" in index({})


def test_a_cell_that_was_not_measured_has_no_empty_part() -> None:
    pytest.importorskip("latex2mathml")
    for name in ("gru_d", "lstm"):
        text = cell_page(cells.by_name(name), "family", {})
        assert re.search(r"^## [^\n]*\n\s*(?=## |\Z)", text, re.MULTILINE) is None


@pytest.mark.slow
def test_the_code_of_every_page_of_the_gallery_runs() -> None:
    pytest.importorskip("latex2mathml")
    for family, members in cells.FAMILIES.items():
        for one in members:
            blocks = [p.text for p in pieces(cell_page(one, family, {})) if p.language == "python"]
            defined: dict[str, Any] = {}
            exec(next(block for block in blocks if "stepfold.scan" in block), defined)
            size = 32 if one.name == "projected_lstm" else 128
            assert defined["outputs"].shape == (8, 100, size), one.name


def test_the_picture_holds_what_show_prints() -> None:
    @cell
    def plain(x, h, *, W, U, b):  # type: ignore[no-untyped-def]
        return tanh(W @ x + U @ h + b)

    text = picture(plain)
    assert text.count("<li>") == 6
    assert "\n" not in text.strip()
    assert "return tanh(W @ x + U @ h + b)" in text
    assert "delta = d_h&#x27; * (1 - h&#x27;**2)" in text
    assert "saved: h&#x27;" in text
    assert "fmuladd" in text


def test_all_documents_are_pages() -> None:
    found = {page.file for section in sections(ROOT) for page in section.pages}
    assert {f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")} - {"docs/index.md"} <= found


@pytest.mark.parametrize(
    "name", ["lstm", "gru", "simple_rnn_relu", "layer_norm_gru", "delta_net", "gru_d", "lmu"]
)
def test_the_code_of_a_cells_page_makes_the_cell(tmp_path: Path, name: str) -> None:
    page = tmp_path / "page.py"
    page.write_text(source(cells.by_name(name)), encoding="utf-8")
    space: dict[str, Any] = {}
    exec(compile(page.read_text(encoding="utf-8"), str(page), "exec"), space)
    assert space[name].step == cells.by_name(name).step

"""Equations as pictures: every built-in cell's LaTeX can be set; what cannot be is left to its text."""

from __future__ import annotations

import pytest
from report_pages import Page
from report_samples import HOSTILE, LATEX, training

from stepfold import cells
from stepfold.report._equations import draw_equations
from stepfold.report._page import training_page

BUILT_IN = [
    "simple_rnn",
    "lstm",
    "gru",
    "layer_norm_lstm",
    "layer_norm_gru",
    "peephole_lstm",
    "min_gru",
    "indrnn",
]


def drawing(latex: str) -> Page:
    found = draw_equations(latex)
    assert found is not None
    return Page(f"<html><body>{found}</body></html>")


@pytest.mark.parametrize("name", BUILT_IN)
def test_the_equations_of_built_in_cells_are_drawn(name: str) -> None:
    latex = cells.by_name(name).show("latex")
    picture = drawing(latex).one("svg", "equation")
    assert picture.attributes["aria-label"] == latex
    assert picture.attributes["role"] == "img"


def test_letters_are_outlines_in_the_colour_of_the_page() -> None:
    page = drawing(LATEX)
    assert not page.all("text")
    assert len(page.all("use")) > 60, "a reference for each letter"
    assert "var(--ink)" in page.source
    _, _, width, height = map(float, page.one("svg").attributes["viewbox"].split())
    assert 150 < width < 400
    assert 150 < height < 250


def test_more_lines_take_more_room() -> None:
    heights = [
        drawing(r" \\ ".join(["a &= b"] * n)).one("svg").attributes["viewbox"].split()[3] for n in (1, 2, 4)
    ]
    one, two, four = map(float, heights)
    assert two - one == pytest.approx(one, abs=1)
    assert four == pytest.approx(4 * one, abs=2)


@pytest.mark.parametrize(
    "latex",
    ["", "a = b", r"a &= \nothing{b}", r"a &= \frac{1", "a &= " + HOSTILE, "a &=", "a &= b \\\\" * 100],
)
def test_what_cannot_be_set_is_left_out(latex: str) -> None:
    assert draw_equations(latex) is None


def test_the_page_shows_the_text_where_there_is_no_picture() -> None:
    page = Page(
        training_page(training(reading=None, latex={"lstm": "?"}, equations={"lstm": "h' = o * tanh(c')"}))
    )
    assert not page.all("svg", "equation")
    assert "h' = o * tanh(c')" in page.words
    assert "As text, with the loop" not in page.words

"""The server's pages in a headless browser: under their own policies, with the model's own numbers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from serve_models import text_model
from serve_running import running

from stepfold.serve import Limits
from tests.viewer.viewer_browser import FITS, Tab, browser, program

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(program() is None, reason="there is no chromium or chrome"),
]

MODELS = [text_model(), text_model("both", both_ways=True)]
FIGURES = "[...document.querySelectorAll('.figure')].map(e => e.textContent)"


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    with browser(tmp_path_factory.mktemp("browser")) as tab:
        yield tab


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with running(MODELS, Limits()) as port:
        yield f"http://127.0.0.1:{port}"


def test_both_models_read_along(tab: Tab, address: str) -> None:
    tab.console.clear()
    tab.open(f"{address}/")
    tab.until(f"{FIGURES}.length === 2 && !{FIGURES}.includes('–')")
    tab.run("document.querySelector('textarea').focus()")
    tab.type("the film was not very good")
    tab.until("document.querySelectorAll('.words span').length === 12")
    for place, model in enumerate(MODELS):
        last = model.explain("the film was not very good").outputs[-1]
        rows = f"document.querySelectorAll('.panel')[{place}].querySelectorAll('tbody tr')"
        tab.until(f"[...{rows}].some(row => row.cells[1].textContent === '{last[1]:.3f}')")
    assert tab.console == []


@pytest.mark.parametrize("width", [400, 1000])
def test_a_request_is_tried_on_the_page_of_requests(
    tab: Tab, address: str, width: int, tmp_path: Path
) -> None:
    tab.console.clear()
    tab.open(f"{address}/docs", width)
    tab.run("document.querySelector('form').requestSubmit()")
    text = tab.until("(t => t.includes('}') && t)(document.querySelector('form pre').textContent)")
    assert text.startswith("200\n")
    assert '"label"' in text
    tab.run("document.querySelectorAll('details').forEach(e => e.open = true)")
    found = tab.run(FITS)
    assert (found["cut"], found["scroll"]) == ([], 0)
    tab.picture(tmp_path / "docs.png")
    assert (tmp_path / "docs.png").stat().st_size > 10_000
    assert tab.console == []

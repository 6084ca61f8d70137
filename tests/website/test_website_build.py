"""The site as a whole: it builds without a warning, and a browser shows it without an error or a request."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.viewer.viewer_browser import Tab, browser, program

ROOT = Path(__file__).resolve().parents[2]
PAGES = (
    "index", "start", "cells", "functions", "gallery/index", "gallery/slstm", "how_it_works",
    "architecture", "performance", "migration", "reference/stepfold", "reference/stepfold.torch", "commands",
)  # fmt: skip

# What is wider than the window, or cut off where nothing scrolls.
WIDE = """[...document.querySelectorAll('article *')].filter(e => e.getClientRects().length
  && !e.closest('pre > *, .table-wrapper > *, .equations > *, .diagram > *')
  && e.getBoundingClientRect().right > innerWidth + 1).map(e => e.tagName + e.textContent.slice(0, 40))"""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(program() is None, reason="there is no chromium or chrome"),
]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("sphinx", reason="the extra docs is not installed")
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "tools.website", str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    return folder / "html"


@pytest.fixture(scope="module")
def tab(site: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    with browser(tmp_path_factory.mktemp("browser")) as tab:
        yield tab


def test_pages_fit_and_say_nothing_on_the_console(site: Path, tab: Tab) -> None:
    for name in PAGES:
        for width, dark in ((400, False), (1400, True)):
            where = f"{name}, {width} px"
            tab.console.clear()
            tab.open((site / f"{name}.html").as_uri(), width, dark=dark)
            assert tab.run("document.documentElement.scrollWidth") <= width, where
            assert tab.run(WIDE) == [], where
            assert tab.run("document.querySelectorAll('article h1').length") == 1, where
            loaded = tab.run("performance.getEntriesByType('resource').map(entry => entry.name)")
            assert all(address.startswith(site.as_uri()) for address in loaded), where
            assert tab.console == [], where


def test_equations_are_aligned(site: Path, tab: Tab) -> None:
    tab.open((site / "gallery/gru.html").as_uri())
    boxes = "[...document.querySelectorAll('.equations {}')].map(e => e.getBoundingClientRect().{})"
    assert len(set(tab.run(boxes.format("mtr", "top")))) == 4
    assert len(set(tab.run(boxes.format("mtd:nth-child(2)", "left")))) == 1


@pytest.mark.parametrize(
    ("words", "page"),
    [("layer_norm", "reference/stepfold.html"), ("peephole", "gallery/peephole_lstm.html")],
)
def test_search_finds_a_function_and_a_cell(site: Path, tab: Tab, words: str, page: str) -> None:
    tab.open(f"{(site / 'search.html').as_uri()}?q={words}")
    links = "[...document.querySelectorAll('#search-results li a')].map(e => e.getAttribute('href'))"
    found = tab.until(f"(found => found.length && found)({links})")
    assert any(link.startswith(page) for link in found)

"""The pages in a headless browser: nothing cut off on small and large screens, readable in light and dark."""

from __future__ import annotations

from pathlib import Path

import pytest
from report_browser import View, browser, measure
from report_samples import comparison, evaluation, memory, reading, regression, training, words

from stepfold import cells
from stepfold.report._page import comparison_page, evaluation_page, memory_page, training_page

pytestmark = pytest.mark.skipif(browser() is None, reason="no chromium or chrome on this machine")

LAYER_NORM = cells.layer_norm_lstm.show("latex")
PLAIN = """<!DOCTYPE html><html><head>
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
</head><body><main>{}</main></body></html>"""


@pytest.mark.slow
def test_pages_fit_and_are_readable(tmp_path: Path) -> None:
    pages = {
        "training": training_page(training()),
        "equations": training_page(training(reading=None, latex={"a": LAYER_NORM})),
        "long review": training_page(training(reading=reading(words(8), 256))),
        "few words": training_page(training(reading=reading(words()[:6], 8))),
        "regression": training_page(regression()),
        "12 classes": evaluation_page(evaluation(12)),
        "30 classes": evaluation_page(evaluation(30)),
        "comparison": comparison_page(comparison()),
        "memory": memory_page(memory()),
    }
    views = [
        View(name, page, width, dark)
        for name, page in pages.items()
        for width in (400, 1400)
        for dark in (False, True)
    ]
    measured, console = measure(views, tmp_path)
    assert not console
    for view, found in measured.items():
        where = f"{view.name}, {view.width} px, {'dark' if view.dark else 'light'}"
        assert (found["width"], found["dark"]) == (view.width, view.dark), where
        assert found["scroll"] <= view.width, where
        assert not found["cut"], where
        assert not found["faint"], where
        assert view.width < 1400 or not found["hidden"], where
        assert "classes" in view.name or found["charts"] >= 2, where


@pytest.mark.slow
def test_the_measurement_finds_what_is_wrong(tmp_path: Path) -> None:
    wide = (
        '<div style="width: 900px">wide</div><p style="color: #999">faint</p>'
        '<script>console.error("wrong")</script>'
    )
    views = [
        View("wide", PLAIN.format(wide), 400, False),
        View("fine", PLAIN.format("<p>fine</p>"), 400, False),
    ]
    measured, console = measure(views, tmp_path)
    assert len(console) == 1
    assert "wrong" in console[0]
    bad, good = (measured[view] for view in views)
    assert bad["scroll"] > 400
    assert bad["cut"] == ["DIV. wide"]
    assert len(bad["faint"]) == 1
    assert good == {
        "width": 400,
        "scroll": 400,
        "cut": [],
        "faint": [],
        "hidden": [],
        "charts": 0,
        "dark": False,
    }

"""Stored explanations in a headless browser: without a server, several on a page, without scripts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from viewer_browser import FITS, Tab
from viewer_samples import explain, model

from stepfold.viewer import script_hash, stored_fragment

pytestmark = pytest.mark.slow

TEXT = "A dull start but a superb, wonderful end"
ROWS = "[...document.querySelectorAll('.panel')[{}].querySelectorAll('td')].map(cell => cell.textContent)"


def page(folder: Path, *fragments: str) -> str:
    """The address of a page that holds some fragments and allows what they need."""
    policy = f"default-src 'none'; script-src {script_hash()}; style-src 'unsafe-inline'; img-src data:"
    head = f'<meta http-equiv="Content-Security-Policy" content="{policy}"><link rel="icon" href="data:,">'
    file = folder / "page.html"
    body = f'<!DOCTYPE html><meta charset="utf-8">{head}<body style="margin: 0">{"".join(fragments)}'
    file.write_text(body, encoding="utf-8")
    return file.as_uri()


def measurements(steps: int) -> dict[str, Any]:
    time = np.arange(steps)
    inputs = np.stack((np.sin(time / 9), np.cos(time / 5)), 1)
    return {
        "tokens": [str(k + 1) for k in time], "known": [True] * steps, "labels": ["litres"],
        "outputs": np.cumsum(inputs[:, :1], 0).tolist(), "before": [float("nan")], "inputs": inputs,
        "unit": "timestep",
        "layers": [{"name": "gru", "cell": "gru", "values": {"h": np.tanh(inputs).tolist()}}],
    }  # fmt: skip


def test_two_fragments_on_a_page_work_side_by_side(tab: Tab, tmp_path: Path) -> None:
    told, measured = explain(TEXT, True), measurements(400)
    measured["inputs"] = measured["inputs"] * [1000, 0.1] + [0, 50]
    address = page(
        tmp_path,
        stored_fragment([model(), model("other")], [told, explain(TEXT, True, seed=1)]),
        stored_fragment([{"name": "pump", "labels": ["litres"]}], [measured]),
    )
    tab.open(address, 1400)
    assert tab.run("document.querySelectorAll('.panel').length") == 3
    assert tab.run(ROWS.format(0))[2:4] == [f"{value:.3f}" for value in told["outputs"][-1]]
    gate = tab.run("[...document.querySelectorAll('.panel select')[2].options].map(o => o.textContent)")
    assert gate == ["h", "c", "i", "f", "c~", "o"]
    tab.run("document.querySelectorAll('.panel select')[2].selectedIndex = 3")
    tab.run("document.querySelectorAll('.panel select')[2].dispatchEvent(new Event('change'))")
    assert "f of lstm, layer 1, 32 units" in tab.run("document.querySelectorAll('.caption')[1].textContent")
    # Timesteps have no words: the arrow keys work on the charts.
    tab.run("document.querySelectorAll('.scroll')[2].focus()")
    tab.press("ArrowLeft")
    assert tab.run(ROWS.format(2))[0] == "399 of 400"
    tab.press("Home")
    assert tab.run(ROWS.format(2))[0] == "101 of 400"
    # A series in other units is not flat beside the others; the table says which line is whose.
    heights = tab.run("[...document.querySelectorAll('.line .series')].map(e => e.getBBox().height)")
    assert len(heights) == 2
    assert min(heights) > 90
    assert tab.run("document.querySelectorAll('th .dash .series').length") == 2
    for width in (400, 1400):
        for dark in (False, True):
            tab.show(width, 900, dark)
            tab.run("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
            assert tab.run(FITS) == {"cut": [], "fits": True, "scroll": 0}, (width, dark)


def test_without_scripts_the_words_and_the_line_are_there(tab: Tab, tmp_path: Path) -> None:
    tab.send("Emulation.setScriptExecutionDisabled", value=True)
    try:
        tab.open(page(tmp_path, stored_fragment([model()], [explain(TEXT)])), 400)
        assert tab.run("document.querySelectorAll('.panel').length") == 0
        words = tab.run("document.querySelector('.words').innerText")
        assert words == "a dull start but a superb wonderful end"
        box = (
            "(b => [b.width > 300, b.height > 30])(document.querySelector('.curve').getBoundingClientRect())"
        )
        assert tab.run(box) == [True, True]
        assert tab.run("getComputedStyle(document.querySelector('.down')).textDecorationStyle") == "dashed"
        assert tab.run(FITS) == {"cut": [], "fits": True, "scroll": 0}
    finally:
        tab.send("Emulation.setScriptExecutionDisabled", value=False)

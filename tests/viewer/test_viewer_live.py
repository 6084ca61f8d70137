"""The page of a server in a headless browser: type, move, choose; nothing cut off, nothing in the console."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import pytest
from viewer_browser import FITS, Tab
from viewer_samples import explain, model, server

pytestmark = pytest.mark.slow

FIGURE = "document.querySelector('.figure').textContent"
WORDS = "[...document.querySelectorAll('.panel')[0].querySelectorAll('.words span')].map(e => e.textContent)"
ROWS = (
    "Object.fromEntries([...document.querySelectorAll('.panel')[{}].querySelectorAll('tbody tr')]"
    ".map(r => [r.cells[0].textContent, r.cells[1].textContent]))"
)
MARKER = "document.querySelectorAll('.marker')[{}].style.left"


def answer(asked: Mapping[str, Any]) -> tuple[int, Any]:
    return 200, explain(asked["text"], asked["values"], seed=int(asked["model"] == "other"))


def words(tab: Tab, *expected: str) -> None:
    tab.until(f"{WORDS}.join(' ') === {' '.join(expected)!r}")


def choose(tab: Tab, number: int, option: str) -> None:
    select = f"document.querySelectorAll('select')[{number}]"
    tab.run(f"{select}.value = {option!r}; {select}.dispatchEvent(new Event('change'))")


def test_typing_moves_the_number_the_words_and_the_charts(tab: Tab) -> None:
    with server([model()], answer) as (address, asked):
        tab.open(address)
        tab.until(f"{FIGURE} !== '–'")
        before = tab.run(FIGURE)
        tab.run("document.querySelector('textarea').focus()")
        tab.type("A superb film")
        words(tab, "a", "superb", "film")
        high = float(tab.run(FIGURE))
        assert high > float(before)
        assert high == pytest.approx(explain("a superb film")["outputs"][-1][1], abs=0.006)
        tab.type(" but awful, awful")
        words(tab, "a", "superb", "film", "but", "awful", "awful")
        assert (
            tab.run(ROWS.format(0))["positive"]
            == f"{explain('a superb film but awful, awful')['outputs'][-1][1]:.3f}"
        )
        assert "down" in tab.run("document.querySelector('.words').lastElementChild.className")
        assert tab.run(
            "[document.querySelector('canvas').width, document.querySelector('canvas').height]"
        ) == [6, 32]
        assert len(tab.run("document.querySelector('.curve').getAttribute('points')").split()) == 7
        assert tab.run("[...document.querySelectorAll('.feet text')].map(e => e.textContent)")[1] == "superb"
        tab.until("document.querySelector('.spoken').textContent.includes('negative')")
    assert [each["values"] for each in asked] == [True, ["h"], ["h"]]


def test_arrow_keys_and_the_pointer_show_a_word_in_both_models(tab: Tab) -> None:
    with server([model(), model("other")], answer) as (address, _):
        tab.open(address, 1400)
        tab.run("document.querySelector('textarea').focus()")
        tab.type("one dull scene then a superb one")
        tab.until("document.querySelectorAll('.words span').length === 14")
        tab.press("Tab", 3)  # two buttons, then the words: at the last one
        assert tab.run("document.activeElement.textContent") == "one"
        tab.press("ArrowLeft", 2)
        told = explain("one dull scene then a superb one", seed=1)
        for k in (0, 1):
            assert tab.run(ROWS.format(k))["Place"] == "5 of 7"
            assert tab.run("document.querySelectorAll('[aria-selected=true]').length") == 2
        assert tab.run(ROWS.format(1))["positive"] == f"{told['outputs'][4][1]:.3f}"
        assert tab.run(MARKER.format(0)) == tab.run(MARKER.format(1)) != "0px"
        tab.press("Home")
        assert tab.run(MARKER.format(1)) == "0px"
        assert "one: 0." in tab.run("document.activeElement.getAttribute('aria-label')")
        tab.press("End")
        tab.press("PageUp")
        assert tab.run(ROWS.format(0))["Place"] == "1 of 7"
        tab.run("document.querySelector('canvas').scrollIntoView({block: 'center'})")
        box = tab.run(
            "(b => [b.left, b.top, b.width])(document.querySelector('canvas').getBoundingClientRect())"
        )
        tab.hover(box[0] + box[2] * 1.5 / 7, box[1] + 20)
        assert [tab.run(ROWS.format(k))["Word"] for k in (0, 1)] == ["dull", "dull"]
        tab.hover(5, 5)
        assert [tab.run(ROWS.format(k))["Place"] for k in (0, 1)] == ["1 of 7", "7 of 7"]


def test_a_gate_is_fetched_when_it_is_chosen(tab: Tab) -> None:
    with server([model()], answer) as (address, asked):
        tab.open(address)
        tab.run("document.querySelector('textarea').focus()")
        tab.type("superb and dull")
        words(tab, "superb", "and", "dull")
        caption = "document.querySelectorAll('.caption')[1].textContent"
        assert tab.run(caption).startswith("h of lstm, layer 1, 32 units−0.")
        choose(tab, 2, "f")
        tab.until(f"{caption}.startsWith('f of lstm, layer 1, 32 units0')")
        assert asked[-1]["values"] == ["f"]
        assert tab.run("document.querySelector('pre .shown').textContent").startswith("f  = sigmoid(")
        mean = tab.run(ROWS.format(0))["f, root mean square"]
        gate = explain("superb and dull", ["f"])["layers"][0]["values"]["f"][-1]
        assert float(mean) == pytest.approx((sum(v * v for v in gate) / len(gate)) ** 0.5, abs=0.001)


def test_a_slow_answer_does_not_replace_a_later_one(tab: Tab) -> None:
    def slow(asked: Mapping[str, Any]) -> tuple[int, Any]:
        if asked["text"] == "slow":
            time.sleep(1)
        return answer(asked)

    with server([model()], slow) as (address, asked):
        tab.open(address)
        tab.run("document.querySelector('textarea').focus()")
        tab.type("slow")
        while [each["text"] for each in asked][-1] != "slow":
            time.sleep(0.02)
        tab.type(" then fast")
        words(tab, "slow", "then", "fast")
        time.sleep(1.2)
        words(tab, "slow", "then", "fast")


def test_more_than_two_classes_are_chosen_from(tab: Tab) -> None:
    labels = ("poor", "fair", "good", "superb")

    def four(asked: Mapping[str, Any]) -> tuple[int, Any]:
        return 200, explain(asked["text"], asked["values"], labels)

    with server([{**model(), "labels": list(labels)}], four) as (address, _):
        tab.open(address)
        tab.run("document.querySelector('textarea').focus()")
        tab.type("awful but tender")
        words(tab, "awful", "but", "tender")
        assert tab.run("[...document.querySelector('select').options].map(o => o.textContent)") == list(
            labels
        )
        choose(tab, 0, "fair")
        assert (
            tab.run("document.querySelector('.caption').textContent") == "Probability of fair after each word"
        )
        assert set(labels) <= tab.run(ROWS.format(0)).keys()


def test_refusals_are_said(tab: Tab) -> None:
    def limited(asked: Mapping[str, Any]) -> tuple[int, Any]:
        if "slow" in asked["text"]:
            return 429, {"error": "try again in 3 s"}
        return (413, {}) if "long" in asked["text"] else answer(asked)

    status = "document.querySelector('.status').textContent"
    with server([model()], limited) as (address, _):
        tab.open(address.replace("//", "//name:password@"))
        tab.run("document.querySelector('textarea').focus()")
        tab.type("too long")
        tab.until(f"{status} === 'The text is too long for the server.'")
        tab.type(" and slow")
        tab.until(f"{status} === 'try again in 3 s'")
        tab.run("document.querySelectorAll('.actions button')[1].click()")
        tab.until(f"{status} === ''")
    tab.type("alone")
    tab.until(f"{status}.startsWith('The server cannot be reached')")
    tab.run("1")
    # The browser itself notes each refusal and the lost connection, nothing else.
    assert all("Failed to load resource" in line for line in tab.console)
    tab.console.clear()


def test_what_one_model_refuses_is_said_though_another_answers(tab: Tab) -> None:
    def partly(asked: Mapping[str, Any]) -> tuple[int, Any]:
        if asked["model"] == "other":
            time.sleep(0.2)  # its answer comes after the refusal
            return answer(asked)
        return (413, {"error": "too many words"}) if "long" in asked["text"] else answer(asked)

    status = "document.querySelector('.status').textContent"
    with server([model(), model("other")], partly) as (address, _):
        tab.open(address, 1400)
        tab.run("document.querySelector('textarea').focus()")
        tab.type("long")
        tab.until("document.querySelectorAll('.panel')[1].querySelectorAll('.words span').length === 1")
        assert tab.run(status).endswith(" shows an earlier text: too many words")
        tab.run("document.querySelector('textarea').select()")
        tab.type("superb")
        words(tab, "superb")
        tab.until(f"{status} === ''")
    tab.console.clear()


def test_hostile_and_long_texts_stay_texts(tab: Tab) -> None:
    hostile = "<img src=x onerror=alert(1)> </script> שלום עולם 🎬👩‍👩‍👧 " + "endless" * 400
    with server([{**model("<b>bold</b>" * 9), "labels": ["<i>a</i>" * 20, "b" * 300]}], answer) as (
        address,
        _,
    ):
        tab.open(address, 400)
        tab.run("document.querySelector('textarea').focus()")
        tab.type(hostile)
        tab.until(f"{WORDS}.some(w => w === 'שלום')")
        assert tab.run("document.querySelectorAll('img, b, i').length") == 0
        assert tab.run(FITS) == {"cut": [], "fits": True, "scroll": 0}
        tab.run("document.querySelector('textarea').value = 'but superb and dull '.repeat(1250)")
        tab.type("end")
        tab.until("document.querySelectorAll('.words span').length === 5001", 40)
        assert tab.run(FITS) == {"cut": [], "fits": True, "scroll": 0}
        began = time.monotonic()
        tab.run("document.querySelector('.words').lastElementChild.focus()")
        tab.press("ArrowLeft", 20)
        assert time.monotonic() - began < 5
        assert tab.run(ROWS.format(0))["Place"] == "4981 of 5001"
        tab.run("document.querySelectorAll('.actions button')[1].click()")
        tab.until("document.querySelectorAll('.words span').length === 0")
        assert tab.run(ROWS.format(0))["Word"] == "none yet"


@pytest.mark.parametrize("count", [1, 2])
def test_the_page_fits_small_and_large_windows_in_light_and_dark(tab: Tab, count: int) -> None:
    with server([model(), model("other")][:count], answer) as (address, _):
        tab.open(address, 1400)
        tab.run("document.querySelector('.actions button').click()")
        tab.until(f"document.querySelectorAll('.words span').length > {count * 30}")
        inks = set()
        for width in (1400, 400):
            for dark in (False, True):
                tab.show(width, 900, dark)
                tab.run("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
                assert tab.run(FITS) == {"cut": [], "fits": True, "scroll": 0}, (width, dark)
                inks.add(tab.run("getComputedStyle(document.querySelector('.words')).color"))
                tops = tab.run(
                    "[...document.querySelectorAll('.panel')].map(e => e.getBoundingClientRect().top)"
                )
                assert (len(set(tops)) == 1) == (count == 1 or width == 1400)
        assert len(inks) == 2

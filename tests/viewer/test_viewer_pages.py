"""The viewer's HTML: safe with hostile texts, allowed by its own policy, bounded in size."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from importlib.resources import files
from typing import Any

import numpy as np
import pytest
from viewer_samples import explain, model

from stepfold import viewer
from stepfold.viewer._assets import MODULES, script

HOSTILE = (
    "</script><script>alert(1)</script><!-- <img src=x onerror=alert(1)> & \" ' \u2028 \x00 \ud800 שלום 🎬"
)


def blocks(source: str, tag: str) -> list[tuple[str, str]]:
    """The attributes and the content of every element with this tag."""
    return re.findall(rf"<{tag}\b([^>]*)>(.*?)</{tag}>", source, re.DOTALL)


def data(source: str) -> Any:
    """What the page holds as JSON."""
    (found,) = [text for kind, text in blocks(source, "script") if "application/json" in kind]
    return json.loads(found)


def test_every_module_is_in_the_script_after_what_it_imports() -> None:
    assets = files("stepfold.viewer").joinpath("assets")
    sources = {
        each.name.removesuffix(".js"): each.read_text()
        for each in assets.iterdir()
        if each.name.endswith(".js")
    }
    assert sorted(sources) == sorted(MODULES)
    for name, source in sources.items():
        for names, other in re.findall(r'^import \{([^}]*)\} from "\./(\w+)\.js";', source, re.MULTILINE):
            assert MODULES.index(other) < MODULES.index(name)
            for each in filter(None, map(str.strip, names.split(","))):
                assert re.search(
                    rf"^export (async )?(function|class|const) {each}\b", sources[other], re.MULTILINE
                )
    assert not re.search(r"^\s*(import|export)\b", script(), re.MULTILINE)


def test_texts_never_become_markup_or_code() -> None:
    for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function"):
        assert word not in script()
    assert set(re.findall(r"https?://[^\s\"']+", script())) == {"http://www.w3.org/2000/svg"}
    assert "</" not in script()


def test_the_page_of_a_server_is_allowed_by_its_own_policy() -> None:
    page = viewer.live_page([model()])
    policy = viewer.live_policy()
    assert page.count("Content-Security-Policy") == 1
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in policy
    assert policy.removesuffix("; frame-ancestors 'none'") in page
    for tag in ("style", "script"):
        for kind, text in blocks(page, tag):
            digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
            assert (f"'sha256-{digest}'" in policy) == ("json" not in kind)
    assert not re.search(r"\s(style|on\w+)=", re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL))
    assert data(page)["models"][0]["equations"][0]["maths"].startswith("lstm: Long short-term memory")
    assert data(page)["address"] == "explain"


def test_hostile_names_and_words_stay_texts() -> None:
    bad = {**model(HOSTILE), "labels": [HOSTILE, HOSTILE + "2"]}
    bad["equations"] = [{"name": HOSTILE, "cell": HOSTILE, "maths": HOSTILE, "latex": HOSTILE}]
    told = explain("a b")
    told |= {"tokens": [HOSTILE, "ok"], "labels": bad["labels"]}
    told["layers"][0]["name"] = HOSTILE
    for source in (viewer.live_page([bad]), viewer.stored_fragment([bad], [told])):
        assert len(blocks(source, "script")) == source.count("<script") == 2
        assert "<img" not in source
        assert not re.search("[\x00\ud800]", source)
        assert data(source)["models"][0]["name"] == HOSTILE
    assert data(source)["explanations"][0]["tokens"] == [HOSTILE, "ok"]


def test_a_fragment_shows_words_and_line_without_scripts() -> None:
    fragment = viewer.stored_fragment([model()], [explain("A dull film, but zzz superb")])
    still = fragment.partition('<script type="application/json">')[0]
    words = re.findall(r'<span(?: class="([^"]*)")? title="(\d\.\d\d)">([^<]*)</span>', still)
    assert [word for _, _, word in words] == ["a", "dull", "film", "but", "zzz", "superb"]
    tones = {word: kind for kind, _, word in words}
    assert tones["dull"].startswith("down down")
    assert tones["superb"].startswith("up up")
    assert tones["zzz"].endswith("new")
    assert len(re.search(r'points="([^"]*)"', still)[1].split()) == 6  # type: ignore[index]
    assert "Probability of positive after each of 6 words" in still


def test_several_fragments_may_stand_on_one_page() -> None:
    fragments = viewer.stored_fragment([model()], [explain("one")]) * 2
    markup = re.sub(r"<(script|style).*?</\1>", "", fragments, flags=re.DOTALL)
    assert not re.search(r"\sid=", markup)
    (style, *_) = (text for _, text in blocks(fragments, "style"))
    selectors = re.findall(r"^\s*([^@\s{}][^{}]*?)\s*\{", style, re.MULTILINE)
    assert len(selectors) > 50
    assert all(selector.startswith(".stepfold-viewer") for selector in selectors)


def test_stored_states_are_rounded_to_bytes_and_bounded() -> None:
    told = explain("but superb and dull " * 100, True, units=80)
    small = viewer.stored_fragment([model()], [explain("superb", True)])
    fragment = viewer.stored_fragment([model()], [told])
    assert len(fragment) < 230_000
    assert len(small) < 60_000
    (kept,) = data(fragment)["explanations"]
    assert len(kept["tokens"]) == len(kept["outputs"]) == 300
    assert kept["skipped"] == 100
    assert kept["before"] == pytest.approx(told["outputs"][99], abs=1e-4)
    for name, packed in kept["layers"][0]["values"].items():
        steps, units = packed["shape"]
        assert (steps, packed["whole"]) == (300, 80)
        assert 50 <= units == len(packed["units"]) < 80
        levels = np.frombuffer(base64.b64decode(packed["data"]), np.int8).reshape(steps, units)
        chosen = np.asarray(packed["units"]) - 1
        exact = np.asarray(told["layers"][0]["values"][name])[100:, chosen]
        np.testing.assert_allclose(levels * packed["scale"], exact, atol=0.51 * packed["scale"])


def test_of_many_classes_the_same_one_is_shown_with_and_without_scripts() -> None:
    rows = np.full((4, 40), 0.025)
    rows[-1] = 0.02  # the twelve likeliest, which are kept, add up to 0.44
    rows[-1, 30] = 0.22
    told = {
        "tokens": ["a", "b", "c"],
        "known": [True] * 3,
        "labels": [f"class {k}" for k in range(40)],
        "outputs": rows[1:].tolist(),
        "before": rows[0].tolist(),
        "layers": [],
    }
    fragment = viewer.stored_fragment([model()], [told])
    (kept,) = data(fragment)["explanations"]
    assert kept["probabilities"]
    assert kept["labels"][viewer.shown_class(kept)] == "class 30"
    assert "Probability of class 30 after each word" in fragment
    assert '<span class="up up4" title="0.22">c</span>' in fragment


def test_values_that_are_not_finite_and_empty_texts_are_stored() -> None:
    told = explain("a b")
    told["outputs"][1] = [float("nan"), float("inf")]
    told["layers"][0]["values"]["h"][0][0] = float("nan")
    empty = explain("")
    kept, none = data(viewer.stored_fragment([model(), model("b")], [told, empty]))["explanations"]
    assert kept["outputs"][1] == [None, None]
    assert base64.b64decode(kept["layers"][0]["values"]["h"]["data"])[0] == 128
    assert none["tokens"] == []
    assert none["layers"][0]["values"]["h"]["shape"] == [0, 0]


def test_models_and_explanations_belong_together() -> None:
    with pytest.raises(ValueError, match="1 models and 0 explanations do not belong together: give at least"):
        viewer.stored_fragment([model()], [])

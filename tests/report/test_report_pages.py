"""The pages of reports: whole, self-contained, accessible, safe with hostile texts, bounded in size."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from report_pages import Page
from report_samples import (
    HOSTILE,
    comparison,
    epochs,
    evaluation,
    memory,
    mistakes,
    reading,
    regression,
    training,
    two_classes,
    words,
)

from stepfold import report
from stepfold.report import (
    ComparisonReport,
    ComparisonRow,
    Confusion,
    EvaluationReport,
    GradientFlow,
    LagAttempt,
    LongestLag,
    MemoryReport,
    Mistake,
)
from stepfold.report._page import comparison_page, evaluation_page, memory_page, training_page
from stepfold.viewer import hash_source

PAGES: dict[str, Callable[[], str]] = {
    "training": lambda: training_page(training()),
    "regression": lambda: training_page(regression()),
    "evaluation": lambda: evaluation_page(evaluation()),
    "comparison": lambda: comparison_page(comparison()),
    "memory": lambda: memory_page(memory()),
}
SECTIONS = {
    "training": ["result", "curves", "classes", "confusion", "mistakes", "reading", "equations", "again"],
    "regression": ["result", "curves", "predictions", "mistakes", "reading", "equations", "again"],
    "evaluation": ["result", "classes", "confusion", "mistakes", "again"],
    "comparison": ["result", "scores", "curves", "again"],
    "memory": ["result", "flow", "lags", "summary", "why", "again"],
}


@cache
def page(kind: str) -> Page:
    return Page(PAGES[kind]())


@pytest.mark.parametrize("kind", PAGES)
def test_a_page_has_every_section_and_each_link_leads_to_one(kind: str) -> None:
    p = page(kind)
    sections = [
        e.attributes["id"]
        for e in p.elements
        if e.tag in ("header", "section", "div") and "id" in e.attributes
    ]
    assert sections == SECTIONS[kind]
    links = [e.attributes["href"] for e in p.all("a")]
    assert {link.removeprefix("#") for link in links} <= set(sections)
    assert len(links) == len(set(links)) >= len(sections) - 2


@pytest.mark.parametrize("kind", PAGES)
def test_a_page_needs_nothing_from_elsewhere(kind: str) -> None:
    p = page(kind)
    scripts = [e for e in p.all("script") if e.attributes["type"] != "application/json"]
    assert len(scripts) == (kind in ("training", "regression"))
    assert [e.attributes["rel"] for e in p.all("link")] == ["icon"]
    for element in p.elements:
        for name, value in element.attributes.items():
            assert "//" not in value or value.startswith("data:image/png;base64,"), (
                element.tag,
                name,
                value[:80],
            )
            if name in ("href", "src", "action", "data", "poster", "srcset"):
                assert value.startswith(("#", "data:")), (element.tag, value[:80])
    for style in p.all("style"):
        assert "@import" not in style.text
        assert "url(" not in style.text
    policy = next(e for e in p.all("meta") if "http-equiv" in e.attributes).attributes["content"]
    allowed = [f"script-src {hash_source(each.text)}; " for each in scripts]
    assert policy == f"default-src 'none'; {''.join(allowed)}style-src 'unsafe-inline'; img-src data:"


@pytest.mark.parametrize("kind", PAGES)
def test_a_page_is_accessible(kind: str) -> None:
    p = page(kind)
    assert p.one("html").attributes["lang"] == "en"
    assert p.one("h1").text.strip()
    levels = [int(e.tag[1]) for e in p.elements if re.fullmatch("h[1-6]", e.tag)]
    assert all(after - before <= 1 for before, after in pairwise(levels))
    for table in p.all("th"):
        assert table.attributes.get("scope") in ("row", "col")
    for chart in p.all("svg", "chart"):
        assert chart.attributes["role"] == "img"
        assert len(chart.attributes["aria-label"]) > 20
        assert "nan" not in chart.attributes["aria-label"]
    for region in p.all("div", "block"):
        assert "scroll" not in region.attributes["class"] or region.attributes["aria-label"]


@pytest.mark.parametrize("kind", PAGES)
def test_charts_are_vectors_with_text_in_the_colours_of_the_page(kind: str) -> None:
    p = page(kind)
    charts = p.all("svg", "chart")
    assert (
        len(charts) == {"training": 2, "regression": 4, "evaluation": 0, "comparison": 8, "memory": 5}[kind]
    )
    assert all(re.search("[a-z]{4}", chart.text) for chart in charts), "a label as text"
    defined = set(re.findall(r"(--[\w-]+):", "".join(e.text for e in p.all("style")))) | {"--s"}
    assert set(re.findall(r"var\((--[\w-]+)", p.source)) <= defined
    inline = {c for e in p.elements for c in re.findall(r"#[0-9a-f]{6}\b", e.attributes.get("style", ""))}
    assert not inline - {"#ffffff"}, "colours that do not change in the dark"
    assert "font-family" not in "".join(e.attributes.get("style", "") for e in p.elements)


@pytest.mark.parametrize("kind", PAGES)
def test_ids_are_unique_and_what_refers_to_them_finds_them(kind: str) -> None:
    p = page(kind)
    assert len(p.ids) == len(set(p.ids))
    references = re.findall(r'(?:url\(#|href="#)([^")]+)', p.source)
    assert set(references) <= set(p.ids)


def test_the_page_opens_with_the_result_and_shows_what_it_was_given() -> None:
    p = page("training")
    lead = p.one("p", "lead").text
    assert lead.startswith(
        "On 5,000 held-out reviews (chosen at random), the network reaches accuracy\N{NO-BREAK SPACE}0.893 "
    )
    assert p.words.index(" ".join(lead.split())) < 60
    for text in (
        "The saved model is that of epoch 6. The held-out reviews chose it", "2,213",
        "i = sigmoid(W_i @ x + U_i @ h + b_i)",
        "optimizer.learning_rate 0.001", "early_stopping none", "Versions stepfold 0.1.0", "row 1,204",
        "true negative predicted positive probability 0.993", "the truth is positive",
        "Probability of positive after each word",
    ):  # fmt: skip
        assert text in p.words, text
    assert "".join(p.one("pre", "wrap").text) == training().command
    assert [e.text.strip() for e in p.all("span") if "title" in e.attributes] == words()


def test_words_carry_what_they_moved_as_colour_and_their_probability_as_text() -> None:
    content = training(reading=two_classes(["bad", "so", "good"], [0.02, 0.021, 0.97]))
    p = Page(training_page(content))
    spans = [e for e in p.elements if e.tag == "span" and "title" in e.attributes]
    assert [(e.text, e.attributes.get("class"), e.attributes["title"]) for e in spans] == [
        ("bad", "down down6", "0.02"), ("so", None, "0.02"), ("good", "up up6", "0.97"),
    ]  # fmt: skip
    assert "Raise the probability of positive" in p.words
    assert "good30.020.97" in p.words


def test_memory_shows_every_seed_and_every_training() -> None:
    p = page("memory")
    assert "After training on temporal order" in p.words
    assert "A bar is the median over the seeds, a mark one seed." in p.words
    assert "simple_rnn adding 32 yes 0.0420 1,200 9 s seed 0, rate 0.01" in p.words
    assert len(p.all("td", "text")) == 3 * 15


def test_words_that_the_vocabulary_lacks_are_marked() -> None:
    p = Page(training_page(training(reading=two_classes(["a", "zyzzyva"], [0.5, 0.5], known=[True, False]))))
    assert [e.text.strip() for e in p.all("span", "new")] == ["zyzzyva"]
    assert "The vocabulary lacks 1 of the 2 words." in p.words


def hostile() -> dict[str, str]:
    """Every page with a hostile text wherever a text can stand."""
    common = {
        "title": HOSTILE, "command": HOSTILE, "notes": [HOSTILE], "versions": {HOSTILE: HOSTILE},
        "configuration": {HOSTILE: {HOSTILE: HOSTILE}},
    }  # fmt: skip
    text = two_classes(
        [HOSTILE, HOSTILE], [0.1, 0.9], (HOSTILE, HOSTILE), layer=HOSTILE, state=np.eye(2), truth=HOSTILE
    )
    mistake = Mistake(example=HOSTILE * 9, truth=HOSTILE, predicted=HOSTILE, probability=0.5)
    judged = {
        "examples": HOSTILE, "confusion": Confusion((HOSTILE, HOSTILE), [[1, 2], [3, 4]]),
        "mistakes": [mistake], "reading": text,
    }  # fmt: skip
    attempt = LagAttempt(
        cell=HOSTILE, task=HOSTILE, lag=8, solved=False, score=0.5, steps=1, seconds=1.0, setting=HOSTILE
    )
    row = ComparisonRow(name=HOSTILE, scores=[0.5], histories=[epochs(2)])
    return {
        "training": training_page(
            training(**common, **judged, equations={HOSTILE: HOSTILE}, latex={HOSTILE: "a &= " + HOSTILE})
        ),
        "evaluation": evaluation_page(
            EvaluationReport(count=10, accuracy=0.5, data=HOSTILE, **common, **judged)
        ),
        "comparison": comparison_page(ComparisonReport(rows=[row], data=HOSTILE, **common)),
        "memory": memory_page(
            MemoryReport(
                flows=[GradientFlow(cell=HOSTILE, lags=[0, 1], initial=[1, 0.5])],
                lags=[LongestLag(cell=HOSTILE, task=HOSTILE, lag=4)],
                trained_on=HOSTILE, attempts=[attempt], budget=HOSTILE, **common,
            )
        ),
        "fragment": "<html><body>" + report.training_fragment(training(**common)) + "</body></html>",
    }  # fmt: skip


def test_hostile_texts_stay_texts() -> None:
    for kind, source in hostile().items():
        p = Page(source)  # which also finds a tag that does not match
        assert len(p.all("script")) == 2 * (kind in ("training", "evaluation")), kind
        assert not p.all("img"), kind
        assert not [name for e in p.elements for name in e.attributes if name.startswith("on")], kind
        assert '<script>alert("owned")</script><img src=x onerror=alert(1)> & "quotes" ' in p.words, kind
        assert "{{ 7 * 7 }}" in p.words, kind
        assert not re.search("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff]", source), kind


def test_dollars_in_labels_are_no_maths() -> None:
    rows = [ComparisonRow(name=r"$\frac$", scores=[0.5]), ComparisonRow(name="$a_b$", scores=[0.4])]
    p = Page(comparison_page(ComparisonReport(title="x", rows=rows)))
    assert {r"$\frac$", "$a_b$"} <= {e.text for e in p.all("text")}


def test_long_names_of_settings_are_whole_in_charts() -> None:
    names = [f"simple_rnn, schedule {schedule}, units 32" for schedule in ("linear", "constant")]
    rows = [ComparisonRow(name=name, scores=[0.5, 0.6]) for name in names]
    p = Page(comparison_page(ComparisonReport(title="x", rows=rows)))
    found = [e.text for e in p.all("text")]
    assert [found.count(name) for name in names] == [2, 2]  # for wide screens and for narrow ones


def test_a_page_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "report.html"
    report.write_training_report(target, training(reading=None, notes=[HOSTILE]))
    before = target.read_bytes()
    assert b"<!DOCTYPE html>" in before[:20]
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]

    def full(part: Path, *_: object, **__: object) -> int:
        part.touch()
        raise OSError(28, "No space left on device", str(part))

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OSError, match="No space left"):
        report.write_memory_report(target, memory())
    assert target.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]


def test_the_same_content_gives_the_same_page_whatever_the_settings_of_matplotlib() -> None:
    matplotlib = pytest.importorskip("matplotlib")
    content = training(reading=None)
    before = training_page(content)
    with matplotlib.rc_context({"savefig.bbox": "tight", "lines.linewidth": 9, "svg.fonttype": "path"}):
        assert training_page(content) == before
        assert matplotlib.rcParams["lines.linewidth"] == 9


def test_a_thousand_words_stay_small_and_readable() -> None:
    source = training_page(training(reading=reading(words(8), 256)))
    without = training_page(training(reading=None))
    assert len(source.encode()) < len(without.encode()) + 250_000
    p = Page(source)
    assert len([e for e in p.all("span") if "title" in e.attributes]) == 300


def test_a_page_stays_bounded_whatever_it_is_given() -> None:
    size = 400
    counts = np.eye(size, dtype=int) * 5 + np.eye(size, k=1, dtype=int)
    content = training(
        history=[replace(e, epoch=k + 1) for k, e in enumerate(epochs(10) * 500)], best_epoch=None,
        confusion=Confusion([f"class {k}" for k in range(size)], counts),
        mistakes=mistakes()[:1] * 3000, reading=reading(words(40), 300),
    )  # fmt: skip
    source = training_page(content)
    assert len(source) < 1_200_000
    text = Page(source).words
    assert "There are 400 classes, too many for a table" in text
    assert "The 100 of 400 classes with the lowest F1." in text


@pytest.mark.slow
def test_a_comparison_stays_bounded_whatever_it_is_given() -> None:
    rows = [
        ComparisonRow(name=f"setting {k}", scores=[0.5, 0.6], histories=[epochs(200, seed=k)] * 2)
        for k in range(40)
    ]
    source = comparison_page(ComparisonReport(title="many", rows=rows))
    assert len(source) < 2_000_000


def test_values_that_are_not_finite_are_shown_as_such() -> None:
    nan, inf = float("nan"), float("inf")
    history = [replace(e, loss=nan, val_loss=inf, val_accuracy=0.5) for e in epochs(3)]
    text = two_classes(["a", "b"], [nan, nan], state=[[nan, inf], [0, 0]])
    p = Page(training_page(training(history=history, best_epoch=None, score=nan, reading=text)))
    assert p.one("p", "lead").text.startswith(
        "The training failed: in epoch 1 the loss was no finite number any more"
    )
    assert "no finite value" in p.words
    assert "not a number" in p.words
    flow = GradientFlow(cell="a", lags=[0, 1, 2], initial=[1, 0, nan], trained=[1, inf, 1e300])
    assert "nothing" in Page(memory_page(MemoryReport(title="x", flows=[flow]))).words
    rows = [ComparisonRow(name="a", scores=[nan]), ComparisonRow(name="b", scores=[0.5], histories=[history])]
    p = Page(comparison_page(ComparisonReport(title="x", rows=rows)))
    assert p.one("p", "lead").text.startswith("b is best of 2: accuracy 0.500 over 1 seed; no other")
    assert "no finite score" in p.words


def test_a_fragment_for_notebooks_keeps_its_style_to_itself() -> None:
    source = report.training_fragment(training())
    p = Page(f"<html><body>{source}</body></html>")
    assert len(source) < 40_000
    assert "the network reaches accuracy 0.893" in p.words
    assert "optimizer.clipnorm 1" in p.words
    assert len(p.all("svg", "chart")) == 2
    selectors = re.findall(r"^([^\s{}][^{}]*)\{", p.one("style").text, re.MULTILINE)
    assert selectors
    assert all(
        s.startswith(".stepfold-report") for selector in selectors for s in selector.strip().split(", ")
    )
    assert not p.all("h1")


def test_reports_import_their_packages_only_when_one_is_written() -> None:
    code = (
        "import stepfold.report, sys; print(sorted({'matplotlib', 'jinja2', 'keras'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("package", ["matplotlib", "jinja2"])
def test_a_missing_package_is_named_with_the_cure(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from stepfold.report import _render

    monkeypatch.setitem(sys.modules, package, None)
    _render._environment.cache_clear()
    with pytest.raises(ImportError, match=rf'a report needs {package}, .*: pip install "stepfold\[app\]"'):
        report.training_fragment(training())

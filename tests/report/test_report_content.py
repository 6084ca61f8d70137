"""Content of reports: what is refused, and the figures and texts that are derived from it."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pytest
from report_samples import training, two_classes

from stepfold.report import (
    ComparisonReport,
    ComparisonRow,
    Confusion,
    Epoch,
    EvaluationReport,
    GradientFlow,
    MemoryReport,
    Predictions,
    Reading,
)
from stepfold.report._chart import thinned
from stepfold.report._numbers import frequent_confusions, largest_moves, macro, per_class
from stepfold.report._text import about, clean, duration, flat, number, pieces, power, shorten, value


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: training(history=[]),
            "the history of a training report has no epoch: give one Epoch for each",
        ),
        (lambda: training(split="some"), "split must be one of random, blocks, given, none, got 'some'"),
        (
            lambda: training(split="none"),
            "split 'none' does not agree with 5000 held-out examples: 'none' goes with 0",
        ),
        (lambda: training(best_epoch=9), "best_epoch is 9, but the history has no such epoch"),
        (
            lambda: Epoch.from_mapping({"loss": 1.0}),
            "a history row needs 'epoch' and 'loss', but it has only ['loss']",
        ),
        (
            lambda: Confusion(("a", "b"), [[1, 2]]),
            "must have shape (2, 2), got (1, 2): a row for each true class",
        ),
        (
            lambda: Confusion.of(("a", "b"), [0, 1], [0]),
            "truth and predicted must be (examples,), got (2,) and (1,)",
        ),
        (lambda: Confusion.of(("a", "b"), [0, 2], [0, 1]), "class numbers must lie between 0 and 1"),
        (
            lambda: two_classes([], []),
            "outputs of a reading of 0 tokens and 2 labels must have shape (0, 2), none of them 0",
        ),
        (
            lambda: two_classes(["x", "y"], [1.0]),
            "outputs of a reading of 2 tokens and 2 labels must have shape (2, 2), none of them 0, got (1, ",
        ),
        (
            lambda: two_classes(["x"], [1.0], inputs=np.ones((2, 3))),
            "inputs of a reading of 1 steps must have shape (1, width), got (2, 3)",
        ),
        (
            lambda: two_classes(["x"], [1.0], known=[True, False]),
            "known has 2 entries for 1 tokens: give one each",
        ),
        (
            lambda: Predictions([1, 2], [1]),
            "truth and predicted must both have shape (examples,), got (2,) and (1,)",
        ),
        (lambda: EvaluationReport(title="x", count=1), "needs accuracy (classes), or r2 or mae (regression)"),
        (
            lambda: ComparisonRow(name="a", scores=[]),
            "setting 'a' has no score: leave it out until a run of it is done",
        ),
        (lambda: ComparisonReport(title="x", rows=[]), "a comparison report has no row"),
        (
            lambda: GradientFlow(cell="a", lags=[0, 1], initial=[1]),
            "lags and initial must both have shape (n,)",
        ),
        (lambda: MemoryReport(title="x"), "a memory report needs gradient flows, longest lags, or both"),
    ],
)
def test_what_does_not_fit_together_is_refused(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        make()


def test_an_epoch_comes_from_a_history_row() -> None:
    row = {"epoch": 3.0, "loss": 0.5, "val_accuracy": 0.75, "learning_rate": 0.1}
    assert Epoch.from_mapping(row) == Epoch(epoch=3, loss=0.5, val_accuracy=0.75)


def test_figures_of_classes() -> None:
    table = Confusion.of(("a", "b", "never"), [0, 0, 0, 1, 1], [0, 0, 1, 1, 0])
    assert table.table.tolist() == [[2, 1, 0], [1, 1, 0], [0, 0, 0]]
    a, b, never = per_class(table)
    assert (a.precision, a.recall, a.f1, a.count) == (2 / 3, 2 / 3, 2 / 3, 3)
    assert (b.precision, b.recall, b.f1, b.count) == (0.5, 0.5, 0.5, 2)
    assert (never.precision, never.recall, never.f1, never.count) == (None, None, None, 0)
    mean = macro([a, b, never])
    assert mean.f1 == pytest.approx(7 / 12)
    assert mean.count == 5


def test_the_most_frequent_confusions() -> None:
    table = Confusion(("a", "b", "c"), [[5, 3, 0], [0, 9, 1], [4, 0, 0]])
    assert frequent_confusions(table, 2) == [("c", "a", 4, 1.0), ("a", "b", 3, 0.375)]
    assert len(frequent_confusions(table, 9)) == 3


def test_the_words_that_move_the_output_most() -> None:
    reading = two_classes(["a", "good", "bad", "good", "so"], [0.53, 0.9, 0.2, 0.6, 0.6], before=0.5)
    rises, falls = largest_moves(reading, 3)
    moves = [(m.token, m.place, m.before, m.after) for m in rises]
    assert moves == [("good", 4, 0.2, 0.6), ("a", 1, 0.5, 0.53)]
    assert [(m.token, m.place) for m in falls] == [("bad", 3)]


def test_a_reading_shows_the_second_of_two_classes_else_the_likeliest_in_the_end() -> None:
    assert two_classes(["a", "b"], [0.1, 0.2], before=0.4).output.tolist() == [0.4, 0.1, 0.2]
    explanation = {
        "tokens": ["a", "b"], "known": [True, True], "labels": ["x", "y", "z"], "before": [0.2, 0.3, 0.5],
        "outputs": [[0.8, 0.1, 0.1], [0.1, 0.7, 0.2]], "layers": [],
    }  # fmt: skip
    reading = Reading(explanation=explanation)
    assert (reading.shown, reading.output.tolist()) == (1, [0.3, 0.1, 0.7])


@pytest.mark.parametrize(
    ("count", "most", "expected"), [(1, 5, [0]), (5, 5, [0, 1, 2, 3, 4]), (7, 3, [0, 3, 6]), (2, 1, [0, 1])]
)
def test_thinned_places_hold_the_first_and_the_last(count: int, most: int, expected: list[int]) -> None:
    assert thinned(count, most) == expected


def test_numbers_as_text() -> None:
    assert [number(v) for v in (None, 0.8931, 0.0, -1.5, 1234.5, float("nan"), float("-inf"))] == [
        "–", "0.893", "0.000", "−1.500", "1,234.500", "not a number", "infinite",
    ]  # fmt: skip
    texts = [power(v).replace("\N{NO-BREAK SPACE}", " ") for v in (1e-9, 2.34e-12, 9.99e-7, -3e8, 1.0)]
    assert texts == ["10⁻⁹", "2.3 × 10⁻¹²", "10⁻⁶", "−3 × 10⁸", "10⁰"]
    assert [about(v) for v in (512, 2_593_153, 7_000_000_000)] == ["512", "2.59 million", "7 billion"]
    texts = [duration(v).replace("\N{NO-BREAK SPACE}", " ") for v in (0, 0.42, 9.96, 59.6, 252, 3600, 7500)]
    assert texts == ["0 s", "0.42 s", "10 s", "1 min", "4 min 12 s", "1 h", "2 h 5 min"]
    assert duration(None) == duration(float("nan")) == "–"


def test_classes_and_values_as_text() -> None:
    given = ("positive", 3, np.int64(3), 3.0, np.float32(0.25))
    assert [value(v) for v in given] == ["positive", "3", "3", "3.000", "0.250"]


def test_texts_hold_no_character_that_a_page_cannot() -> None:
    assert clean("a\x00b\ud800c\x85d\n\te") == "a�b�c�d\n\te"
    assert shorten("one two three", 8) == "one two…"
    assert shorten("short", 8) == "short"
    assert "".join(pieces("a  b\n c ")) == "a  b\n c "
    assert pieces("a  b")[::2] == ["a", "b"]


def test_a_nested_configuration_becomes_rows() -> None:
    rows = flat({"a": 1, "b": {"c": None, "d": {"e": [1, 2]}}, "f": {}, "g": True, "h": 0.00001})
    assert rows == [("a", "1"), ("b.c", "none"), ("b.d.e", "1, 2"), ("f", "{}"), ("g", "yes"), ("h", "1e-05")]
    deep: dict[str, object] = {}
    for _ in range(5000):
        deep = {"x": deep}
    assert len(flat(deep)) == 1

"""The result in one sentence: what it says for each outcome."""

from __future__ import annotations

from dataclasses import replace

import pytest
from report_samples import comparison, epochs, memory, training

from stepfold.report import (
    ComparisonReport,
    ComparisonRow,
    Epoch,
    EvaluationReport,
    GradientFlow,
    LongestLag,
    MemoryReport,
)
from stepfold.report._sentences import (
    comparison_sentence,
    evaluation_sentence,
    memory_sentence,
    score,
    training_sentence,
)


def plain(sentence: str) -> str:
    return sentence.replace("\N{NO-BREAK SPACE}", " ")


RANDOM = "On 5,000 held-out reviews (chosen at random), the network reaches"
COST = "in 48 s, with 2.59 million parameters."
SQUARES = Epoch(epoch=1, loss=4.0, mae=1.5, r2=0.2, val_mae=1.6, val_r2=-0.125)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {},
            f"{RANDOM} accuracy 0.893 in the best of 8 epochs, with 2.59 million parameters trained in 48 s.",
        ),
        ({"best_epoch": None}, f"{RANDOM} accuracy 0.893 after 8 epochs {COST}"),
        (
            {"split": "blocks", "seconds": None, "parameters": 900, "examples": "texts"},
            "On 5,000 held-out texts (held out in blocks of neighbours), the network reaches accuracy 0.893 "
            "in the best of 8 epochs, with 900 parameters.",
        ),
        (
            {"split": "given", "history": epochs(1), "best_epoch": None, "score": 0.5, "seconds": 252.0},
            "On 5,000 held-out reviews (given for validation), the network reaches accuracy 0.500 "
            "after 1 epoch in 4 min 12 s, with 2.59 million parameters.",
        ),
        (
            {"split": "none", "held_out": 0, "history": epochs(8, held=False), "training_examples": 25_000},
            "Trained on all 25,000 reviews, the network reaches accuracy 0.893 on those same reviews "
            "after 8 epochs in 48 s; nothing was held out, so new reviews are not measured.",
        ),
        (
            {"history": [SQUARES], "best_epoch": None, "score": None},
            f"{RANDOM} R² \N{MINUS SIGN}0.125 after 1 epoch {COST}",
        ),
        (
            {"history": [Epoch(epoch=1, loss=4.0, val_loss=5.0)], "best_epoch": None, "score": None},
            f"{RANDOM} a loss of 5.000 after 1 epoch {COST}",
        ),
    ],
)
def test_a_training(changes: dict[str, object], expected: str) -> None:
    assert plain(training_sentence(training(**changes))) == expected


def test_a_training_whose_loss_is_lost() -> None:
    history = [*epochs(2), Epoch(epoch=3, loss=float("nan"), accuracy=0.5, val_accuracy=0.5)]
    failed = training(history=history, best_epoch=3, score=0.5)
    assert plain(training_sentence(failed)) == (
        "The training failed: in epoch 3 the loss was no finite number any more, after 3 epochs in 48 s."
    )
    saved_before = replace(failed, best_epoch=2, score=0.8)
    assert "reaches accuracy 0.800 in the best of 3" in plain(training_sentence(saved_before))


def test_the_score_is_that_of_the_saved_model() -> None:
    content = training(score=None)
    assert score(content) == content.history[5].val_accuracy
    assert score(replace(content, split="none", held_out=0)) == content.history[5].accuracy
    assert score(replace(content, score=0.25)) == 0.25


def test_an_evaluation() -> None:
    content = EvaluationReport(title="x", count=1000, accuracy=0.9, data="test.csv", examples="texts")
    assert evaluation_sentence(content) == (
        "On 1,000 texts of test.csv, the network has accuracy 0.900: 900 are right, 100 are wrong."
    )
    values = EvaluationReport(title="x", count=10, r2=0.5, mae=2.25)
    assert plain(evaluation_sentence(values)) == (
        "On 10 examples, the network has R² 0.500 and a mean absolute error of 2.250."
    )


def test_a_comparison() -> None:
    assert plain(comparison_sentence(comparison())) == (
        "layer_norm_lstm is best of 6: accuracy 0.894 ± 0.009 over 3 seeds, 0.003 above gru (0.891 ± "
        "0.001), which "
        "the seeds' spread alone could explain."
    )
    clear = [ComparisonRow(name="b", scores=[0.7, 0.702]), ComparisonRow(name="a", scores=[0.8, 0.802])]
    report = ComparisonReport(title="x", rows=clear)
    assert plain(comparison_sentence(report)) == (
        "a is best of 2: accuracy 0.801 ± 0.001 over 2 seeds, 0.100 above b (0.701 ± 0.001), more than the "
        "seeds' spread explains."
    )
    # A difference of three standard errors, but with one degree of freedom.
    few = [ComparisonRow(name="b", scores=[0.66, 0.52]), ComparisonRow(name="a", scores=[0.826, 0.819])]
    assert comparison_sentence(ComparisonReport(title="x", rows=few)).endswith("could explain.")
    more = [replace(row, scores=[*row.scores, *row.scores]) for row in few]
    assert comparison_sentence(ComparisonReport(title="x", rows=more)).endswith("spread explains.")
    level = [ComparisonRow(name="a", scores=[0.8262]), ComparisonRow(name="b", scores=[0.8264])]
    assert plain(comparison_sentence(ComparisonReport(title="x", rows=level))) == (
        "b is best of 2: accuracy 0.826 over 1 seed, no better than a (0.826)."
    )
    single = [ComparisonRow(name="b", scores=[0.7]), ComparisonRow(name="a", scores=[0.8])]
    assert comparison_sentence(ComparisonReport(title="x", rows=single, measure="r2")) == (
        "a is best of 2: R² 0.800 over 1 seed, 0.100 above b (0.700); a single seed cannot say whether "
        "that is chance."
    )
    assert comparison_sentence(ComparisonReport(title="x", rows=single[:1])) == (
        "b reaches accuracy 0.700 over 1 seed; there is nothing to compare it with yet."
    )
    lost = [ComparisonRow(name="b", scores=[float("nan")])]
    assert (
        comparison_sentence(ComparisonReport(title="x", rows=lost)) == "No setting reached a finite accuracy."
    )


def test_memory() -> None:
    sentence = plain(memory_sentence(memory()))
    assert sentence.startswith(
        "Of 5 cells, ind_rnn remembers longest: it solves lags of up to 1,024 timesteps, the longest tried, "
        "in adding, while simple_rnn ends at 32; before training, 3.4 × 10⁻⁹ of the gradient is left "
    )
    assert sentence.endswith("over 100 timesteps in simple_rnn, 0.86 in identity_rnn.")


@pytest.mark.parametrize(
    ("lags", "expected"),
    [
        ({"a": 0, "b": 0}, "No cell solves even the shortest lag."),
        ({"a": 8, "b": 8}, "All 2 cells solve lags of up to 8 timesteps in adding."),
        ({"a": 64}, "The cell a solves lags of up to 64 timesteps, the longest tried, in adding."),
        (
            {"a": 0, "b": 8},
            "Of 2 cells, b remembers longest: it solves lags of up to 8 timesteps in adding, while a solves "
            "none.",
        ),
        (
            {"a": 32, "b": 8, "c": 32},
            "Of 3 cells, a and c remember longest: they solve lags of up to 32 timesteps in adding, while b "
            "ends at 8.",
        ),
    ],
)
def test_learnt_memory(lags: dict[str, int], expected: str) -> None:
    rows = [LongestLag(cell=cell, task="adding", lag=lag, limit=64) for cell, lag in lags.items()]
    assert memory_sentence(MemoryReport(title="x", lags=rows)) == expected


def test_gradient_flow_alone() -> None:
    flows = [
        GradientFlow(cell="a", lags=[0, 10, 20], initial=[1, 1e-5, 1e-10]),
        GradientFlow(cell="b", lags=[0, 10], initial=[1, 0.5], trained=[1, 0.25]),
    ]
    assert memory_sentence(MemoryReport(title="x", flows=flows)) == (
        "Before training, 10⁻⁵ of the gradient is left over 10 timesteps in a, 0.50 in b."
    )

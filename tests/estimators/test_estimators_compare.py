"""compare: its figures are those of the runs, what is done is kept, what cannot be compared is refused."""

import json
import os
import shutil
import signal
from dataclasses import replace

import numpy as np
import pytest

from stepfold import cell, cells, tanh
from stepfold.estimators import (
    Comparison,
    RunError,
    SequenceClassifier,
    SequenceRegressor,
    TextClassifier,
    TrainingError,
    _batches,
    compare,
    load,
)
from stepfold.estimators._comparison import _compare, _run
from stepfold.estimators._comparison._plan import fingerprint, settings_of
from text_helpers import make_sequences, make_texts

# Keras's own saving of variables does not know the newest argument of __array__ yet.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword")
SMALL = {"units": 4, "embedding": 5, "length": 12, "learning_rate": 0.05, "epochs": 2}
TEXTS, LABELS = make_texts()
GRID = {"cell": ["simple_rnn", "gru"]}


@pytest.fixture
def trained(monkeypatch):
    """The names of the folders of the runs that are trained, in order."""
    names = []

    def noted(order, data):
        names.append(order.folder.name)
        return _run.train_run(order, data)

    monkeypatch.setattr(_compare, "train_run", noted)
    return names


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The folder of a comparison of two cells and two seeds; no test may change what is in it."""
    path = tmp_path_factory.mktemp("comparison") / "cells"
    compare(TextClassifier(**SMALL), TEXTS, LABELS, GRID, seeds=2, folder=path, jobs=1)
    return path


@pytest.fixture(scope="module")
def compared(folder):
    return compare(TextClassifier(**SMALL), TEXTS, LABELS, GRID, seeds=2, folder=folder, jobs=1)


def test_the_figures_are_those_of_the_runs(compared, folder):
    assert isinstance(compared, Comparison)
    assert {path.name for path in (folder / "runs").iterdir()} == {
        "simple_rnn-0", "simple_rnn-1", "gru-0", "gru-1"
    }  # fmt: skip
    assert {row.name for row in compared.rows} == {"simple_rnn", "gru"}
    for row in compared.rows:
        own = [load(folder / "runs" / f"{row.name}-{seed}") for seed in (0, 1)]
        assert row.scores == [each.results_["val_accuracy"] for each in own]
        assert row.mean == pytest.approx(np.mean(row.scores))
        assert row.deviation == pytest.approx(np.std(row.scores, ddof=1))
        assert row.parameters == own[0].results_["parameters"]
        assert row.best_epochs == [each.results_["best_epoch"] for each in own]
        assert row.seconds_per_epoch == pytest.approx(
            np.mean([each.results_["seconds_per_epoch"] for each in own])
        )
        assert [run.history for run in row.runs] == [each.history_ for each in own]
        assert own[1].get_params()["random_state"] == 1
    means = [row.mean for row in compared.rows]
    assert means == sorted(means, reverse=True)
    assert compared.held_out == 14, "a fifth, though the estimator holds nothing out"
    assert compared.split == "random"
    assert compared.configuration["units"] == 4
    assert "cell" not in compared.configuration


def test_it_shows_itself(compared, tmp_path):
    found = json.loads(json.dumps(compared.to_dict()))
    assert found["measure"] == "accuracy"
    best = compared.rows[0]
    assert found["rows"][0]["setting"] == best.name
    assert found["rows"][0]["accuracy"] == pytest.approx(best.mean, abs=1e-6)
    assert found["rows"][0]["varied"] == {"cell": best.name}
    assert found["rows"][0]["seeds"] == [0, 1]
    lines = str(compared).splitlines()
    assert lines[0].split()[:3] == ["setting", "accuracy", "(held"]
    assert f"{best.mean:.4f} ± {best.deviation:.4f}" in lines[1]
    assert f"{best.parameters:,}" in lines[1]
    assert f"<td>{best.mean:.4f} ± {best.deviation:.4f}</td>" in compared._repr_html_()
    compared.report(tmp_path / "report.html", title="cells", command="repeat-it", data="made-up texts")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "<svg" in page
    assert "made-up texts" in page
    assert f"<dt>units</dt> <dd>{SMALL['units']}</dd>" in page
    assert page.count("As text, with the loop") == len({row.varied["cell"] for row in compared.rows})
    assert "repeat-it" in page


def test_what_is_done_is_kept_and_another_grid_adds_runs(folder, tmp_path, trained):
    path = shutil.copytree(folder, tmp_path / "copy")
    before = compare(TextClassifier(**SMALL), TEXTS, LABELS, GRID, seeds=2, folder=path, jobs=1)
    assert trained == []
    more = {"cell": ["gru"], "early_stopping": [0, 5]}
    after = compare(TextClassifier(**SMALL), TEXTS, LABELS, more, seeds=[1], folder=path, jobs=1)
    assert trained == ["early_stopping_5-1"], "the other one was there under another name"
    gru = next(row for row in before.rows if row.name == "gru")
    assert next(row for row in after.rows if row.name == "early stopping 0").scores == gru.scores[1:]

    del trained[:]
    other = TextClassifier(**SMALL, early_stopping=9)
    compare(other, TEXTS, LABELS, GRID, seeds=1, folder=path, jobs=1)
    assert trained == ["simple_rnn_2-0", "gru_2-0"], "the names are taken by runs without early stopping"
    with pytest.raises(
        RunError, match=r"the examples differ from those that .* was begun with; give the same"
    ):
        compare(TextClassifier(**SMALL), TEXTS[1:], LABELS[1:], GRID, folder=path)

    del trained[:]
    compare(
        TextClassifier(**SMALL), TEXTS[1:], LABELS[1:], {"cell": ["gru"]}, seeds=1, folder=path, jobs=1,
        overwrite=True,
    )  # fmt: skip
    assert [run.name for run in (path / "runs").iterdir()] == trained == ["gru-0"]


def test_interrupted_it_keeps_what_is_done_and_continues(tmp_path, trained, monkeypatch):
    """A real SIGINT in the second epoch of the second run."""
    start = _batches.Batches.start

    def started(self, epoch, first=0):
        if epoch == 1 and len(trained) == 2:
            os.kill(os.getpid(), signal.SIGINT)
        start(self, epoch, first)

    arguments = TextClassifier(**SMALL), TEXTS, LABELS, GRID
    with monkeypatch.context() as patch:
        patch.setattr(_batches.Batches, "start", started)
        with pytest.raises(
            KeyboardInterrupt, match=r"1 of 2 runs are done and kept in .*same command continues"
        ):
            compare(*arguments, seeds=1, folder=tmp_path / "cut", jobs=1)
    assert trained == ["simple_rnn-0", "gru-0"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    begun = (tmp_path / "cut" / "runs" / "gru-0" / "history.csv").read_text()
    assert len(begun.splitlines()) == 2, "one epoch is done"

    del trained[:]
    after = compare(*arguments, seeds=1, folder=tmp_path / "cut", jobs=1)
    assert trained == ["gru-0"]
    history = (tmp_path / "cut" / "runs" / "gru-0" / "history.csv").read_text()
    assert history.startswith(begun), "the epoch was not trained again"
    assert len(history.splitlines()) == 3
    assert {row.name for row in after.rows} == {"simple_rnn", "gru"}


def test_a_damaged_state_begins_the_run_again(tmp_path):
    run = tmp_path / "runs" / "gru-0"
    order = _run.Order(TextClassifier, {**SMALL, "cell": "gru", "validation_split": 0.2}, run, False)
    data = _run.Data(TEXTS, LABELS, None)
    first = _run.train_run(order, data)
    (run / "checkpoint.npz").write_bytes(b"no state")
    again = _run.train_run(replace(order, resume=True), data)
    assert again.history.keys() == first.history.keys()
    assert len(again.history["loss"]) == 2


def test_a_run_that_fails_is_shown_and_does_not_end_the_comparison(tmp_path, trained, monkeypatch, capsys):
    real = TextClassifier.fit

    def fit(self, *inputs, **options):
        real(self, *inputs, **options)
        if self.cell == "simple_rnn":
            raise TrainingError("the loss became nan in epoch 2")

    monkeypatch.setattr(TextClassifier, "fit", fit)
    arguments = TextClassifier(**SMALL), TEXTS, LABELS, GRID
    found = compare(*arguments, seeds=1, folder=tmp_path / "runs", jobs=1, verbose=1)
    assert [row.name for row in found.rows] == ["gru", "simple_rnn"]
    assert found.rows[1].mean is None
    assert found.failures == {"simple_rnn, seed 0": "the loss became nan in epoch 2"}
    assert found.to_dict()["rows"][1]["failed"] == {"0": "the loss became nan in epoch 2"}
    assert str(found).splitlines()[2].split() == ["simple_rnn", "failed", "1", "of", "1", "failed"]
    found.report(tmp_path / "report.html")
    assert "Failed: simple_rnn, seed 0: the loss became nan" in (tmp_path / "report.html").read_text("utf-8")
    error = capsys.readouterr().err
    assert "[1/2] simple_rnn, seed 0: failed, the loss became nan in epoch 2" in error
    assert "gru, seed 0: epoch 1, validation accuracy " in error
    assert "[2/2] gru, seed 0: done, validation accuracy " in error

    del trained[:]
    again = compare(*arguments, seeds=1, folder=tmp_path / "runs", jobs=1)
    assert trained == [], "a training that failed would fail again"
    assert again.failures == found.failures


def test_sequences_and_numbers(tmp_path):
    sequences, _, sums = make_sequences()
    model = SequenceRegressor(units=4, epochs=2, random_state=3)
    found = compare(
        model, sequences, sums, {"early_stopping": [0, 5]}, seeds=1, folder=tmp_path / "r", jobs=1
    )
    assert found.measure == "r2"
    for row in found.rows:
        run = load(tmp_path / "r" / "runs" / f"{row.name.replace(' ', '_')}-3")
        assert row.scores == [run.results_["val_r2"]]
        assert found.to_dict()["rows"][0]["r2"] == found.rows[0].mean
    found.report(tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text("utf-8")
    assert "R²" in page
    assert "Held-out loss over the epochs" in page, "R² is measured at the end only"


def test_given_examples_to_validate_with_and_no_folder():
    sequences, labels, _ = make_sequences()
    found = compare(
        SequenceClassifier(units=4, epochs=1), sequences[:40], labels[:40], {"bidirectional": [True]},
        seeds=1, validation_data=(sequences[40:], labels[40:]), jobs=1,
    )  # fmt: skip
    assert (found.held_out, found.split) == (20, "given")
    assert [row.name for row in found.rows] == ["lstm"], "nothing varies: the cell's name"
    assert found.rows[0].runs[0].folder is None


def names(estimator, grid):
    return [(each.name, each.stem) for each in settings_of(estimator, grid, True)]


def test_names_say_only_what_varies():
    model = TextClassifier()
    assert names(model, {"cell": ["lstm", "gru"], "units": [16]}) == [("lstm", "lstm"), ("gru", "gru")]
    assert names(model, {"units": np.array([16, 32]), "dropout": [0.0, 0.3]}) == [
        ("units 16, dropout 0", "units_16-dropout_0"),
        ("units 32, dropout 0", "units_32-dropout_0"),
        ("units 16, dropout 0.3", "units_16-dropout_0.3"),
        ("units 32, dropout 0.3", "units_32-dropout_0.3"),
    ]
    assert names(model, {"preset": ["tutorial", "standard"], "mask": [True, False]})[2:] == [
        ("preset tutorial, no mask", "preset_tutorial-no_mask"),
        ("preset standard, no mask", "preset_standard-no_mask"),
    ]
    assert names(model, [{"cell": ["gru"]}, {"cell": ["lstm"], "class_weight": ["balanced"]}]) == [
        ("gru, class weight default", "gru-class_weight_default"),
        ("lstm, class weight balanced", "lstm-class_weight_balanced"),
    ]

    @cell
    def plain(x, h, *, W, U, b):
        return tanh(W @ x + U @ h + b)

    assert names(model, {"cell": [plain, cells.gru, cells.lstm.to_json()]}) == [
        ("plain", "plain"), ("gru", "gru"), ("lstm", "lstm")
    ]  # fmt: skip
    best = TextClassifier(preset="best")
    assert names(best, {"units": [64]}) == [("lstm, gru", "lstm__gru")], "the cells of its networks"
    keys = {
        fingerprint(TextClassifier, each.parameters, 0)
        for each in settings_of(best, {"cell": [None, "lstm", "gru"]}, True)
    }
    assert len(keys) == 3


@pytest.mark.parametrize(
    ("grid", "options", "message"),
    [
        ({"untis": [3]}, {}, "TextClassifier has no parameter 'untis'; it has batch_size, "),
        ({"cell": ["lsmt"]}, {}, "there is no cell 'lsmt'; the cells are"),
        ({"units": [0]}, {}, "units must be an integer of at least 1, not 0"),
        ({"units": []}, {}, "grid for parameter 'units' need to be a non-empty sequence"),
        ({"cell": ["gru", "gru"]}, {}, "the setting 'gru' is in the grid twice"),
        ({"random_state": [1, 2]}, {}, "random_state cannot be compared: seeds says how often"),
        (
            {"callbacks": [None]},
            {},
            "callbacks cannot be compared: a comparison may train in other processes",
        ),
        ({"validation_split": [0.0]}, {}, "validation_split is 0, but settings are compared by examples"),
        (GRID, {"seeds": 0}, "seeds must be a number of at least 1 or a list of different ones, not "),
        (GRID, {"seeds": [1, 1]}, "a list of different ones, not [1, 1]"),
        (GRID, {"jobs": 0}, "jobs must be at least 1, not 0"),
    ],
)
def test_what_cannot_be_compared_is_refused(grid, options, message, tmp_path):
    with pytest.raises(ValueError) as caught:
        compare(TextClassifier(**SMALL), TEXTS, LABELS, grid, folder=tmp_path / "none", **options)
    assert message in str(caught.value)
    assert not (tmp_path / "none").exists()


def test_other_estimators_and_foreign_folders_are_refused(tmp_path):
    from sklearn.linear_model import LogisticRegression

    with pytest.raises(
        TypeError, match=r"compare takes a TextClassifier, a SequenceClassifier or a .*Logistic"
    ):
        compare(LogisticRegression(), TEXTS, LABELS, GRID)
    with pytest.raises(ValueError, match="callbacks cannot be used here"):
        compare(TextClassifier(callbacks=[object()]), TEXTS, LABELS, GRID)
    (tmp_path / "thesis.txt").write_text("years of work")
    for overwrite in (False, True):
        with pytest.raises(RunError, match=r"holds files that are no comparison, such as thesis\.txt"):
            compare(TextClassifier(), TEXTS, LABELS, GRID, folder=tmp_path, overwrite=overwrite)
    (tmp_path / "other" / "runs").mkdir(parents=True)
    with pytest.raises(RunError, match=r"holds no comparison \(there is no comparison\.json\)"):
        compare(TextClassifier(), TEXTS, LABELS, GRID, folder=tmp_path / "other", overwrite=True)
    (tmp_path / "other" / "comparison.json").write_text("[" * 100_000)
    with pytest.raises(
        RunError, match=r"comparison\.json is damaged; begin again with overwrite=True \(--overwrite\)"
    ):
        compare(TextClassifier(), TEXTS, LABELS, GRID, folder=tmp_path / "other")
    (tmp_path / "other" / "runs" / "mine").mkdir()
    (tmp_path / "other" / "runs" / "mine" / "notes.txt").write_text("by hand")
    with pytest.raises(RunError, match=r"mine holds files that are no run, such as notes\.txt"):
        compare(TextClassifier(), TEXTS, LABELS, GRID, folder=tmp_path / "other", overwrite=True)
    assert (tmp_path / "other" / "runs" / "mine" / "notes.txt").exists()

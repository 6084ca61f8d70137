"""Interrupted and continued runs: nothing is lost, and the weights are those of an uninterrupted run."""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from stepfold.app import _train
from stepfold.app.cli import main
from stepfold.data import Ragged
from stepfold.estimators import RunError, TextClassifier, _batches, load
from stepfold.estimators._settings import resolve
from text_helpers import SMALL, write_texts

# Keras's own saving of variables does not know the newest argument of __array__ yet.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword")

# Everything with a state of its own: dropout draws random numbers, adam keeps moments and counts its steps.
STATEFUL = (*SMALL, "--dropout", "0.2", "--recurrent-dropout", "0.2", "--optimizer", "adam", "--batch", "16")


def checkpoint(run):
    with np.load(run / "checkpoint.npz") as stored:
        return {name: stored[name] for name in stored.files if name.startswith("state")}


def saved_weights(run):
    return load(run).network_.get_weights()


def figures(run):
    """Return the history without the seconds, which no two runs share."""
    return [line.rsplit(",", 1)[0] for line in (run / "history.csv").read_text().splitlines()]


def interrupt_in(monkeypatch, epoch, batch):
    """Send the process a real SIGINT when a batch of an epoch (counted from 0) is asked for."""
    start, get = _batches.Batches.start, _batches.Batches.__getitem__
    now = {"epoch": -1}

    def started(self, number, first=0):
        now["epoch"] = number
        start(self, number, first)

    def got(self, index):
        if (now["epoch"], index) == (epoch, batch):
            os.kill(os.getpid(), signal.SIGINT)
        return get(self, index)

    monkeypatch.setattr(_batches.Batches, "start", started)
    monkeypatch.setattr(_batches.Batches, "__getitem__", got)


@pytest.mark.parametrize("cell", ["lstm", "simple_rnn"])
def test_an_interrupted_and_continued_run_ends_with_the_same_weights(texts, tmp_path, capsys, cell):
    command = ["train", str(texts), "--cell", cell, *STATEFUL, "--epochs", "5"]
    assert main([*command, "--out", str(tmp_path / "whole")]) == 0

    cut = tmp_path / "cut"
    with pytest.MonkeyPatch.context() as patch:
        interrupt_in(patch, epoch=2, batch=1)
        assert main([*command, "--out", str(cut)]) == 130
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("stepfold: interrupted after 2 of 5 epochs: the best model so far (epoch ")
    assert f"is saved in {cut}; continue with resume=True (--resume)" in last
    assert figures(cut) == figures(tmp_path / "whole")[:3]
    assert main(["predict", str(cut), "a good film"]) == 0

    # The number of epochs and all else come from the run; what agrees with it may be repeated.
    assert main(["train", str(texts), "--resume", "--out", str(cut), "--cell", cell]) == 0
    assert figures(cut) == figures(tmp_path / "whole")
    whole, again = checkpoint(tmp_path / "whole"), checkpoint(cut)
    assert whole.keys() == again.keys()
    for name, value in whole.items():
        np.testing.assert_array_equal(again[name], value, err_msg=name)
    for mine, theirs in zip(saved_weights(cut), saved_weights(tmp_path / "whole"), strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_the_state_holds_what_dropout_and_optimizer_remember(texts, tmp_path):
    run = tmp_path / "run"
    assert main(["train", str(texts), "--out", str(run), *STATEFUL, "--epochs", "1"]) == 0
    kinds = [value.dtype.kind for value in checkpoint(run).values()]
    assert "u" in kinds, "the random state of dropout"
    assert "i" in kinds, "the optimizer's count of steps"


def batches_of(seed, size):
    labels = np.arange(70, dtype=np.int32)
    examples = _batches.Examples(Ragged.from_sequences([labels[k : k + 1] for k in labels]), labels)
    collate = lambda inputs, rows: inputs.padded(rows, 1)  # noqa: E731
    return _batches.Batches(examples, labels.astype(np.int64), size, collate, seed)


def test_each_epoch_has_its_own_order_that_depends_on_seed_and_epoch_alone():
    orders = {}
    for seed in (0, 1):
        batches = batches_of(seed, 32)
        for epoch in (2, 0, 1):
            batches.start(epoch)
            pieces = [batches[k] for k in range(len(batches))]
            assert [len(piece) for _, piece in pieces] == [32, 32, 32], "whole batches, one shape to compile"
            assert all((inputs[:, 0] == piece).all() for inputs, piece in pieces)
            order = np.concatenate([piece for _, piece in pieces])
            assert sorted(order[:70]) == list(range(70))
            np.testing.assert_array_equal(order[70:], order[:26])
            orders[seed, epoch] = order[:70]
    assert len({tuple(order) for order in orders.values()}) == 6
    batches = batches_of(1, 70)
    batches.start(1)
    np.testing.assert_array_equal(batches[0][1], orders[1, 1])
    batches = batches_of(1, 32)
    batches.start(1, first=2)
    assert len(batches) == 1
    np.testing.assert_array_equal(batches[0][1][:6], orders[1, 1][64:])


def test_an_interruption_before_any_epoch_says_that_there_is_no_model(texts, tmp_path, capsys):
    run = tmp_path / "run"
    with pytest.MonkeyPatch.context() as patch:
        interrupt_in(patch, epoch=0, batch=1)
        assert main(["train", str(texts), "--out", str(run), *STATEFUL, "--epochs", "2"]) == 130
    last = capsys.readouterr().err.splitlines()[-1]
    assert "interrupted before the first epoch ended: there is no model yet; continue with resume" in last
    assert main(["train", str(texts), "--resume", "--out", str(run)]) == 0
    assert len(figures(run)) == 3


def test_a_finished_run_takes_more_epochs_and_none(trained, texts, tmp_path):
    run = shutil.copytree(trained, tmp_path / "run")
    assert main(["train", str(texts), "--resume", "--out", str(run), "--epochs", "6"]) == 0
    assert len(figures(run)) == 7
    before = checkpoint(run)
    assert main(["train", str(texts), "--resume", "--out", str(run), "--epochs", "6"]) == 0
    assert len(figures(run)) == 7
    for name, value in checkpoint(run).items():
        np.testing.assert_array_equal(value, before[name])


def refusal(capsys, *arguments):
    assert main(["train", *map(str, arguments), "--resume"]) == 2
    return capsys.readouterr().err.splitlines()[-1]


def test_what_does_not_fit_the_run_is_refused_and_changes_nothing(trained, texts, tmp_path, capsys):
    run = shutil.copytree(trained, tmp_path / "run")
    before = {file.name: file.read_bytes() for file in run.iterdir()}
    line = refusal(capsys, texts, "--out", run, "--units", "5", "--epochs", "9")
    assert "the run was begun with --units 4, not 5: leave it out to continue, or begin another run" in line
    line = refusal(capsys, texts, "--out", run, "--words", "50")
    assert "the run was begun with --vocabulary-size 10000, not 50: leave it out to continue" in line
    other = write_texts(tmp_path / "other.csv", rows=60)
    assert "the examples differ from those that " in refusal(capsys, other, "--out", run)
    assert {file.name: file.read_bytes() for file in run.iterdir()} == before

    whole = (run / "checkpoint.npz").read_bytes()
    (run / "checkpoint.npz").write_bytes(whole[: len(whole) // 2])
    assert "checkpoint.npz is damaged or cut short; begin again without resume (--overwrite)" in refusal(
        capsys, texts, "--out", run
    )
    np.savez(run / "checkpoint.npz", rows=np.frombuffer(b"[]", np.uint8), state0=np.zeros(3))
    assert "checkpoint.npz is damaged or cut short" in refusal(capsys, texts, "--out", run)


@pytest.mark.slow
def test_ctrl_c_in_a_process_of_its_own(texts, tmp_path):
    run = tmp_path / "run"
    command = [sys.executable, "-m", "stepfold.app.cli", "train", str(texts), "--out", str(run)]
    process = subprocess.Popen(
        [*command, *SMALL, "--epochs", "100000"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        for _ in range(600):
            if (run / "checkpoint.npz").exists():
                break
            assert process.poll() is None, process.communicate()[1]
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130
    assert out == ""
    assert "of 100000 epochs: the best model so far (epoch " in err.splitlines()[-1]
    assert "Traceback" not in err
    assert not [file for file in run.iterdir() if file.name.startswith(".")]
    assert main(["predict", str(run), "a good film"]) == 0


def test_networks_trained_one_by_one_keep_their_epochs_and_cells():
    model = TextClassifier(preset="best", random_state=7, units=8)
    settings = resolve(model._settings_kind, model._defaults(), model._given())
    begun = {"settings": dataclasses.asdict(settings), "parameters": model._parameters_for_json()}
    begun = json.loads(json.dumps(begun))
    assert _train._continued(begun, {"preset": "best", "units": 8, "random_state": 7}) == begun["parameters"]
    for given, text in (
        ({"cell": "gru"}, "begun with --cell lstm, gru, not gru"),
        ({"epochs": 9}, "begun with --epochs 3, 4, not 9"),
    ):
        with pytest.raises(RunError, match=text):
            _train._continued(begun, given)

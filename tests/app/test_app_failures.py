"""Runs that fail, are killed or meet a full disk: what is kept is whole, and the cure is named."""

import contextlib
import csv
import errno
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from stepfold.app.cli import main
from stepfold.estimators import _callbacks, load
from text_helpers import SMALL, make_sequences

# Keras's own saving of variables does not know the newest argument of __array__ yet.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword")
STATEFUL = (*SMALL, "--dropout", "0.2", "--recurrent-dropout", "0.2", "--word-dropout", "0.1", "--batch", "8")


def last_line(capsys):
    out, err = capsys.readouterr()
    assert out == ""
    assert "Traceback" not in err
    return err.splitlines()[-1]


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def sums(tmp_path):
    """A table of sequences whose label is a number."""
    sequences, _, totals = make_sequences(20)
    with (tmp_path / "sums.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("id", "time", "a", "b", "c", "label"))
        for k, (sequence, total) in enumerate(zip(sequences, totals, strict=True)):
            writer.writerows([k, t, *map(float, step), float(total)] for t, step in enumerate(sequence))
    return tmp_path / "sums.csv"


def test_a_loss_that_is_no_number_is_never_the_best(sums, tmp_path, capsys):
    run = tmp_path / "run"
    command = ["train", str(sums), "--id", "id", "--time", "time", "--out", str(run), "--units", "3"]
    hopeless = ["--optimizer", "sgd", "--learning-rate", "1e30", "--clip-norm", "0", "--epochs", "2"]
    assert main([*command, *hopeless]) == 1
    line = last_line(capsys)
    assert line.startswith("stepfold: error: the loss became ")
    assert "in epoch 1; there is no model. Begin again with a smaller learning_rate (--learning-rate)" in line
    assert not (run / "model.keras").exists()
    assert main(["predict", str(run), str(sums), "--id", "id", "--time", "time"]) == 2
    assert "holds no model yet" in last_line(capsys)


def test_what_was_good_before_the_loss_became_none_is_kept(trained, texts, tmp_path, capsys, monkeypatch):
    run = shutil.copytree(trained, tmp_path / "run")
    before = (run / "model.keras").read_bytes()
    end = _callbacks.Recorder.on_epoch_end
    monkeypatch.setattr(
        _callbacks.Recorder,
        "on_epoch_end",
        lambda self, epoch, logs=None: end(self, epoch, {**logs, "val_loss": float("nan")}),
    )
    assert main(["train", str(texts), "--out", str(run), "--resume", "--epochs", "7"]) == 1
    line = last_line(capsys)
    assert "the validation loss became nan in epoch 6; the model of epoch " in line
    assert f"the best so far, is kept in {run}" in line
    assert (run / "model.keras").read_bytes() == before
    assert len((run / "history.csv").read_text().splitlines()) == 6


def test_a_start_that_fails_leaves_no_folder(texts, tmp_path, capsys):
    (tmp_path / "one.csv").write_text("text,label\na,x\nb,x\n")
    (tmp_path / "wordless.csv").write_text("text,label\n...,x\n--,y\n")
    (tmp_path / "single.csv").write_text("text,label\na,x\nb,y\nc,y\n")
    for file in ("one.csv", "wordless.csv", "single.csv", "none.csv"):
        assert main(["train", str(tmp_path / file), "--out", str(tmp_path / "deep" / "run"), *SMALL]) == 2
        assert "stepfold: error: " in last_line(capsys)
    assert (
        main(
            [
                "train",
                str(texts),
                "--out",
                str(tmp_path / "deep" / "run"),
                "--preset",
                "best",
                "--layers",
                "2",
            ]
        )
        == 2
    )
    assert "the preset 'best' has no parameter 'layers'" in last_line(capsys)
    assert not (tmp_path / "deep").exists()


def no_room(monkeypatch, name):
    """Let every file of a name end with a full disk."""
    replace = os.replace

    def full(source, target):
        if os.path.basename(target) == name:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(source), None, str(target))
        replace(source, target)

    monkeypatch.setattr(os, "replace", full)


@pytest.mark.parametrize(
    ("name", "kept", "cure", "left"),
    [
        ("vocabulary.json", "nothing of it is kept", "begin again", None),
        ("config.json", "nothing of it is kept", "begin again", None),
        ("model.keras", "nothing of it is kept", "--resume", ["config.json", "vocabulary.json"]),
        (
            "checkpoint.npz",
            "nothing of it is kept",
            "--resume",
            ["config.json", "model.keras", "vocabulary.json"],
        ),
    ],
)
def test_a_full_disk_names_the_file_and_what_is_kept(texts, tmp_path, capsys, name, kept, cure, left):
    run = tmp_path / "run"
    command = ["train", str(texts), "--out", str(run), *SMALL, "--epochs", "1"]
    with pytest.MonkeyPatch.context() as patch:
        no_room(patch, name)
        assert main(command) == 2
    line = last_line(capsys)
    assert f"cannot write {run / name}: No space left on device; {kept}. Make room, then " in line
    assert cure in line.partition(". Make room, then ")[2]
    assert (names(run) if run.exists() else None) == left
    assert main([*command, "--resume"] if cure == "--resume" else [*command, "--overwrite"]) == 0


def test_a_full_disk_while_a_checkpoint_is_written_costs_no_earlier_file(trained, texts, tmp_path, capsys):
    run = shutil.copytree(trained, tmp_path / "run")
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_callbacks, "CHECKPOINT_SECONDS", -1)
        no_room(patch, "checkpoint.npz")
        assert main(["train", str(texts), "--out", str(run), "--resume", "--epochs", "7"]) == 2
    assert "the file of that name is as before" in last_line(capsys)
    after = {path.name: path.read_bytes() for path in run.iterdir()}
    assert {name for name in after if after[name] != before.get(name)} <= {"config.json"}


def test_a_real_limit_of_a_file_s_size_ends_in_one_line(trained, texts, tmp_path):
    run = shutil.copytree(trained, tmp_path / "run")
    before = (run / "model.keras").read_bytes()
    code = (
        "import resource, sys; from stepfold.app.cli import main; "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (9000, 9000)); "
        f"sys.exit(main(['train', {str(texts)!r}, '--out', {str(run)!r}, '--resume', '--epochs', '6']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert f"cannot write {run}/" in done.stderr.splitlines()[-1]
    assert (run / "model.keras").read_bytes() == before
    assert not [name for name in names(run) if name.startswith(".")]


def test_overwrite_takes_what_a_killed_run_left_and_nothing_else(texts, tmp_path, capsys):
    run = tmp_path / "run"
    (run / "members").mkdir(parents=True)
    for name in (".model.123.keras", ".checkpoint.77.npz", ".config.5.json", "checkpoint.npz", "history.csv"):
        (run / name).write_bytes(b"half")
    (run / "evaluations").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "kept").write_text("of somebody else")
    command = ["train", str(texts), "--out", str(run), *SMALL, "--epochs", "1"]
    assert main(command) == 2
    assert "already holds a run" in last_line(capsys)
    assert main([*command, "--resume"]) == 2
    assert "holds no run (there is no config.json)" in last_line(capsys)
    assert main([*command, "--overwrite"]) == 0
    assert not [name for name in names(run) if name.startswith(".")]
    assert names(tmp_path / "elsewhere") == ["kept"]
    capsys.readouterr()
    for stranger in (".model", "model.keras.bak", ".git", ".thesis.1.txt"):
        (run / stranger).write_text("foreign")
        assert main([*command, "--overwrite"]) == 2
        assert f"holds files that are no run, such as {stranger}; choose another folder (--out)" in last_line(
            capsys
        )
        (run / stranger).unlink()


class Killed(BaseException):
    """Stands for SIGKILL: nothing after it is written."""


@pytest.mark.parametrize("epoch", [0, 2])
def test_a_run_killed_within_an_epoch_ends_with_the_weights_of_a_whole_one(
    texts, tmp_path, monkeypatch, epoch
):
    monkeypatch.setattr(_callbacks, "CHECKPOINT_SECONDS", -1)
    command = ["train", str(texts), *STATEFUL, "--epochs", "3"]
    assert main([*command, "--out", str(tmp_path / "whole")]) == 0

    write, written = _callbacks.Recorder._write_checkpoint, []

    def write_and_die(self, at, batch):
        write(self, at, batch)
        written.append((at, batch))
        if (at, batch) == (epoch, 3):
            raise Killed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_callbacks.Recorder, "_write_checkpoint", write_and_die)
        with pytest.raises(Killed):
            main([*command, "--out", str(tmp_path / "cut")])
    assert written[-1] == (epoch, 3)

    seen = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            _callbacks.Recorder,
            "_write_checkpoint",
            lambda self, at, batch: (seen.append((at, batch)), write(self, at, batch)),
        )
        assert main(["train", str(texts), "--out", str(tmp_path / "cut"), "--resume"]) == 0
    batches = 7  # 56 examples to train on, 8 a batch
    rest = [(epoch, batch) for batch in range(4, batches)] + [(epoch + 1, 0)]
    assert seen[: len(rest)] == rest, "the remaining batches, and no other"
    with (
        np.load(tmp_path / "whole" / "checkpoint.npz") as whole,
        np.load(tmp_path / "cut" / "checkpoint.npz") as cut,
    ):
        assert whole.files == cut.files
        for name in whole.files:
            if name != "progress":
                np.testing.assert_array_equal(cut[name], whole[name], err_msg=name)
    whole, cut = (load(tmp_path / name).history_ for name in ("whole", "cut"))
    for name in whole.keys() - {"seconds"}:  # of all batches of the epoch, not of the rest alone
        np.testing.assert_allclose(cut[name], whole[name], rtol=1e-5, err_msg=name)
    pairs = zip(*(load(tmp_path / name).network_.get_weights() for name in ("whole", "cut")), strict=True)
    for mine, theirs in pairs:
        np.testing.assert_array_equal(mine, theirs)


@pytest.mark.slow
@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 130), (signal.SIGKILL, -9)])
def test_a_process_that_is_ended_can_be_continued(texts, tmp_path, number, status):
    run = tmp_path / "run"
    command = [sys.executable, "-m", "stepfold.app.cli", "train", str(texts), "--out", str(run)]
    process = subprocess.Popen([*command, *SMALL, "--epochs", "100000"], stderr=subprocess.PIPE, text=True)
    try:
        for _ in range(1200):
            if (run / "checkpoint.npz").exists():
                break
            assert process.poll() is None
            time.sleep(0.1)
        process.send_signal(number)
        err = process.communicate(timeout=60)[1]
    finally:
        process.kill()
    assert process.returncode == status
    if status == 130:
        assert "continue with resume=True (--resume)" in err.splitlines()[-1]
        assert not [name for name in names(run) if name.startswith(".")]
    done = len((run / "history.csv").read_text().splitlines()) if (run / "history.csv").exists() else 1
    assert main(["train", str(texts), "--out", str(run), "--resume", "--epochs", str(done + 1)]) == 0
    assert main(["predict", str(run), "a good film"]) == 0


@pytest.mark.slow
def test_sigterm_before_training_ends_as_ctrl_c(tmp_path):
    fifo = tmp_path / "texts.csv"
    os.mkfifo(fifo)  # reading it never ends
    command = [sys.executable, "-m", "stepfold.app.cli", "train", str(fifo), "--out", str(tmp_path / "run")]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        line = process.stderr.readline()
        for _ in range(12):
            process.send_signal(signal.SIGTERM)
            # One that comes just before the system waits for the file is seen with the next.
            with contextlib.suppress(subprocess.TimeoutExpired):
                err = process.communicate(timeout=5)[1]
                break
    finally:
        process.kill()
        process.wait()
    assert line.startswith("reading the data")
    assert (process.returncode, err) == (130, "stepfold: interrupted\n")
    assert not (tmp_path / "run").exists()


def test_a_write_that_meets_a_full_disk_names_its_file(trained, texts, tmp_path, capsys, monkeypatch):
    from stepfold.app import _predict_out

    def full(*_):  # as a write does, which knows no name
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(_predict_out, "_labelled", full)
    out = tmp_path / "labels.csv"
    assert main(["predict", str(trained), str(texts), "--out", str(out)]) == 2
    assert last_line(capsys) == (
        f"stepfold: error: cannot write {out}: No space left on device; nothing of it is kept. "
        "Make room, then give the command again"
    )
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["nothing.csv", "rest.jsonl.gz", "other.ts"])
def test_a_missing_file_is_not_judged_as_a_text(trained, capsys, name):
    assert main(["predict", str(trained), name]) == 2
    assert f"there is no file {name}; check the path" in last_line(capsys)


def test_two_files_are_not_judged_as_texts(trained, texts, capsys):
    assert main(["predict", str(trained), str(texts), str(texts)]) == 2
    assert "is a file among other inputs; give one file alone" in last_line(capsys)

"""Several processes that train together: who they are, how they end, and with which weights."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from stepfold.app import _start
from stepfold.app._processes import Launched, launched
from stepfold.app._start import start
from stepfold.app.cli import main
from stepfold.estimators import RunError, load
from text_helpers import SMALL, make_sequences, write_texts

# Keras's own saving of variables does not know the newest argument of __array__ yet.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword")

KERAS = {
    "KERAS_DISTRIBUTION_JOB_ADDRESSES": "10.0.0.1:1234,10.0.0.2:2345",
    "KERAS_DISTRIBUTION_NUM_PROCESSES": "2",
    "KERAS_DISTRIBUTION_PROCESS_ID": "1",
}
JAX = {
    "JAX_COORDINATOR_ADDRESS": "first.example:1234",
    "JAX_NUM_PROCESSES": "4",
    "JAX_PROCESS_ID": "3",
}
JOB = {
    "COORDINATOR_ADDRESS": "job-worker-0",
    "COORDINATOR_PORT": "6666",
    "NUM_PROCESSES": "3",
    "PROCESS_ID": "0",
}
SLURM = {
    "SLURM_JOB_ID": "77",
    "SLURM_STEP_NODELIST": "node[01-02]",
    "SLURM_NTASKS": "8",
    "SLURM_PROCID": "5",
    "SLURM_LOCALID": "1",
}


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        (KERAS, ("10.0.0.1:1234", 2, 1, "KERAS_DISTRIBUTION_NUM_PROCESSES")),
        (JAX, ("first.example:1234", 4, 3, "JAX_NUM_PROCESSES")),
        (JOB, ("job-worker-0:6666", 3, 0, "NUM_PROCESSES")),
        (SLURM, ("", 8, 5, "SLURM_NTASKS")),
        ({**SLURM, **KERAS}, ("10.0.0.1:1234", 2, 1, "KERAS_DISTRIBUTION_NUM_PROCESSES")),
    ],
)
def test_the_environment_says_how_many_processes_there_are(environment, expected):
    assert launched(environment) == Launched(*expected)


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"SLURM_JOB_ID": "77", "SLURM_NTASKS": "8"},  # a batch script, outside of srun
        {**SLURM, "SLURM_NTASKS": "1", "SLURM_PROCID": "0"},
        {
            "NUM_PROCESSES": "2",
            "PROCESS_ID": "0",
            "COORDINATOR_ADDRESS": "other",
        },  # names that others may use
    ],
)
def test_an_environment_of_one_process_says_nothing(environment):
    assert launched(environment) is None


@pytest.mark.parametrize(
    ("environment", "text"),
    [
        (KERAS | {"KERAS_DISTRIBUTION_NUM_PROCESSES": ""}, "_NUM_PROCESSES is ''; give an integer"),
        (
            {k: v for k, v in JAX.items() if k != "JAX_PROCESS_ID"},
            "JAX_PROCESS_ID is not set; give an integer",
        ),
        (JOB | {"PROCESS_ID": "3"}, "PROCESS_ID is 3, but NUM_PROCESSES is 3; .* counted from 0"),
        (
            {"KERAS_DISTRIBUTION_NUM_PROCESSES": "2"},
            "JOB_ADDRESSES is not set; give the first process's HOST:P",
        ),
        (JAX | {"JAX_COORDINATOR_ADDRESS": "first"}, "is 'first'; give the first process's HOST:PORT"),
    ],
)
def test_an_environment_that_cannot_be_is_an_error(environment, text):
    with pytest.raises(RunError, match=text):
        launched(environment)


def test_processes_are_not_started_twice_nor_for_another_backend(texts, tmp_path, monkeypatch, capsys):
    command = ["train", str(texts), "--out", str(tmp_path / "run"), "--processes", "2"]
    with monkeypatch.context() as patch:
        patch.setenv("KERAS_BACKEND", "torch")
        assert main(command) == 2
    assert "needs Keras on JAX, not on torch; set KERAS_BACKEND=jax" in capsys.readouterr().err
    assert main([*command, "--preset", "best"]) == 2
    assert "--preset best divides its training in its own way" in capsys.readouterr().err
    for name, value in KERAS.items():
        monkeypatch.setenv(name, value)
    assert main(command) == 2
    assert "KERAS_DISTRIBUTION_NUM_PROCESSES=2 says that a launcher has started" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def python(*lines: str) -> list[str]:
    number = "number = int(os.environ['KERAS_DISTRIBUTION_PROCESS_ID'])"
    return [sys.executable, "-c", "\n".join(["import os, sys, time, signal", number, *lines])]


def test_the_first_process_prints_and_processors_are_shared(capfd, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(_start, "processors", lambda: 6)
    said = "os.environ['KERAS_DISTRIBUTION_NUM_PROCESSES'], os.environ['OMP_NUM_THREADS']"
    assert start(3, python(f"print(number, {said}); print('!', file=sys.stderr)")) == 0
    assert capfd.readouterr() == ("0 3 2\n", "!\n")


def test_one_that_fails_ends_all_and_says_why(capfd, monkeypatch):
    monkeypatch.setattr(_start, "_LAST_WORDS", 0.1)
    began = time.monotonic()
    assert start(3, python("if number == 2: sys.exit('no memory')", "time.sleep(60)")) == 1
    assert time.monotonic() - began < 20
    said = capfd.readouterr().err
    assert said.startswith("no memory\nstepfold: process 2, counted from 0, of 3 ended with status 1")
    assert start(2, python("if number == 0: sys.exit(2)", "time.sleep(60)")) == 2
    assert capfd.readouterr().err == ""


def test_ctrl_c_lets_the_first_process_say_what_is_saved(capfd, tmp_path):
    script = python(
        "signal.signal(signal.SIGINT, lambda *_: (print('saved', flush=True), os._exit(130)))",
        "if number == 0: open(sys.argv[1], 'w').close()",
        "time.sleep(60)",
    )
    ready = tmp_path / "ready"

    def interrupt() -> None:
        for _ in range(3000):
            if ready.exists():
                os.kill(os.getpid(), signal.SIGINT)
                break
            time.sleep(0.01)

    thread = threading.Thread(target=interrupt)
    thread.start()
    assert start(2, [*script, str(ready)]) == 130
    thread.join()
    assert capfd.readouterr().out == "saved\n"


def run(*arguments: object, environment: dict[str, str] | None = None) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "stepfold.app.cli", *map(str, arguments)],
        env={**os.environ, **(environment or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(*processes: subprocess.Popen[str]) -> list[str]:
    """What processes print, none of which outlives this."""
    try:
        printed = []
        for process in processes:
            out, said = process.communicate(timeout=400)
            assert process.returncode == 0, said
            printed.append(out)
        return printed
    finally:
        for process in processes:
            process.kill()
            process.wait()


def same_run(one, other):
    for mine, expected in zip(
        load(one).network_.get_weights(), load(other).network_.get_weights(), strict=True
    ):
        np.testing.assert_allclose(mine, expected, rtol=0, atol=1e-6)
    mine, expected = ((path / "history.csv").read_text().splitlines() for path in (one, other))
    assert mine[0] == expected[0]
    for row, other_row in zip(mine[1:], expected[1:], strict=True):  # the seconds differ
        np.testing.assert_allclose(*([float(n) for n in r.split(",")[:-1]] for r in (row, other_row)), 1e-5)


@pytest.mark.slow
def test_two_processes_started_here_leave_the_run_of_one(tmp_path):
    texts = write_texts(tmp_path / "texts.csv", rows=75)  # 60 to train on, 15 held out: neither divides by 2
    command = ["train", texts, *SMALL, "--dropout=0.2", "--batch=15", "--epochs=2", "--json"]
    assert main([*map(str, command), "--out", str(tmp_path / "one")]) == 0
    (printed,) = ended(run(*command, "--processes", 2, "--out", tmp_path / "two"))
    assert json.loads(printed)["training_examples"] == 60
    same_run(tmp_path / "two", tmp_path / "one")
    assert (tmp_path / "two" / "report.html").exists()

    more = ["train", str(texts), "--resume", "--epochs=3", "--json"]
    assert main([*more, "--out", str(tmp_path / "one")]) == 0
    ended(run(*more, "--processes", 2, "--out", tmp_path / "two"))
    same_run(tmp_path / "two", tmp_path / "one")


@pytest.mark.slow
def test_two_processes_of_a_launcher_leave_the_run_of_one(tmp_path):
    sequences, labels, _ = make_sequences(45)
    file = tmp_path / "sequences.csv"
    rows = [
        f"{number},{time},{','.join(map(str, step))},{label}"
        for number, (sequence, label) in enumerate(zip(sequences, labels, strict=True))
        for time, step in enumerate(sequence)
    ]
    file.write_text("\n".join(["id,time,a,b,c,label", *rows]))
    command = [
        "train", file, "--id=id", "--units=4", "--epochs=2", "--batch=8",
        "--class-weight=balanced", "--validation-split=0.2", "--json",
    ]  # fmt: skip
    assert main([*map(str, command), "--out", str(tmp_path / "one")]) == 0
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    shared = {
        "COORDINATOR_ADDRESS": "127.0.0.1",
        "COORDINATOR_PORT": address.rpartition(":")[2],
        "JAX_COORDINATOR_BIND_ADDRESS": address,
        "NUM_PROCESSES": "2",
    }
    out = tmp_path / "two"
    first, second = ended(
        *(run(*command, "--out", out, environment={**shared, "PROCESS_ID": str(k)}) for k in range(2))
    )
    assert json.loads(first)["epochs"] == 2
    assert second == ""
    same_run(out, tmp_path / "one")

"""`probe`: its results, how they are saved and continued, the command."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stepfold import cell, cells, tasks
from stepfold.app.cli import main
from stepfold.probe import Budget, Piece, ProbeResult, _probe, probe

TINY = Budget(seconds=5, steps=60, shortest=4, longest=4, batch=16, learning_rates=(1e-2,), threads=1)
SETTINGS: dict[str, Any] = {"units": 4, "budget": TINY, "steps": 12}


def run(folder: Path | None = None, **other: Any) -> tuple[ProbeResult, list[str]]:
    lines: list[str] = []
    given = {**SETTINGS, **other}
    found = probe(
        given.pop("cells", ["simple_rnn", cells.gru]), given.pop("tasks", ["adding"]),
        folder=folder, progress=lines.append, **given,
    )  # fmt: skip
    return found, lines


def test_a_piece_for_each_cell_task_and_seed() -> None:
    chosen = ["adding", tasks.copy_with(2, 1)]
    found, lines = run(tasks=chosen, seeds=(3, 4), budget=replace(TINY, steps=10))
    assert [(p.cell, p.task, p.seed) for p in found.pieces] == [
        (c, t, s) for c in ("simple_rnn", "gru") for t in ("adding", "copy") for s in (3, 4)
    ]
    assert (found.cells, found.tasks) == (["simple_rnn", "gru"], ["adding", "copy"])
    for piece in found.pieces:
        assert len(piece.initial) == len(piece.trained) == 12
        assert piece.initial[0] == pytest.approx(1)
        assert piece.limit == 4
    assert re.fullmatch(
        r"  simple_rnn, adding, lag 4, rate 0.01: not solved \(steps\), squared error \d\.\d{4}, "
        r"10 steps, \d+\.\d s",
        lines[0],
    )
    assert lines[1] == "simple_rnn, adding, seed 3: solved up to lag 0"
    trained = found.flow("gru", "copy", trained=True)
    pieces = found.of("gru", "copy")
    np.testing.assert_allclose(trained, np.sqrt(np.multiply(pieces[0].trained, pieces[1].trained)))


def piece(lag: int, limit: int, seed: int, flow: float = 1.0) -> Piece:
    return Piece("gru", "adding", seed, lag, limit, (), (1.0, flow), (1.0, flow))


def test_lags_are_medians_over_the_seeds() -> None:
    found = ProbeResult((piece(8, 16, 0), piece(64, 64, 1), piece(16, 32, 2, 0.0)))
    assert found.lag("gru", "adding") == 16
    assert found.limit("gru", "adding") == 32
    np.testing.assert_array_equal(found.flow("gru", "adding", trained=False), [1, 0])


def test_what_is_saved_is_not_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, _ = run(tmp_path / "new")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["probe.jsonl"]
    with monkeypatch.context() as patched:
        patched.setattr(_probe, "longest_lag", None)  # nothing is trained
        again, lines = run(tmp_path / "new")
        assert again == first
        assert lines[0] == "simple_rnn, adding, seed 0: solved up to lag 0 (as saved)"
    more, lines = run(tmp_path / "new", cells=["gru"], tasks=["adding", "temporal_order"], seeds=(0, 1))
    assert more.of("gru", "adding")[0] == first.of("gru", "adding")[0]
    assert sum("as saved" in line for line in lines) == 1
    assert sum(line.startswith("  ") for line in lines) == 3
    for changed in ({"steps": 13}, {"budget": replace(TINY, steps=61)}):
        assert not any("as saved" in line for line in run(tmp_path / "new", cells=["gru"], **changed)[1])


def test_an_interrupted_probe_continues(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measure, done = _probe.longest_lag, []

    def interrupted(cell: Any, *rest: Any, **options: Any) -> Any:
        if done:
            raise KeyboardInterrupt
        done.append(cell.name)
        return measure(cell, *rest, **options)

    with monkeypatch.context() as patched:
        patched.setattr(_probe, "longest_lag", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path)
    found, lines = run(tmp_path)
    assert ["as saved" in line for line in lines if not line.startswith(" ")] == [True, False]
    assert len(found.pieces) == 2


def test_a_cell_of_the_same_name_is_another(tmp_path: Path) -> None:
    @cell
    def gru(x, h, *, W, U):
        return W @ x + U @ h

    run(tmp_path, cells=[cells.gru])
    assert not any("as saved" in line for line in run(tmp_path, cells=[gru])[1])


@pytest.mark.parametrize(
    "damage",
    [
        lambda line: line[: len(line) // 2],
        lambda line: "[" * 100_000,
        lambda line: "\udcff" * 3,
        lambda line: json.dumps({**json.loads(line), "result": 3}),
        lambda line: json.dumps({**json.loads(line), "result": {"cell": "gru"}}),
        lambda line: line.replace('"initial": [1.0', '"initial": ["x"'),
        lambda line: json.dumps([line]),
    ],
)
def test_a_damaged_line_is_done_again(tmp_path: Path, damage: Any) -> None:
    first, _ = run(tmp_path)
    path = tmp_path / "probe.jsonl"
    one, other = path.read_text().splitlines()
    path.write_text(damage(one) + "\n" + other + "\n", errors="surrogateescape")
    again, lines = run(tmp_path)
    assert ["as saved" in line for line in lines if not line.startswith(" ")] == [False, True]
    assert again.pieces[1] == first.pieces[1]
    assert all("as saved" in line for line in run(tmp_path)[1])


def test_errors(tmp_path: Path) -> None:
    for other, text in (
        ({"cells": ["grv"]}, "there is no cell 'grv'; the cells are"),
        ({"cells": ["gru_d"]}, "gru_d has the inputs x, observed, gap, and here is one sequence to read"),
        ({"tasks": ["x"]}, "there is no task 'x'; the tasks are"),
        ({"cells": ["gru", cells.gru]}, "cells must be given, each once; got gru, gru$"),
        ({"tasks": []}, "tasks must be given, each once; got none$"),
        ({"seeds": ()}, "seeds must be given, at least one$"),
        ({"units": 0}, "units must be an integer of at least 1, not 0$"),
    ):
        with pytest.raises(ValueError, match=f"^{text}"):
            run(**other)


def command(capsys: Any, *arguments: Any, status: int = 0) -> tuple[str, str]:
    capsys.readouterr()
    try:
        code: Any = main(["probe", *map(str, arguments)])
    except SystemExit as leaving:
        code = leaving.code
    assert code == status
    done = capsys.readouterr()
    return done.out, done.err


def test_the_command(tmp_path: Path, capsys: Any) -> None:
    small = ["--cells", "simple_rnn,indrnn", "--tasks", "adding", "--units", 4, "--steps", 60, "--longest", 8]
    out, err = command(capsys, *small, "--budget", 5, "--threads", 1, "--out", tmp_path)
    table, sentence = out.rstrip("\n").split("\n\n")
    assert re.fullmatch(
        r"longest lag solved +adding +gradient after 100 timesteps +trained\n"
        r"simple_rnn +none +\de-\d+ +\de-\d+\nindrnn +none +\de[-+]\d+ +\de[-+]\d+",
        table,
    )
    assert re.fullmatch(
        r"No cell solves even the shortest lag; before training, 1\.\d × 10⁻⁵ of the gradient is left over "
        rf"100 timesteps in simple_rnn, 0\.\d+ in indrnn\.\nreport: {re.escape(str(tmp_path))}/report\.html",
        sentence.replace("\N{NO-BREAK SPACE}", " "),
    )
    assert "lag 8, rate 0.01: not solved (steps)" in err
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "simple_rnn" in page
    assert "60 batches of 64 sequences for each lag and learning rate, and 5 seconds for all lags" in page
    assert "Inputs: a number from 0 to 1, and a mark" in page
    assert page.count("h&#39; = ") + page.count("h' = ") == 2  # the equations of both cells
    assert "After training on adding" in page
    assert page.count("seed 0, rate 0.01") == 2  # a row for each training
    assert "the median over the seeds" not in page
    assert "the seconds were over" not in page
    out, err = command(
        capsys, *small, "--budget", 5, "--threads", 1, "--seeds", 2, "--out", tmp_path, "--json"
    )
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert page.count("seed 1, rate 0.01") == 2
    assert "A bar is the median over the seeds, a mark one seed." in page
    figures = json.loads(out)
    assert figures["lags"] == {"simple_rnn": {"adding": 0}, "indrnn": {"adding": 0}}
    assert figures["gradient_flow"]["timesteps"] == 100
    assert figures["gradient_flow"]["initial"]["indrnn"]["adding"] > 0.1
    assert err.count("(as saved)") == 2
    assert figures["seconds"] > 0


def test_the_command_s_errors(tmp_path: Path, capsys: Any) -> None:
    _, err = command(capsys, "--cells", "gru,lstn", status=2)
    assert "argument --cells: there is no cell 'lstn'; the cells are simple_rnn," in err
    assert err.count("\n") == 1
    _, err = command(capsys, "--tasks", "copy,copy", status=2)
    assert "argument --tasks: 'copy,copy' has a name twice" in err
    _, err = command(capsys, "--budget", "0", status=2)
    assert "argument --budget: '0' is no number above 0" in err
    file = tmp_path / "file"
    file.write_text("")
    _, err = command(capsys, "--out", file, status=2)
    assert err == f"stepfold: error: {file}: File exists\n"


def test_a_page_says_that_the_seconds_were_over(tmp_path: Path, capsys: Any) -> None:
    small = ["--cells", "simple_rnn", "--tasks", "adding", "--units", 4, "--longest", 8, "--threads", 1]
    command(capsys, *small, "--budget", 0.001, "--out", tmp_path)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "In 1 of 1 searches the seconds were over before the steps" in page


def test_the_interrupted_command(tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(_probe, "longest_lag", interrupted)
    _, err = command(capsys, "--out", tmp_path, status=130)
    assert err == f"stepfold: interrupted; what is done is in {tmp_path}, and the same command continues\n"

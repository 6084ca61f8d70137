"""A benchmark compares results before times, and alternates between the sides."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import _machine, _report
from benchmarks._harness import DisagreementError, Side, Times, check, geometric_mean, time_alternating
from benchmarks._problems import operations, problem, read_shape
from stepfold import cells


def side(name: str, **arrays: Any) -> Side:
    return Side(
        name, lambda: arrays, lambda result: {key: np.asarray(value) for key, value in result.items()}
    )


def test_equal_sides_pass_and_say_how_far_apart_they_are() -> None:
    differences = check([side("a", x=[1.0, -4.0]), side("b", x=[1.0, -4.002])], 1e-3)
    assert differences == pytest.approx({"b": 5e-4}, rel=1e-3)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (side("b", x=[1.0, -4.1]), "x: b differs from a by 0.025, allowed is 0.001"),
        (side("b", x=[1.0, np.nan]), "x: b differs from a by nan"),
        (side("b", x=[1.0]), r"x: a \(2,\), b \(1,\)"),
        (side("b", y=[1.0, -4.0]), r"a gives \['x'\], b gives \['y'\]"),
    ],
)
def test_sides_that_differ_are_not_timed(other: Side, message: str) -> None:
    with pytest.raises(DisagreementError, match=message):
        check([side("a", x=[1.0, -4.0]), other], 1e-3)


def test_sides_that_compute_nothing_are_not_timed() -> None:
    with pytest.raises(DisagreementError, match=r"a gives \[\]"):
        check([side("a"), side("b")], 1e-3)


def test_sides_take_turns() -> None:
    order: list[str] = []
    sides = [Side(name, lambda name=name: order.append(name), dict) for name in "ab"]  # type: ignore[misc]
    times = time_alternating(sides, seconds=0.0, min_rounds=3)
    turns = order[4:]  # after two warm-up calls each; a short call is warmed up once more in every turn
    assert "".join(turns) == "aabb" + "bbaa" + "aabb"
    assert {name: len(t.seconds) for name, t in times.items()} == {"a": 3, "b": 3}


def test_times() -> None:
    times = Times((3.0, 1.0, 2.0))
    assert (times.median, times.minimum) == (2.0, 1.0)
    assert geometric_mean([2.0, 8.0]) == pytest.approx(4.0)


def test_the_arithmetic_of_an_lstm() -> None:
    features, units = 5, 7
    # four gates of two products, two sums and an activation; five operations more for the states
    forward = 2 * 4 * units * (features + units) + (4 * 3 + 5) * units
    assert operations(cells.lstm, (2, 3, features, units), training=False) == 2 * 3 * forward
    training = operations(cells.lstm, (2, 3, features, units), training=True)
    products = 3 * 2 * 4 * units * (features + units)
    assert 2 * 3 * products < training < 2 * 3 * (products + 80 * units)


def test_no_two_gates_of_a_problem_are_alike() -> None:
    p = problem(cells.lstm, (2, 3, 4, 5))
    assert len({value.tobytes() for value in p.params.values()}) == len(p.params)


def test_shapes_are_read() -> None:
    assert read_shape("32,500,16,8") == (32, 500, 16, 8)
    with pytest.raises(ValueError, match="values to unpack"):
        read_shape("32,500")


def test_a_report_says_which_bars_are_met(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_machine, "peak", lambda threads, repeats: 100.0)
    report = _report.Report("sample", tmp_path, threads=2, quick=True, peak=80.0)
    report.machine = {"processor": "one"}
    times = {_report.OURS: Times((0.5, 0.25)), "peer": Times((1.5,))}
    assert report.compared("a title", times, operations=10.0, differences={"peer": 1e-6}, cell="lstm") == {
        "peer": 4.0
    }
    report.bar("speed", 4.0, 3.5)
    report.bar("cost", 12.0, 10.0, at_most=True, unit="ms")
    report.end()
    printed = capsys.readouterr().out
    assert "peer           1500    1500    4.00" in printed
    assert "27%" in printed  # 10 operations in 0.375 s, of 100 a second
    assert "met" in printed
    assert "12 ms  ≤ 10 ms  MISSED" in printed
    stored = json.loads((tmp_path / "sample.json").read_text(encoding="utf-8"))
    assert stored["results"][0]["seconds"]["stepfold"]["minimum"] == 0.25
    assert [bar["met"] for bar in stored["bars"]] == [True, False]


def test_the_peak_is_measured() -> None:
    assert _machine.peak(1, repeats=1) > 1e9


@pytest.mark.skipif(not Path("/proc/stat").exists(), reason="only Linux tells how busy the processors are")
def test_other_processes_are_noticed() -> None:
    others = _machine.OtherProcesses()
    spin = "import time\nwhile time.process_time() < 0.6: pass"
    with subprocess.Popen([sys.executable, "-c", spin]) as other:
        while other.poll() is None:
            time.sleep(0.02)
            seen = others.share() or 0.0
            if seen > 0.5 / (os.cpu_count() or 1):
                break
    assert seen > 0.5 / (os.cpu_count() or 1)


def test_more_threads_than_processors_are_refused() -> None:
    with pytest.raises(
        RuntimeError, match=r"100000 threads need as many processors, .*; give a smaller --threads"
    ):
        _machine.limit_threads(100_000)

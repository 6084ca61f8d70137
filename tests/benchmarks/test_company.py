"""The sides of `company` compute the same, are timed in a loop, and name their executor."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import _report, company
from benchmarks._company_program import NUMPY, Step
from benchmarks._harness import DisagreementError, Side, check
from benchmarks._problems import SHAPES, problem
from stepfold import cells

SHAPE = (3, 6, 4, 5)
TOLERANCE = 1e-5


@pytest.mark.parametrize("cell", company.CELLS)
def test_a_layer_alone_is_the_same_under_pytorch_and_from_numpy(cell: str) -> None:
    sides = company.sides_of("alone", problem(cells.by_name(cell), SHAPE), 2)
    assert sides[0].name == _report.OURS
    assert NUMPY in {side.name for side in sides}
    assert len(check(sides, TOLERANCE)) == 2


@pytest.mark.parametrize("cell", company.CELLS)
def test_the_program_around_both_layers_is_the_same(cell: str) -> None:
    sides = company.sides_of("program", problem(cells.by_name(cell), SHAPE), 2)
    assert len(check(sides, TOLERANCE)) == 1
    sides[0].run()  # its optimizer has moved its weights, so this side is a step ahead
    with pytest.raises(DisagreementError, match=f"{sides[1].name} differs from stepfold"):
        check(sides, TOLERANCE)


def test_the_seconds_of_the_layer_are_a_part_of_the_step() -> None:
    sides = company.sides_of("program", problem(cells.lstm, SHAPE), 2)
    for found in company.timed(sides, 0.0).values():
        assert len(found.layer.seconds) >= 3 * 3
        pairs = zip(found.layer.seconds, found.whole.seconds, strict=True)
        assert all(0 < layer < whole for layer, whole in pairs)


def test_sides_take_turns_of_several_steps() -> None:
    order: list[str] = []

    def side(name: str) -> Side:
        def run() -> Step:
            order.append(name)
            return Step(1.0, f"what {name} ran on", dict)

        return Side(name, run, lambda step: step.arrays())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(company, "_TURN", 0.0)
        found = company.timed([side("a"), side("b")], 0.0)
    assert "".join(order) == "aaaabbbb" + "bbbbaaaa" + "aaaabbbb"  # the first step of a turn is not counted
    assert {name: len(each.layer.seconds) for name, each in found.items()} == {"a": 9, "b": 9}
    assert found["b"].executor == "what b ran on"


def test_the_summary_sets_the_bars(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = _report.Report("sample", tmp_path, threads=2, quick=False)
    # 2.0 × 1.125 = 1.5², so the geometric mean is 1.5
    torch_ratios = [1.5, 1.5, 2.0, 1.125, 1.5, 1.5]
    to_numpy = [9.0, 9.0, 1.0, 1.1, 1.2, 1.0]  # the first two have fewer than 128 units
    company.summary(report, "alone", SHAPES, {"lstm": company.Ratios(torch_ratios, to_numpy)})
    printed = capsys.readouterr().out
    assert "lstm            1.50   1.12" in printed
    assert "(32, 500, 32, 32)       9.00" in printed
    assert [(round(bar["found"], 3), bar["wanted"], bar["met"]) for bar in report.bars] == [
        (1.5, 1.4, True),
        (1.125, 1.05, True),
        (1.2, 1.15, False),
    ]
    company.summary(report, "program", SHAPES[:2], {"lstm": company.Ratios([1.5, 1.5], [1.0, 1.0])})
    assert len(report.bars) == 3, "two shapes say nothing about the mean of six"


def test_further_columns_are_printed_and_stored(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = _report.Report("sample", tmp_path, threads=2, quick=True)
    times = {_report.OURS: company.Times((0.5,)), "peer": company.Times((1.0,))}
    report.compared("a title", times, columns={"executor": {_report.OURS: "OpenMP"}})
    lines = capsys.readouterr().out.splitlines()
    assert lines[2].endswith("difference  executor")
    assert next(line for line in lines if line.startswith("stepfold")).endswith("OpenMP")
    assert report.results[0]["columns"] == {"executor": {"stepfold": "OpenMP"}}


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system has no affinity")
def test_a_loader_feeds_the_program_on_every_processor(tmp_path: Path) -> None:
    code = (
        "import os, sys; before = os.environ.copy(), os.sched_getaffinity(0)\n"
        "from benchmarks import company\n"
        f"company.main('--parts loader --cells gru --shapes 3,6,4,5 --seconds 0 --out {tmp_path}'.split())\n"
        "import multiprocessing; assert not multiprocessing.active_children(), 'the loaders have ended'\n"
        "assert before == (os.environ.copy(), os.sched_getaffinity(0)), 'the settings must be the default'"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=os.environ.copy())
    assert done.returncode == 0, done.stderr
    table = done.stdout.partition("gru (3, 6, 4, 5), loader\n")[2]
    assert "torch.nn.GRU" in table
    assert "program ms" in table

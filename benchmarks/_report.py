"""The output of a benchmark, tables and JSON, and the options that all of them share."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import _machine
from ._harness import Times

OURS = "stepfold"
BUSY = 0.05  # of all processors: above it, our threads wait for other processes


def options(description: str | None) -> argparse.ArgumentParser:
    """Return a parser with the options that all benchmarks share."""
    parser = argparse.ArgumentParser(description=(description or "").partition("\n")[0])
    parser.add_argument(
        "--quick", action="store_true", help="fewer shapes and rounds: all modules end in two minutes"
    )
    parser.add_argument("--threads", type=int, default=2, help="threads of every side (default: 2)")
    parser.add_argument(
        "--out", type=Path, default=Path("runs/bench"), help="folder for the JSON (runs/bench)"
    )
    return parser


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table as text: the first column to the left, the others to the right."""
    lines = [list(head), *map(list, rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]

    def aligned(line: Sequence[str]) -> str:
        cells = [line[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(line[1:], widths[1:], strict=True))]
        return "  ".join(cells).rstrip()

    return "\n".join(
        [aligned(lines[0]), "  ".join("-" * width for width in widths), *map(aligned, lines[1:])]
    )


@dataclass
class Report:
    """The results of one module: printed as they come, and written as JSON at the end."""

    name: str
    out: Path
    threads: int
    quick: bool
    peak: float = 0.0
    _others: _machine.OtherProcesses | None = None
    results: list[dict[str, Any]] = field(default_factory=list)
    bars: list[dict[str, Any]] = field(default_factory=list)

    def begin(self) -> None:
        """Print the machine and its peak."""
        one, self.peak = _machine.peak(1), _machine.peak(self.threads)
        self.machine = _machine.describe(self.threads)
        self.machine["float32 peak"] = (
            f"{one / 1e9:.0f} GFLOP/s on one thread, {self.peak / 1e9:.0f} on {self.threads}"
        )
        self._others = _machine.OtherProcesses()
        print(f"== {self.name}{' (quick)' if self.quick else ''}")
        print("\n".join(f"{key:>14}  {value}" for key, value in self.machine.items()), flush=True)

    def compared(
        self,
        title: str,
        times: Mapping[str, Times],
        *,
        operations: float | None = None,
        differences: Mapping[str, float] | None = None,
        columns: Mapping[str, Mapping[str, str]] | None = None,
        children: Sequence[int] = (),
        **facts: Any,
    ) -> dict[str, float]:
        """Print and store one comparison; returns peer → its median ÷ ours.

        `operations` is the arithmetic of one call, for the share of the peak; `differences` are those of each
        side from ours, relative to the greatest value; `columns` are further columns, title → side → text;
        `children` are the ids of our processes that still run.
        """
        if operations:  # a peak measured on a busy machine is too low, and every share too high
            self.peak = max(self.peak, _machine.peak(self.threads, 10))
        ours = times.get(OURS)
        ratios = {name: t.median / ours.median for name, t in times.items() if ours and name != OURS}
        rows = []
        for name, t in times.items():
            share = f"{operations / t.median / self.peak:.0%}" if operations and self.peak else ""
            ratio = f"{ratios[name]:.2f}" if name in ratios else ""
            off = f"{differences[name]:.0e}" if differences and name in differences else ""
            rows.append(
                [
                    name,
                    *(f"{1e3 * s:.4g}" for s in (t.median, t.minimum)),
                    ratio,
                    share,
                    str(len(t.seconds)),
                    off,
                    *(column.get(name, "") for column in (columns or {}).values()),
                ]
            )
        head = ["side", "median ms", "min ms", "÷ ours", "of peak", "calls", "difference", *(columns or {})]
        print(f"\n{title}")
        print(table(head, rows), flush=True)
        others = self.check_load(children)
        self.results.append(
            {
                "title": title,
                **facts,
                "others": others,
                "operations": operations,
                "share_of_peak": operations / ours.median / self.peak
                if operations and ours and self.peak
                else None,
                "differences": dict(differences or {}),
                "columns": {head: dict(column) for head, column in (columns or {}).items()},
                "ratios": ratios,
                "seconds": {
                    name: {"median": t.median, "minimum": t.minimum, "all": t.seconds}
                    for name, t in times.items()
                },
            }
        )
        return ratios

    def check_load(self, children: Sequence[int] = ()) -> float | None:
        """Print a warning if other processes were busy since the last call; returns their share."""
        others = self._others.share(children) if self._others else None
        if others is not None and others > BUSY:
            print(
                f"UNRELIABLE: other processes used {others:.0%} of the processors meanwhile",
                flush=True,
            )
        return others

    def restart_load(self) -> None:
        """Measure the load of other processes from now on, after our own have ended."""
        if self._others:
            self._others.share()

    def bar(self, what: str, found: float, wanted: float, *, at_most: bool = False, unit: str = "×") -> None:
        """Store a figure that has a bar; `at_most` for costs, where less is better."""
        met = found <= wanted if at_most else found >= wanted
        self.bars.append(
            {"what": what, "found": found, "wanted": wanted, "at_most": at_most, "unit": unit, "met": met}
        )

    def end(self) -> None:
        """Print the bars and write the JSON."""
        if self.bars:
            rows = [
                [
                    bar["what"],
                    f"{bar['found']:.3g} {bar['unit']}",
                    f"{'≤' if bar['at_most'] else '≥'} {bar['wanted']:g} {bar['unit']}",
                    "met" if bar["met"] else "MISSED",
                ]
                for bar in self.bars
            ]
            print("\n" + table([f"{self.name}: bar", "found", "wanted", ""], rows), flush=True)
        self.out.mkdir(parents=True, exist_ok=True)
        content = {
            "benchmark": self.name,
            "quick": self.quick,
            "machine": self.machine,
            "peak_operations_a_second": self.peak,
            "results": self.results,
            "bars": self.bars,
        }
        (self.out / f"{self.name}.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def begin(name: str, arguments: argparse.Namespace, *, limit: bool = True) -> Report:
    """Begin a report; without `limit`, this process keeps the default number of threads and processors."""
    if limit:
        _machine.limit_threads(arguments.threads)
    report = Report(name, arguments.out, arguments.threads, arguments.quick)
    report.begin()
    return report

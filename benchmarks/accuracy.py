"""The time that `stepfold train imdb` needs to learn, after loading the reviews, with an empty kernel cache.

Run it as `python -m benchmarks.accuracy [--quick]`; quick trains one epoch only, and measures its seconds.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from . import _report

_LOADED = re.compile(r"[\d,]+ examples for a TextClassifier")
_EPOCH = re.compile(r"val_accuracy: ([\d.]+)")
_TUTORIAL = ["--preset", "tutorial"]
RUNS = {
    "lstm": [*_TUTORIAL, "--cell", "lstm"],
    "simple_rnn": [*_TUTORIAL, "--cell", "simple_rnn"],
    "lstm, masked": [*_TUTORIAL, "--cell", "lstm", "--mask"],
}
ACCURATE = {"lstm": 0.87, "simple_rnn": 0.83}
SOON, SOON_SECONDS, EPOCH_SECONDS = 0.88, 15.0, 10.0


@dataclass
class Course:
    """One training: for each epoch its validation accuracy, and the seconds since the reviews were loaded."""

    accuracies: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def until(self, accuracy: float) -> float:
        """Seconds until that accuracy was reached, infinity if it never was."""
        pairs = zip(self.accuracies, self.seconds, strict=True)
        return min((s for a, s in pairs if a >= accuracy), default=float("inf"))

    def slowest(self) -> float:
        """Seconds of the slowest epoch, the first one with its compilation."""
        return max(after - before for before, after in zip([0.0, *self.seconds], self.seconds, strict=False))


def train(arguments: Sequence[str]) -> Course:
    """Train in a fresh process with an empty cache of kernels."""
    course = Course()
    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable,
            "-m",
            "stepfold.app.cli",
            "train",
            "imdb",
            *arguments,
            "--out",
            f"{folder}/run",
        ]
        environment = {**os.environ, "XDG_CACHE_HOME": folder, "PYTHONUNBUFFERED": "1"}
        with subprocess.Popen(
            command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        ) as process:
            assert process.stderr is not None
            loaded, printed = 0.0, []
            for line in process.stderr:
                printed.append(line)
                if _LOADED.search(line):
                    loaded = time.perf_counter()
                elif found := _EPOCH.search(line):
                    course.accuracies.append(float(found[1]))
                    course.seconds.append(time.perf_counter() - loaded)
        if process.returncode or not course.seconds:
            raise RuntimeError(
                f"{' '.join(command)} ended with status {process.returncode}:\n{''.join(printed)}"
            )
    return course


def main(arguments: Sequence[str]) -> None:
    parser = _report.options(__doc__)
    parser.add_argument("--runs", nargs="+", choices=RUNS, default=None)
    chosen = parser.parse_args(arguments)
    report = _report.begin("accuracy", chosen)
    for name in chosen.runs or (["lstm, masked"] if chosen.quick else list(RUNS)):
        course = train(RUNS[name][:-1] + (["1"] if chosen.quick else RUNS[name][-1:]))
        rows = [
            [str(n + 1), f"{accuracy:.4f}", f"{seconds:.1f}"]
            for n, (accuracy, seconds) in enumerate(zip(course.accuracies, course.seconds, strict=True))
        ]
        print(
            f"\n{name}\n" + _report.table(["epoch", "validation accuracy", "seconds so far"], rows),
            flush=True,
        )
        report.check_load()
        report.results.append({"title": name, "accuracies": course.accuracies, "seconds": course.seconds})
        report.bar(f"{name}: slowest epoch", course.slowest(), EPOCH_SECONDS, at_most=True, unit="s")
        if not chosen.quick:
            if name in ACCURATE:
                report.bar(f"{name}: validation accuracy", max(course.accuracies), ACCURATE[name], unit="")
            if name.startswith("lstm"):
                text = f"{name}: seconds to {SOON}"
                report.bar(text, course.until(SOON), SOON_SECONDS, at_most=True, unit="s")
    report.end()


if __name__ == "__main__":
    main(sys.argv[1:])

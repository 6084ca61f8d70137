"""The subcommand ``probe``: what cells can remember."""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

import stepfold  # whose cells are traced when one is asked for

from .. import __version__, tasks
from ..estimators import RunError
from ..probe import Budget, ProbeResult, probe
from ._arguments import at_least, command_line, positive
from ._show import cell_of_one_input

if TYPE_CHECKING:
    from ..report import MemoryReport

_CELLS = ("simple_rnn", "lstm", "gru")
_LAG = 100
"""The T − t at which the table shows gradient flow (less if fewer timesteps are probed)."""


def add_probe(parser: argparse.ArgumentParser) -> None:
    """Add the subcommand's arguments to its parser."""
    default = Budget()
    parser.add_argument(
        "--cells", metavar="NAME,…", default=list(_CELLS),
        type=_known(lambda: stepfold.cells.names(), cell_of_one_input),
        help=f"built-in cells ({','.join(_CELLS)})",
    )  # fmt: skip
    parser.add_argument(
        "--tasks", metavar="NAME,…", type=_known(tasks.names, tasks.by_name), default=tasks.names(),
        help=f"tasks ({','.join(tasks.names())})",
    )  # fmt: skip
    parser.add_argument(
        "--budget", metavar="SECONDS", type=positive, default=default.seconds,
        help=f"for each cell, task and seed ({default.seconds:g})",
    )  # fmt: skip
    for name, least, value, text in (
        ("units", 1, 32, "units of each cell"),
        ("longest", default.shortest, default.longest, "the longest lag that is tried"),
        ("steps", 1, default.steps, "training steps for one lag and learning rate"),
        ("seed", 0, 0, "decides first weights and examples"),
        ("seeds", 1, 1, "how many seeds, counted up from --seed"),
        ("threads", 1, None, "threads at most"),
    ):
        shown = "all processors" if value is None else value
        parser.add_argument(
            f"--{name}", metavar="N", type=at_least(least), default=value, help=f"{text} ({shown})"
        )
    parser.add_argument(
        "--curriculum", action="store_true",
        help="each lag begins with the weights that solved the one before, not with new ones",
    )  # fmt: skip
    parser.add_argument(
        "--out",
        metavar="DIR",
        default="runs/probe",
        help="what is done is saved there, and continued (runs/probe)",
    )
    parser.add_argument("--json", action="store_true", help="print the result as a line of JSON")
    parser.set_defaults(run=_probe)


def _known(names: Callable[[], list[str]], by_name: Callable[[str], object]) -> Callable[[str], list[str]]:
    """A reader of a list of names, each of which must be known and stand there once."""

    def read(text: str) -> list[str]:
        found = [name.strip() for name in text.split(",")]
        for name in found:
            try:
                by_name(name)
            except (ValueError, RunError) as error:
                raise argparse.ArgumentTypeError(str(error)) from None
        if len(set(found)) < len(found):
            raise argparse.ArgumentTypeError(f"{text!r} has a name twice")
        return found

    return read


def _probe(options: argparse.Namespace) -> None:
    budget = Budget(
        seconds=options.budget,
        steps=options.steps,
        longest=options.longest,
        curriculum=options.curriculum,
        threads=options.threads,
    )
    folder = Path(options.out)
    try:
        result = probe(
            options.cells,
            options.tasks,
            units=options.units,
            seeds=range(options.seed, options.seed + options.seeds),
            budget=budget,
            folder=folder,
            progress=lambda line: print(line, file=sys.stderr, flush=True),
        )
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"interrupted; what is done is in {folder}, and the same command continues"
        ) from None
    except ValueError as error:
        raise RunError(str(error)) from None
    # of training, that of earlier calls included
    seconds = sum(attempt.seconds for piece in result.pieces for attempt in piece.attempts)
    from ..report import memory_sentence, write_memory_report

    content = _report(result, options, budget, seconds)
    write_memory_report(folder / "report.html", content)
    if options.json:
        print(json.dumps(_figures(result, seconds)))
    else:
        print(f"{_table(result)}\n\n{memory_sentence(content)}\nreport: {folder / 'report.html'}")


def _report(
    result: ProbeResult, options: argparse.Namespace, budget: Budget, seconds: float
) -> "MemoryReport":
    from importlib import metadata  # takes 10 ms, which no other command needs

    used = [stepfold.cells.by_name(name) for name in result.cells]
    from ..report import GradientFlow, LagAttempt, LongestLag, MemoryReport

    task = result.tasks[0]
    flows = [
        GradientFlow(
            cell=cell,
            lags=np.arange(len(result.pieces[0].initial)),
            initial=result.flow(cell, task, trained=False),
            trained=result.flow(cell, task, trained=True),
        )
        for cell in result.cells
    ]
    seeds = [options.seed + k for k in range(options.seeds)]
    lags = [
        LongestLag(
            cell=c,
            task=t,
            lag=result.lag(c, t),
            limit=result.limit(c, t),
            seeds=[piece.lag for piece in result.of(c, t)] if len(seeds) > 1 else (),
        )
        for c in result.cells
        for t in result.tasks
    ]
    attempts = [
        LagAttempt(
            cell=piece.cell,
            task=piece.task,
            lag=attempt.lag,
            solved=attempt.solved,
            score=attempt.score,
            steps=attempt.steps,
            seconds=attempt.seconds,
            setting=f"seed {piece.seed}, rate {attempt.learning_rate:g}",
        )
        for piece in result.pieces
        for attempt in piece.attempts
    ]
    return MemoryReport(
        title=", ".join(result.cells),
        seconds=seconds,
        command=command_line(),
        configuration={
            "units": options.units,
            "seeds": ", ".join(map(str, seeds)),
            **asdict(budget),
            "threads": budget.threads or "all processors",
            "learning_rates": ", ".join(f"{rate:g}" for rate in budget.learning_rates),
        },
        versions={
            "stepfold": __version__,
            "Python": sys.version.split()[0],
            "numpy": np.__version__,
            "llvmlite": metadata.version("llvmlite"),
        },
        notes=[
            "Gradient flow: by how much ∂s_T/∂s_t stretches a vector, in root mean square; s is the whole "
            f"state, the inputs are those of {task}, the trained weights those of the longest lag solved.",
            *_note_of_seconds(result),
        ],
        equations={cell.name: cell.show("maths") for cell in used},
        latex={cell.name: cell.show("latex") for cell in used},
        flows=flows,
        lags=lags,
        budget=f"at most {budget.steps:,} batches of {budget.batch} sequences for each lag and learning "
        f"rate, and {budget.seconds:g} seconds for all lags of a task",
        trained_on=task,
        tasks={name: tasks.by_name(name).about for name in result.tasks},
        attempts=attempts,
    )


def _note_of_seconds(result: ProbeResult) -> list[str]:
    """Return a note if searches ended because their seconds were over."""
    ended = sum(piece.attempts[-1].stopped_by == "seconds" for piece in result.pieces)
    if not ended:
        return []
    return [
        f"In {ended} of {len(result.pieces)} searches the seconds were over before the steps: more of them "
        "(--budget) may find longer lags."
    ]


def _figures(result: ProbeResult, seconds: float) -> dict[str, object]:
    """The lags solved, and gradient flow at `T − t` of every cell over the inputs of every task."""
    at = _at(result)
    flows = {
        when: {
            c: {t: float(result.flow(c, t, trained=trained)[at]) for t in result.tasks} for c in result.cells
        }
        for when, trained in (("initial", False), ("trained", True))
    }
    lags = {c: {t: result.lag(c, t) for t in result.tasks} for c in result.cells}
    return {"lags": lags, "gradient_flow": {"timesteps": at, **flows}, "seconds": round(seconds, 2)}


def _table(result: ProbeResult) -> str:
    """The longest lag of each cell and task, and the gradient left, at first and after training."""
    at, task = _at(result), result.tasks[0]
    rows = [["longest lag solved", *result.tasks, f"gradient after {at} timesteps", "trained"]]
    for cell in result.cells:
        lags = [_lag(result, cell, t) for t in result.tasks]
        flows = [f"{result.flow(cell, task, trained=trained)[at]:.0e}" for trained in (False, True)]
        rows.append([cell, *lags, *flows])
    return _aligned(rows)


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join([row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))])
        for row in rows
    )


def _lag(result: ProbeResult, cell: str, task: str) -> str:
    lag = result.lag(cell, task)
    return f"≥ {lag:,}" if lag and lag == result.limit(cell, task) else f"{lag:,}" if lag else "none"


def _at(result: ProbeResult) -> int:
    return min(_LAG, len(result.pieces[0].initial) - 1)

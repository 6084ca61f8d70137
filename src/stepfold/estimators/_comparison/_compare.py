"""Trains an estimator with several settings and seeds, and says which does best."""

from __future__ import annotations

import contextlib
import math
import tempfile
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ..._processors import processors
from .._callbacks import interruptible
from .._run import RunFolder
from ._cluster import train_on_cluster
from ._folder import ComparisonFolder, digest_of
from ._plan import Setting, fingerprint, settings_of
from ._progress import Progress
from ._result import ComparedRun, ComparedSetting, Comparison, Measure, ranked
from ._run import Data, Order, Outcome, train_run, train_side_by_side

Grid = Mapping[str, Sequence[Any]] | Sequence[Mapping[str, Sequence[Any]]]


class _Run(NamedTuple):
    setting: Setting
    seed: int
    order: Order


def compare(
    estimator: Any,
    X: Any,
    y: Any,
    grid: Grid,
    *,
    seeds: int | Sequence[int] = 3,
    folder: str | Path | None = None,
    validation_data: tuple[Any, Any] | None = None,
    jobs: int | None = None,
    dask: str | None = None,
    overwrite: bool = False,
    verbose: int = 0,
) -> Comparison:
    """Train an estimator with every setting of a grid and every seed; judge each by held-out examples.

    The runs of the first seed come first. With a folder, what was done there before with the same examples
    is kept: finished runs count, interrupted ones go on from their last epoch, and a changed grid adds runs.

    Args:
        estimator: a ``TextClassifier``, ``SequenceClassifier`` or ``SequenceRegressor``; not changed. If it
            holds no examples out, a fifth of them is held out here.
        X: the inputs, as the estimator takes them.
        y: the targets.
        grid: a list of values for each parameter that varies, such as ``{"cell": ["lstm", "gru"]}``, or a
            list of such grids.
        seeds: the seeds, or how many there are, counted up from the estimator's ``random_state`` (or 0).
        folder: where the runs go; None to keep none of them.
        validation_data: inputs and targets to judge by, instead of held-out examples.
        jobs: processes that train side by side; None for one a processor. Each has its share of the
            processors; with one process everything runs in the caller's.
        dask: the address of a Dask scheduler, such as "tcp://10.0.0.1:8786", whose workers train instead,
            each one run at a time. They need stepfold but no file: examples are sent, and runs come back.
        overwrite: begin again with what is in the folder.
        verbose: 0 for silence, 1 for progress on standard error.

    Raises:
        TypeError, ValueError: an estimator, a grid, inputs or targets that cannot be used.
        RunError: a folder that cannot be used, a process that was killed, or no workers.
        KeyboardInterrupt: after Ctrl-C or SIGTERM; the runs that are done are kept.
    """
    settings = settings_of(estimator, grid, validation_data is not None)
    chosen = _seeds(seeds, estimator)
    if jobs is not None and jobs < 1:
        raise ValueError(f"jobs must be at least 1, not {jobs}")
    data = Data(_repeatable(X), _repeatable(y), validation_data)
    with contextlib.ExitStack() as stack:
        home = ComparisonFolder(
            folder or stack.enter_context(tempfile.TemporaryDirectory(prefix="stepfold-"))
        )
        digest = digest_of(data.inputs, data.targets, *(validation_data or ()))
        home.begin(type(estimator), digest, overwrite=overwrite)
        runs = [_planned(type(estimator), each, seed, home) for seed in chosen for each in settings]
        outcomes = _train(runs, data, home, jobs, dask, _measure(estimator), verbose)
    return _comparison(runs, outcomes, settings, _measure(estimator), keep=folder is not None)


def _seeds(seeds: int | Sequence[int], estimator: Any) -> list[int]:
    if isinstance(seeds, int):
        first = estimator.random_state if isinstance(estimator.random_state, int) else 0
        seeds = range(first, first + seeds)
    found = [int(seed) for seed in seeds]
    if not found or len(set(found)) < len(found):
        raise ValueError(f"seeds must be a number of at least 1 or a list of different ones, not {seeds!r}")
    return found


def _repeatable(values: Any) -> Any:
    return list(values) if hasattr(values, "__iter__") and iter(values) is values else values


def _measure(estimator: Any) -> Measure:
    return "r2" if estimator._regression else "accuracy"


def _planned(estimator: type[Any], setting: Setting, seed: int, home: ComparisonFolder) -> _Run:
    key = fingerprint(estimator, setting.parameters, seed)
    assert key is not None  # the setting was checked
    place, known = home.place(key, f"{setting.stem}-{seed}")
    parameters = {**setting.parameters, "random_state": seed}
    return _Run(setting, seed, Order(estimator, parameters, place, known))


def _train(
    runs: list[_Run],
    data: Data,
    home: ComparisonFolder,
    jobs: int | None,
    dask: str | None,
    measure: Measure,
    verbose: int,
) -> list[Outcome]:
    """Train the runs that are not done; return what became of each."""
    outcomes = [_earlier(run, home, measure) for run in runs]
    left = [k for k, outcome in enumerate(outcomes) if outcome is None]
    jobs = max(1, min(jobs or processors(), len(left)))
    shown = "validation accuracy" if measure == "accuracy" else "validation R²"
    names = [(f"{run.setting.name}, seed {run.seed}", run.order.folder) for run in runs]
    try:
        with interruptible(""), Progress(names, shown, shown=verbose > 0) as progress:
            for k, outcome in enumerate(outcomes):
                if outcome is not None:
                    progress.end(k, outcome, _score(outcome, measure), "kept")
            with contextlib.closing(_each(runs, left, data, jobs, dask)) as events:
                for k, outcome in events:
                    if outcome is None:
                        progress.begin(k)
                        continue
                    found = _judged(outcome, measure)
                    home.note(runs[k].order.folder, found.failure)
                    outcomes[k] = found
                    progress.end(k, found, _score(found, measure))
    except KeyboardInterrupt:
        done = sum(outcome is not None for outcome in outcomes)
        raise KeyboardInterrupt(
            f"interrupted: {done} of {len(runs)} runs are done and kept in {home.path}; "
            "the same command continues"
        ) from None
    return [outcome for outcome in outcomes if outcome is not None]


def _each(
    runs: list[_Run], left: list[int], data: Data, jobs: int, dask: str | None
) -> Generator[tuple[int, Outcome | None]]:
    """Train runs; yield the index of each that begins, with None, and that ends, with what became of it."""
    if dask is None and jobs == 1:
        for k in left:
            yield k, None
            yield k, train_run(runs[k].order, data)
        return
    orders = [runs[k].order for k in left]
    if dask is not None:
        events = train_on_cluster(orders, data, dask)
    else:
        events = train_side_by_side(orders, data, jobs, max(1, processors() // jobs))
    with contextlib.closing(events):
        for k, outcome in events:
            yield left[k], outcome


def _earlier(run: _Run, home: ComparisonFolder, measure: Measure) -> Outcome | None:
    """Return what became of a run before, None if it is still to be done."""
    if not run.order.resume:
        return None
    if failure := home.failures.get(run.order.folder.name, ""):
        return Outcome(failure=failure)
    config = RunFolder(run.order.folder).read_config()
    results = config.get("results")  # written after the network
    return _judged(Outcome(results, config.get("history", {})), measure) if results else None


def _judged(outcome: Outcome, measure: Measure) -> Outcome:
    """Return the outcome, as a failure if it has no score."""
    score = outcome.results.get(f"val_{measure}", math.nan)
    if outcome.failure or math.isfinite(score):
        return outcome
    return Outcome(outcome.results, outcome.history, "no epoch had a finite validation result", outcome.notes)


def _score(outcome: Outcome, measure: Measure) -> float | None:
    return None if outcome.failure else float(outcome.results[f"val_{measure}"])


def _comparison(
    runs: list[_Run], outcomes: list[Outcome], settings: list[Setting], measure: Measure, *, keep: bool
) -> Comparison:
    rows = []
    for setting in settings:
        compared = [
            ComparedRun(
                run.seed,
                _score(outcome, measure),
                outcome.results,
                outcome.history,
                outcome.failure,
                run.order.folder if keep else None,
            )
            for run, outcome in zip(runs, outcomes, strict=True)
            if run.setting is setting
        ]
        rows.append(ComparedSetting(setting.name, setting.varied, compared))
    results = [outcome.results for outcome in outcomes if not outcome.failure]
    held_out = {each["held_out"] for each in results}
    splits = {each["split"] for each in results}
    shared = {
        name: value
        for name, value in settings[0].choices.items()
        if value is not None and all(each.choices.get(name) == value for each in settings)
    }
    return Comparison(
        rows=ranked(rows),
        measure=measure,
        held_out=held_out.pop() if len(held_out) == 1 else None,
        split=splits.pop() if len(splits) == 1 else "given",
        seconds=sum(each["seconds"] for each in results),
        configuration={
            **shared,
            "seeds": ", ".join(str(seed) for seed in dict.fromkeys(r.seed for r in runs)),
        },
        cells=tuple({cell.name: cell for each in settings for cell in each.cells}.values()),
        notes=tuple(dict.fromkeys(note for outcome in outcomes for note in outcome.notes)),
    )

"""The subcommand ``train``: fits an estimator and leaves its folder."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterable
from typing import Any

from ..estimators import PRESETS, TAUGHT, RunError, RunFolder, changeable
from ._arguments import at_least, command_line, input_errors
from ._data import IMDB, Dataset, add_columns, columns_of, read_file, read_imdb
from ._options import add_options, given_options, option_of
from ._processes import check_start, join, launched, started
from ._show import cell_of_one_input

SEED = 42


def add_train(parser: argparse.ArgumentParser) -> None:
    """Add the subcommand's arguments to its parser."""
    add_source(parser)
    parser.add_argument(
        "--preset",
        choices=PRESETS,
        default=argparse.SUPPRESS,
        help="for texts: what the options below begin with (standard); best and plain take minutes",
    )
    add_options(parser)
    parser.add_argument("--out", metavar="RUN", help="the run's folder (runs/DATA-CELL, or runs/DATA-PRESET)")
    parser.add_argument("--overwrite", action="store_true", help="replace the run in that folder")
    parser.add_argument("--resume", action="store_true", help="continue the run in that folder")
    parser.add_argument("--json", action="store_true", help="print the final figures as a line of JSON")
    parser.add_argument(
        "--processes", type=at_least(1, below=1025), metavar="N",
        help="processes on this machine, each of which trains on its part of every batch (1)",
    )  # fmt: skip
    parser.set_defaults(run=_train)


def add_source(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that say what is trained on."""
    parser.add_argument(
        "data",
        metavar="imdb|FILE",
        help="IMDB's 25,000 reviews, or a table of texts or sequences: .csv, .tsv, .jsonl, .parquet, .ts",
    )
    parser.add_argument(
        "--data", dest="source", metavar="PATH", help="imdb.npz, aclImdb_v1.tar.gz or its folder"
    )
    add_columns(parser)
    parser.add_argument(
        "--seed",
        type=at_least(0, below=2**32),
        metavar="N",
        default=argparse.SUPPRESS,
        help=f"decides split, first weights, order and dropout ({SEED})",
    )
    parser.add_argument(
        "--task",
        choices=("classify", "regress"),
        help="whether the labels of sequences are classes or numbers to predict (decimals are numbers)",
    )


def read_source(options: argparse.Namespace) -> Dataset:
    """Return the examples that the arguments of ``add_source`` name."""
    _log("reading the data …")
    imdb = options.data == IMDB
    examples = (
        read_imdb(options.source) if imdb else read_file(options.data, columns_of(options), options.task)
    )
    _log(f"{len(examples.targets):,} examples for a {examples.kind}")
    return examples


def check_source(options: argparse.Namespace) -> None:
    """Refuse arguments of ``add_source`` that do not go together."""
    if options.data == IMDB and columns_of(options):
        raise RunError(
            "--text, --label, --id and --time name the columns of a file; the reviews of imdb have none"
        )
    if options.data != IMDB and options.source:
        raise RunError("--data gives the path of imdb; for a file, its path alone is enough")


def _train(options: argparse.Namespace) -> int:
    check_source(options)
    if options.processes is not None and not started():
        check_start()
        preset = getattr(options, "preset", None)
        if options.processes > 1 and preset in TAUGHT:
            raise RunError(f"--preset {preset} divides its training in its own way; leave --processes out")
        if options.processes > 1:
            from ._start import start

            return start(options.processes, [sys.executable, "-m", f"{__package__}.cli", *options.arguments])
    given = given_options(options)
    for name in ("preset", "seed"):
        if hasattr(options, name):
            given["random_state" if name == "seed" else name] = getattr(options, name)
    preset = given.get("preset", "standard")
    name = given.get("cell") or (PRESETS[preset]["cell"] if preset == "standard" else preset)
    if "cell" in given:
        cell_of_one_input(given["cell"])
    run = RunFolder(options.out or os.path.join("runs", f"{stem(options.data)}-{name}"))
    begun: dict[str, Any] = {}
    found = launched(os.environ)
    first = found is None or found.process == 0  # of several processes this one prints and writes
    if options.resume:
        begun = run.read_config()
        given = _continued(begun, given)
    elif first:
        run.begin(overwrite=options.overwrite)
    if not options.resume:
        given = {"validation_split": None, "random_state": SEED, **given}

    join()
    examples = read_source(options)
    estimator = _estimator(examples, given, begun)
    if not first:
        estimator.verbose = 0
    with input_errors():
        estimator.fit(examples.inputs, examples.targets, folder=run.path, resume=options.resume)
    if not first:
        return 0
    results = estimator.results_
    # The figures first: where no report can be written, they are not lost.
    print(json.dumps(results) if options.json else sentence(results, run), flush=True)
    # The folder holds the run now: the same command would be refused.
    again = "" if options.resume or options.overwrite else " --overwrite"
    estimator.report(run.report, title=f"{stem(options.data)}, {name}", command=command_line() + again)
    return 0


def _estimator(examples: Dataset, given: dict[str, Any], begun: dict[str, Any]) -> Any:
    from .. import estimators

    if begun and begun["estimator"] != examples.kind:
        raise RunError(
            f"the run was begun for a {begun['estimator']}, not a {examples.kind}; give the same data"
        )
    kind = getattr(estimators, examples.kind)
    check_options(kind, given)
    if examples.tokens and not begun and given.get("preset") not in TAUGHT:
        given = {"tokens": examples.tokens, **given}
    verbose = 1 if sys.stderr.isatty() else 2
    return kind(**{**given, "verbose": verbose})


def check_options(kind: Any, given: Iterable[str]) -> None:
    """Refuse parameters that an estimator does not have."""
    strange = sorted(set(given) - kind().get_params().keys())
    if strange:
        raise RunError(f"{option_of(strange[0])} is for texts, but these data are sequences; leave it out")


def _continued(begun: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """Return the parameters to go on with: those of the run's beginning, with another number of epochs."""
    stored = {
        **begun["settings"],
        **{name: begun["parameters"].get(name) for name in ("preset", "random_state")},
    }
    free = changeable(stored["preset"])
    for name in sorted(given.keys() - free):
        begun_with = stored.get(name)
        if isinstance(begun_with, list):  # one a network
            same = len(set(map(str, begun_with))) == 1
            begun_with = begun_with[0] if same else ", ".join(map(str, begun_with))
        if given[name] != begun_with:
            raise RunError(
                f"the run was begun with {option_of(name)} {begun_with}, not {given[name]}: "
                "leave it out to continue, or begin another run with another --out"
            )
    changed = {name: value for name, value in given.items() if name in free}
    return {**begun["parameters"], **changed}


def sentence(results: dict[str, Any], run: RunFolder) -> str:
    """Return a run's result in a sentence."""
    names = {
        "val_accuracy": "validation accuracy",
        "val_r2": "validation R²",
        "val_loss": "validation loss",
        "accuracy": "training accuracy",
    }
    name = next((name for name in names if name in results), "loss")
    best = f" (the best was epoch {results['best_epoch']})" if results["held_out"] else ""
    return (
        f"{names.get(name, 'training loss')} {results[name]:.4f} after {results['epochs']} epochs of "
        f"{results['seconds_per_epoch']} s{best}; "
        f"{results['parameters']:,} parameters; saved in {run.path}"
    )


def stem(data: str) -> str:
    """Return the name of the data."""
    return os.path.splitext(os.path.basename(data).removesuffix(".gz"))[0]


def _log(message: str) -> None:
    print(message, file=sys.stderr, flush=True)

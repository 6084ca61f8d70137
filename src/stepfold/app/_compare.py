"""The subcommand ``compare``: trains with several settings and seeds, and says which does best."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..estimators import PRESETS, RunError
from ._arguments import at_least, command_line, input_errors
from ._options import add_list, add_options, given_options
from ._show import cell_of_one_input
from ._train import SEED, add_source, check_options, check_source, read_source, stem

_SEEDS = 3


def add_compare(parser: argparse.ArgumentParser) -> None:
    """Add the subcommand's arguments to its parser."""
    parser.description = (
        "Train with every combination of the values given (cells, units, dropout, …) and with several seeds, "
        "side by side on all processors. Given again, the command goes on where it was interrupted."
    )
    add_source(parser)
    parser.add_argument(
        "--seeds", type=at_least(1, below=1000), metavar="N", default=_SEEDS,
        help=f"how many seeds for each setting, counted up from --seed ({_SEEDS})",
    )  # fmt: skip
    add_list(
        parser, "--preset", kind=tuple(PRESETS), dest="preset", default=argparse.SUPPRESS,
        help="for texts: what the options below begin with (standard); best takes minutes",
    )  # fmt: skip
    add_options(parser, lists=True)
    parser.add_argument(
        "--jobs", type=at_least(1), metavar="N", default=None,
        help="processes that train side by side (one a processor)",
    )  # fmt: skip
    parser.add_argument(
        "--dask", metavar="ADDRESS",
        help="train on the workers of this Dask scheduler, such as tcp://10.0.0.1:8786, instead",
    )  # fmt: skip
    parser.add_argument("--out", metavar="DIR", help="the comparison's folder (runs/DATA-comparison)")
    parser.add_argument("--overwrite", action="store_true", help="begin again with what is in that folder")
    parser.add_argument("--json", action="store_true", help="print the rows of the table as a line of JSON")
    parser.set_defaults(run=_compare)


def _compare(options: argparse.Namespace) -> int:
    check_source(options)
    grid: dict[str, list[Any]] = given_options(options)
    if hasattr(options, "preset"):
        grid = {"preset": options.preset, **grid}
    for cell in grid.get("cell", []):
        cell_of_one_input(cell)
    if 0 in grid.get("validation_split", []):
        raise RunError(
            "--validation-split 0 holds no examples out, by which settings are compared; give a share above 0"
        )
    folder = Path(options.out or os.path.join("runs", f"{stem(options.data)}-comparison"))
    examples = read_source(options)
    from .. import estimators

    kind = getattr(estimators, examples.kind)
    check_options(kind, grid)
    # What all settings share is a parameter; `tokens` follows from the data unless it is given.
    own = {"tokens": examples.tokens} if examples.tokens else {}
    estimator = kind(random_state=getattr(options, "seed", SEED), **{"validation_split": None, **own})
    with input_errors():
        comparison = estimators.compare(
            estimator,
            examples.inputs,
            examples.targets,
            grid,
            seeds=options.seeds,
            folder=folder,
            jobs=options.jobs,
            dask=options.dask,
            overwrite=options.overwrite,
            verbose=1,
        )
    for note in comparison.notes:
        print(f"note: {note}", file=sys.stderr)
    comparison.report(
        folder / "report.html",
        title=_title(options.data, grid),
        command=command_line(),
        data=stem(options.data),
    )
    for name, reason in comparison.failures.items():
        print(f"stepfold: failed: {name}: {reason}", file=sys.stderr)
    if options.json:
        print(json.dumps(comparison.to_dict()["rows"], ensure_ascii=False))
    else:
        print(f"{comparison}\n\nreport: {folder / 'report.html'}")
    return 1 if comparison.failures else 0


def _title(data: str, grid: Mapping[str, list[Any]]) -> str:
    varied = [name.replace("_", " ") for name, values in grid.items() if len(values) > 1]
    return f"{stem(data)}, by {', '.join(varied) or 'seed'}"

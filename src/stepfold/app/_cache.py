"""The subcommand ``cache``: show, clear and fill the cache of compiled kernels."""

import argparse
import functools
import sys
import time
import warnings
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np

import stepfold  # whose cells are traced when one is asked for

from .._cell import Cell
from .._defaults import default_sizes
from .._llvm import (
    CACHE_BOUND,
    FOLDER_VARIABLE,
    CacheFile,
    UntrustedError,
    cache_files,
    cache_folder,
    check_folder,
    clear_folder,
    load,
    support_kernel,
    support_names,
    target,
)
from .._runtime import Engine, other_sizes
from ..estimators import RunError
from ._arguments import at_least

_UNITS = (32, 64, 128)


def add_cache(parser: argparse.ArgumentParser) -> None:
    """Add the subcommand's arguments to its parser."""
    parser.set_defaults(run=_show)
    actions = parser.add_subparsers(metavar="[ACTION]", help="without any, show the folder and its size")
    clear = actions.add_parser("clear", help="remove all compiled kernels")
    clear.set_defaults(run=_clear)
    fill = actions.add_parser("fill", help="compile the kernels of built-in cells for this processor")
    fill.add_argument("cells", metavar="CELL", nargs="*", type=_cell, help="the cells' names (all)")
    fill.add_argument(
        "--units",
        metavar="N",
        nargs="+",
        type=at_least(1),
        default=_UNITS,
        help=f"units of a layer ({' '.join(map(str, _UNITS))})",
    )
    fill.add_argument(
        "--dtype", choices=("float32", "float64"), default="float32", help="dtype of the parameters (float32)"
    )
    fill.add_argument(
        "--size", metavar="AXIS=N", nargs="+", type=_size, default=[],
        help="the sizes of other axes of the cells, such as projection=32 (as many as units; order=16)",
    )  # fmt: skip
    fill.set_defaults(run=_fill)


def _size(text: str) -> tuple[str, int]:
    axis, equals, size = text.partition("=")
    if not equals or not axis.isidentifier() or not (size.isascii() and size.isdecimal() and int(size)):
        raise argparse.ArgumentTypeError(f"{text!r} is no size of an axis, such as projection=32")
    return axis, int(size)


def _cell(name: str) -> Cell:
    try:
        return stepfold.cells.by_name(name)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _show(options: argparse.Namespace) -> None:
    folder = _folder()
    files = cache_files(folder)
    print(f"folder   {folder}")
    print(f"entries  {sum(not file.temporary for file in files):,}")
    print(f"size     {_megabytes(files)}")
    print(f"bound    {CACHE_BOUND / 1e6:,.1f} MB")
    try:
        check_folder(folder)
    except UntrustedError as error:
        print(
            f"unused   {error}: delete the folder, or make it and what lies there yours alone with "
            "'chown -R' and 'chmod -R go-w'"
        )


def _clear(options: argparse.Namespace) -> None:
    folder = _folder()
    removed = clear_folder(folder)
    print(f"removed {len(removed):,} files of {_megabytes(removed)} from {folder}")


def _fill(options: argparse.Namespace) -> None:
    folder, began = _folder(), time.perf_counter()
    parts = [("for every cell", _load_support())]
    # inputs that are read element by element have sizes that nobody knows here
    every = [
        cell
        for cell in map(stepfold.cells.by_name, stepfold.cells.names())
        if "features" not in cell.step.own_axes
    ]
    for cell in options.cells or every:
        for units in options.units:
            sizes = _sizes(cell, units, dict(options.size))
            told = [f"{units} units", *(f"{axis} {size}" for axis, size in sizes.items())]
            name = f"{cell.name}, {', '.join(told)}, {options.dtype}"
            parts.append((name, _load_kernels(cell, units, options.dtype, sizes)))
    loaded = compiled = 0
    # That a kernel cannot be kept is a warning elsewhere. Here it is an error, for nothing else is asked for.
    with warnings.catch_warnings(action="error", category=RuntimeWarning):
        for k, (name, from_cache) in enumerate(parts, 1):
            try:
                found = list(from_cache)
            except RuntimeWarning as warning:
                raise RunError(str(warning)) from None
            loaded, compiled = loaded + len(found), compiled + found.count(False)
            progress = f"[{k}/{len(parts)}] {name}: {len(found)} kernels, {found.count(False)} compiled"
            print(progress, file=sys.stderr, flush=True)
    seconds = time.perf_counter() - began
    print(f"{loaded:,} kernels are in {folder}; {compiled:,} of them were compiled now, in {seconds:.1f} s")


def _load_support() -> Iterator[bool]:
    """Load the kernels that all cells use; yield for each whether it came from the cache."""
    on = target()
    for name in support_names(on):
        yield load(f"support {name}", on, functools.partial(support_kernel, name, on))[2]


def _sizes(cell: Cell, units: int, given: Mapping[str, int]) -> dict[str, int]:
    """The sizes of a cell's other axes: those given, else those by default."""
    step = cell.step.scanned
    axes = set(step.own_axes) - {"units"}
    sizes = {**default_sizes(cell, units), **{axis: size for axis, size in given.items() if axis in axes}}
    try:
        return dict(other_sizes(step, units, cell.step.scanned_sizes(sizes)))
    except ValueError as error:
        raise RunError(str(error).replace("give features=…", "give --size features=N")) from None


def _load_kernels(cell: Cell, units: int, dtype: str, sizes: Mapping[str, int]) -> Iterator[bool]:
    """Load the kernels that a cell may need; yield for each whether it came from the cache."""
    step = cell.step.scanned
    engine = Engine(step, units, np.dtype(dtype), sizes=other_sizes(step, units, sizes))
    kinds = ["infer", "train", "backward", "project", "table", "step", "rows"]
    if engine.ranks(1, 2) > 1:
        kinds.append("cooperative")
    if engine.plan.hoisting is not None:
        kinds.append("hoist")
    for kind in kinds:
        engine.kernel(kind)
        yield engine.from_cache[kind]


def _folder() -> Path:
    try:
        return cache_folder()
    except RuntimeError as error:
        reason = str(error).rstrip(".")
        raise RunError(f"the cache has no folder ({reason}); let {FOLDER_VARIABLE} name one") from None


def _megabytes(files: Iterable[CacheFile]) -> str:
    return f"{sum(file.size for file in files) / 1e6:,.1f} MB"

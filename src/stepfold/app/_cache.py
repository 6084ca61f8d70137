"""The subcommand ``cache``: show, clear and fill the cache of compiled kernels."""

import argparse
import functools
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np

from .. import cells
from .._cell import Cell
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
from .._runtime import Engine
from ..estimators import RunError

_UNITS = (32, 64, 128)


def add_cache(parser: argparse.ArgumentParser, units: Callable[[str], int]) -> None:
    """Add the subcommand's arguments to its parser; `units` turns text into a number of units."""
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
        type=units,
        default=_UNITS,
        help=f"units of a layer ({' '.join(map(str, _UNITS))})",
    )
    fill.add_argument(
        "--dtype", choices=("float32", "float64"), default="float32", help="dtype of the parameters (float32)"
    )
    fill.set_defaults(run=_fill)


def _cell(name: str) -> Cell:
    try:
        return cells.by_name(name)
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
    uniform = [cell for cell in map(cells.by_name, cells.names()) if cell.step.uniform]
    for cell in options.cells or uniform:
        for units in options.units:
            name = f"{cell.name}, {units} units, {options.dtype}"
            parts.append((name, _load_kernels(cell, units, options.dtype)))
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


def _load_kernels(cell: Cell, units: int, dtype: str) -> Iterator[bool]:
    """Load the kernels that a cell may need; yield for each whether it came from the cache."""
    engine = Engine(cell.step, units, np.dtype(dtype))
    kinds = ["infer", "train", "backward", "project", "table", "step", "rows"]
    if engine.ranks(1, 2) > 1:
        kinds.append("cooperative")
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

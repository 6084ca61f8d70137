"""The subcommands ``cells`` and ``show``: the built-in cells as text."""

from __future__ import annotations

import argparse
import re

import stepfold  # whose cells are traced when one is asked for

from .._cell import Cell
from .._defaults import check_one_input
from ..estimators import RunError
from ._arguments import at_least

_VIEWS = ("maths", "latex", "graph", "gradient", "llvm", "asm")
_OPTIONS = ("units", "features", "dtype", "target", "kernel")


def known_cell(name: str) -> Cell:
    """Return the built-in cell of that name; ``RunError`` if there is none."""
    try:
        return stepfold.cells.by_name(name)
    except ValueError as error:
        raise RunError(str(error)) from None


def cell_of_one_input(name: str) -> Cell:
    """Return the built-in cell of that name; ``RunError`` if there is none, or if it has several inputs."""
    found = known_cell(name)
    try:
        check_one_input(found)
    except ValueError as error:
        raise RunError(str(error)) from None
    return found


def add_cells(parser: argparse.ArgumentParser) -> None:
    """Set what ``cells`` runs."""
    parser.set_defaults(run=_cells)


def add_show(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``show`` to its parser."""
    parser.argument_default = argparse.SUPPRESS
    parser.add_argument("cell", metavar="CELL", help="the cell's name (see stepfold cells)")
    parser.add_argument(
        "view", metavar="VIEW", nargs="?", choices=_VIEWS, default="maths", help=f"one of {', '.join(_VIEWS)}"
    )
    parser.add_argument("--units", type=at_least(1), metavar="N", help="for maths, llvm and asm")
    parser.add_argument("--features", type=at_least(1), metavar="N", help="for maths")
    parser.add_argument("--dtype", metavar="NAME", help="float32 or float64; for llvm and asm")
    parser.add_argument("--target", metavar="NAME", help="the processor (host); for llvm and asm")
    parser.add_argument("--kernel", metavar="NAME", help="which of the kernels; for llvm and asm")
    parser.set_defaults(run=_show)


def _cells(options: argparse.Namespace) -> None:
    """Print the built-in cells, family by family: name, year, what it is. Equations: ``stepfold show``."""
    width = max(map(len, stepfold.cells.names()))
    for family, members in stepfold.cells.FAMILIES.items():
        print(family)
        for cell in members:
            line = (cell.__doc__ or "").partition("\n")[0]
            year = re.search(r"(?:19|20)\d\d", line)
            print(f"  {cell.name:<{width}}  {year[0] if year else '':4}  {line}")
        print()


def _show(options: argparse.Namespace) -> None:
    cell = known_cell(options.cell)
    given = {name: value for name, value in vars(options).items() if name in _OPTIONS}
    try:
        print(cell.show(options.view, **given))
    except (TypeError, ValueError) as error:  # an option or a value that this view does not take
        raise RunError(str(error)) from None

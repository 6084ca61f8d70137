"""What is chosen where nobody chooses: the sizes of a cell's other axes, on a command line or in an
estimator."""

from __future__ import annotations

from ._cell import Cell

_ORDER = 16


def default_sizes(cell: Cell, units: int) -> dict[str, int]:
    """Return the sizes of a cell's other axes than units and features: as many as the units, but 16 for the
    axis "order", the linear states of each unit of a state space."""
    axes = (axis for axis in cell.step.own_axes if axis not in ("units", "features"))
    return {axis: _ORDER if axis == "order" else units for axis in axes}


def check_one_input(cell: Cell) -> None:
    """ValueError for a cell with several inputs, where there is one sequence to read."""
    names = cell.step.input_names
    if cell.step.integers:
        raise ValueError(
            f"{cell.name} reads the integer {', '.join(cell.step.integers)}, and here is a sequence of "
            "vectors to read; choose a cell without, or run it with scan, Keras or PyTorch"
        )
    if len(names) > 1:
        raise ValueError(
            f"{cell.name} has the inputs {', '.join(names)}, and here is one sequence to read; choose a "
            "cell with one input, or run it with scan, Keras or PyTorch"
        )

"""Running a cell over a batch of sequences.

A `Recipe` says what is scanned and how its operands lie. For a recipe and a `Shape` a forward and a backward
program are recorded once (`_forward`, `_backward`; `_schedule` records how active steps are found and rows
cut into groups) and remembered (`_programs`); `Call` runs them on arrays. What the backward pass needs lies
in one buffer of residuals that describes itself (`_residuals`). `scan` and `record` are the surface for
NumPy."""

from ._api import Gradients, Run, record, scan
from ._backward import BackwardKey, Wanted
from ._call import Call
from ._checks import check_cell, checked_params, checked_sizes
from ._engine import Engine, engine_for
from ._forward import ForwardKey
from ._inputs import several
from ._programs import programs
from ._recipe import Part, Parts, Recipe, Sizes, other_sizes
from ._residuals import residuals_size
from ._run import (
    Operand,
    Threads,
    backward_operands,
    backward_program,
    backward_results,
    error_of,
    forward_operands,
    forward_program,
)
from ._shape import Shape
from ._timestep import MatrixGradient, OneTimestep, VectorGradient, one_timestep

__all__ = [
    "BackwardKey",
    "Call",
    "Engine",
    "ForwardKey",
    "Gradients",
    "MatrixGradient",
    "OneTimestep",
    "Operand",
    "Part",
    "Parts",
    "Recipe",
    "Run",
    "Shape",
    "Sizes",
    "Threads",
    "VectorGradient",
    "Wanted",
    "backward_operands",
    "backward_program",
    "backward_results",
    "check_cell",
    "checked_params",
    "checked_sizes",
    "engine_for",
    "error_of",
    "forward_operands",
    "forward_program",
    "one_timestep",
    "other_sizes",
    "programs",
    "record",
    "residuals_size",
    "scan",
    "several",
]

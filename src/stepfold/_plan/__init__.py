"""From a step's graph to the plan of its kernels: what leaves the time loop, the residuals, the stages."""

from ._lower import Place, Projection, is_projected, matrix_terms, place_of, start_of
from ._plan import Outer, Plan, plan
from ._stages import Arrangement, Slots, Stage, operand_place

__all__ = [
    "Arrangement",
    "Outer",
    "Place",
    "Plan",
    "Projection",
    "Slots",
    "Stage",
    "is_projected",
    "matrix_terms",
    "operand_place",
    "place_of",
    "plan",
    "start_of",
]

"""What a cell can remember: gradient flow, and the longest lag that it learns. The core and NumPy alone."""

from ._budget import Budget
from ._flow import gradient_flow
from ._lag import Attempt, LagResult, longest_lag
from ._probe import Piece, ProbeResult, probe

__all__ = [
    "Attempt",
    "Budget",
    "LagResult",
    "Piece",
    "ProbeResult",
    "gradient_flow",
    "longest_lag",
    "probe",
]

"""A cell over a batch of sequences, NumPy in and out."""

from ._memory import aligned, lend
from ._recurrence import KEPT_FORM, Recurrence, recurrence
from ._scan import Gradients, Run, checked_params, record, scan
from ._schedule import Schedule

__all__ = [
    "KEPT_FORM",
    "Gradients",
    "Recurrence",
    "Run",
    "Schedule",
    "aligned",
    "checked_params",
    "lend",
    "record",
    "recurrence",
    "scan",
]

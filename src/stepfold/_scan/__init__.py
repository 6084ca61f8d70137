"""A cell over a batch of sequences, NumPy in and out."""

from ._memory import address, aligned, lend
from ._moves import Params
from ._recurrence import KEPT_FORM, Recurrence, recurrence
from ._scan import Gradients, Run, checked_params, record, scan
from ._schedule import Schedule

__all__ = [
    "KEPT_FORM",
    "Gradients",
    "Params",
    "Recurrence",
    "Run",
    "Schedule",
    "address",
    "aligned",
    "checked_params",
    "lend",
    "record",
    "recurrence",
    "scan",
]

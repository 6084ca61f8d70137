"""A cell over a batch of sequences, NumPy in and out."""

from ._recurrence import Recurrence, recurrence
from ._scan import Gradients, Run, record, scan
from ._schedule import Schedule

__all__ = ["Gradients", "Recurrence", "Run", "Schedule", "record", "recurrence", "scan"]

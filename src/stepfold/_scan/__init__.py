"""A cell over a batch of sequences, NumPy in and out."""

from ._recurrence import Recurrence, recurrence
from ._schedule import Schedule

__all__ = ["Recurrence", "Schedule", "recurrence"]

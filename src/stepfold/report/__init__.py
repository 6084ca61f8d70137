"""Reports: plain data in, one HTML file out that needs no other file and no network.

Nothing here knows an estimator or a framework. matplotlib and jinja2 are imported when a report is written.
"""

from ._content import (
    ComparisonReport,
    ComparisonRow,
    EvaluationReport,
    GradientFlow,
    LagAttempt,
    LongestLag,
    MemoryReport,
    TrainingReport,
)
from ._page import (
    training_fragment,
    write_comparison_report,
    write_evaluation_report,
    write_memory_report,
    write_training_report,
)
from ._parts import Confusion, Epoch, Mistake, Predictions, Reading
from ._sentences import memory_sentence

__all__ = [
    "ComparisonReport",
    "ComparisonRow",
    "Confusion",
    "Epoch",
    "EvaluationReport",
    "GradientFlow",
    "LagAttempt",
    "LongestLag",
    "MemoryReport",
    "Mistake",
    "Predictions",
    "Reading",
    "TrainingReport",
    "memory_sentence",
    "training_fragment",
    "write_comparison_report",
    "write_evaluation_report",
    "write_memory_report",
    "write_training_report",
]

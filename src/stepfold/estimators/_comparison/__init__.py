"""Comparisons: a grid of settings, each trained with several seeds, side by side, interrupted and continued.

``_plan`` makes the list of runs, ``_folder`` knows which are done, ``_run`` trains them, ``_progress`` shows
them, ``_result`` ranks them.
"""

from ._compare import compare
from ._result import ComparedRun, ComparedSetting, Comparison

__all__ = ["ComparedRun", "ComparedSetting", "Comparison", "compare"]

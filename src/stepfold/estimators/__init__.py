"""Recurrent classifiers and regressors with scikit-learn's methods: the one way to train.

Keras does the training. If it was not imported before, and KERAS_BACKEND is not set, it runs on JAX, where
the kernels are fastest. The classes are imported on first use, since Keras takes seconds.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import TYPE_CHECKING, Any

from ._run import RunError, RunFolder
from ._settings import (
    CHOICES,
    PRESETS,
    SEQUENCES,
    TAUGHT,
    EnsembleSettings,
    Settings,
    TextSettings,
    changeable,
)

if TYPE_CHECKING:
    from ._blocks import outputs_of_blocks
    from ._comparison import Comparison, compare
    from ._evaluation import Evaluation, RegressionEvaluation, evaluate, evaluate_regression
    from ._load import load
    from ._report import evaluation_report
    from ._sequence import SequenceClassifier, SequenceRegressor
    from ._text import TextClassifier
    from ._training import TrainingError

_MODULES = {
    "Comparison": "._comparison",
    "Evaluation": "._evaluation",
    "RegressionEvaluation": "._evaluation",
    "compare": "._comparison",
    "evaluate": "._evaluation",
    "evaluate_regression": "._evaluation",
    "evaluation_report": "._report",
    "SequenceClassifier": "._sequence",
    "SequenceRegressor": "._sequence",
    "TextClassifier": "._text",
    "TrainingError": "._training",
    "load": "._load",
    "outputs_of_blocks": "._blocks",
}

__all__ = [
    "CHOICES",
    "PRESETS",
    "SEQUENCES",
    "TAUGHT",
    "Comparison",
    "EnsembleSettings",
    "Evaluation",
    "RegressionEvaluation",
    "RunError",
    "RunFolder",
    "SequenceClassifier",
    "SequenceRegressor",
    "Settings",
    "TextClassifier",
    "TextSettings",
    "TrainingError",
    "changeable",
    "compare",
    "evaluate",
    "evaluate_regression",
    "evaluation_report",
    "load",
    "outputs_of_blocks",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if "keras" not in sys.modules:
        os.environ.setdefault("KERAS_BACKEND", "jax")
    try:
        return getattr(importlib.import_module(_MODULES[name], __name__), name)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "stepfold":
            raise
        raise ModuleNotFoundError(
            f'the estimators need {error.name}, which is not installed: pip install "stepfold[app]"',
            name=error.name,
        ) from None

"""Loads whichever estimator a folder holds."""

from __future__ import annotations

from pathlib import Path

from ._run import RunError, RunFolder
from ._sequence import SequenceClassifier, SequenceRegressor
from ._text import TextClassifier

Estimator = TextClassifier | SequenceClassifier | SequenceRegressor
_CLASSES: dict[str, type[Estimator]] = {
    each.__name__: each for each in (TextClassifier, SequenceClassifier, SequenceRegressor)
}


def load(folder: str | Path) -> Estimator:
    """Return the estimator that ``save``, ``fit`` with a folder, or ``stepfold train`` left there.

    Raises:
        RunError: no saved estimator, or a damaged file.
        DataError: a damaged vocabulary.
    """
    run = RunFolder(folder)
    name = run.read_config()["estimator"]
    if name not in _CLASSES:
        raise RunError(
            f"{run.path} holds a {name!r}, which this version of stepfold has not; use the newer one"
        )
    return _CLASSES[name].load(folder)

"""A model for the commands that only run it: from a file, or from the folder of a run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from .. import load
from ..estimators import RunError, RunFolder
from ._arguments import input_errors

if TYPE_CHECKING:
    from ..model import Model


def open_model(path: str | Path) -> Model:
    """Return the model in a file FILE.safetensors, or of a run that `stepfold train` has written.

    A file needs no framework. The model is called like the file or the folder.

    Raises:
        RunError: there is neither, it is damaged, or it is a run that no Model can hold.
        DataError: a run with a damaged vocabulary.
    """
    path = Path(path)
    if path.is_dir():
        return _of_run(path)
    if not path.exists():
        raise RunError(f"{path} does not exist; give a model, FILE.safetensors, or the folder of a run")
    if path.suffix.lower() != ".safetensors":
        raise RunError(f"{path} is no model; give FILE.safetensors, or the folder that train wrote")
    with input_errors():
        return replace(load(path), name=path.stem)


def _of_run(path: Path) -> Model:
    RunFolder(path).read_config()  # a folder that is no run is found out before Keras is imported

    from ..estimators import load as load_estimator

    estimator = load_estimator(path)
    with input_errors():
        return replace(estimator.to_model(), name=path.resolve().name)

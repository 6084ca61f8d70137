"""What to do where a framework cannot be imported."""

from __future__ import annotations


def missing(extra: str, error: ModuleNotFoundError) -> ModuleNotFoundError:
    """Return the error of `stepfold.keras` or `stepfold.torch` in place of that of an import which found no
    module; `extra` is what brings it. What is not the framework or its backend stays as it was."""
    name = (error.name or "").partition(".")[0]
    if name == extra:
        text = f'stepfold.{extra} needs {name}, which is not installed: pip install "stepfold[{extra}]"'
    elif extra == "keras" and name in ("jax", "tensorflow", "torch"):
        text = (
            f"Keras looks for the backend {name}, which is not installed; set KERAS_BACKEND=jax before Keras "
            'is imported, and have JAX: pip install "stepfold[keras]"'
        )
    else:
        return error
    return ModuleNotFoundError(text, name=error.name)

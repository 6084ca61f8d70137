"""`load`, `export` and `from_onnx`: models from and to files; what these need is imported on first use."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .model import Model
    from .onnx import OnnxModel


def load(path: str | Path) -> Model:
    """Return the model in a file that `export` wrote, ready to predict: `load(path).predict(texts)`.

    It needs NumPy, llvmlite and safetensors, and no framework. Nothing of the file is run.

    Raises:
        ModelError: the file holds no model, or one that is damaged; a ValueError.
        OSError: the file cannot be read.
        ImportError: safetensors is not installed.
    """
    from .model import read_model

    return read_model(path)


def export(model: Any, path: str | Path, *, weights: str = "f32") -> None:
    """Write a model to a file, which `load` or, as ONNX, other runtimes read.

    Args:
        model: a `stepfold.model.Model`, a Keras model, a PyTorch module, or a fitted estimator.
        path: `….safetensors` or `….onnx`; the suffix says which.
        weights: for safetensors how matrices and tables are stored: "f32" as they are, "bf16" or "int8".

    Raises:
        ValueError: another suffix, or a part of the model that no file can hold; the message names it.
        TypeError: something else than a model.
        OSError: the file cannot be written.
        ImportError: the library that the file needs is not installed.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in (".safetensors", ".onnx"):
        raise ValueError(f"the name of the file must end with .safetensors or .onnx, not {Path(path).name!r}")
    if suffix == ".onnx" and weights != "f32":
        raise ValueError(f"weights={weights!r} is for .safetensors; leave it out for .onnx")
    found = _model(model)
    if suffix == ".onnx":
        import_module(".onnx", __package__).write_onnx(found, path)
    else:
        from .model import write_model

        write_model(found, path, weights)  # type: ignore[arg-type]  # it checks them


def from_onnx(source: str | Path | Any) -> OnnxModel:
    """Return a model that runs an ONNX model of RNN, LSTM and GRU nodes: `from_onnx(path).run({"x": x})`.

    Args:
        source: a path, or an `onnx.ModelProto`.

    Raises:
        OnnxError: the file is no ONNX model, damaged, or has an operator, an attribute or an element type
            that is not served; a ValueError, which names the node.
        OSError: the file cannot be read.
        ImportError: the package onnx is not installed.
    """
    found: OnnxModel = import_module(".onnx", __package__).from_onnx(source)
    return found


def _model(model: Any) -> Model:
    """Return whatever was given as a Model; a framework that is not imported cannot have made it."""
    from .model import Model

    if isinstance(model, Model):
        return model
    found: Any
    keras, torch = sys.modules.get("keras"), sys.modules.get("torch")
    # Keras first: on its torch backend, its layers are PyTorch modules too.
    if keras is not None and isinstance(model, keras.Layer):
        found = import_module(".keras", __package__).to_model(model)
    elif torch is not None and isinstance(model, torch.nn.Module):
        found = import_module(".torch", __package__).to_model(model)
    elif not isinstance(model, type) and hasattr(model, "to_model"):
        found = model.to_model()
    else:
        raise TypeError(
            f"{type(model).__name__} is no model; give a stepfold Model, a Keras model, a PyTorch module "
            "or a fitted estimator, or for the folder of a run: stepfold export RUN model.safetensors"
        )
    return found  # type: ignore[no-any-return]

"""`accelerate` and `restore`: the recurrent layers of a model swapped for the compiled ones, and back."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras

from .._accelerated import Accelerated
from ._cells import borrowed
from ._embedding import Embedding
from ._layer import CompiledRNN
from ._layers import GRU, LSTM, SimpleRNN
from ._rnn import RNN

_SWAPS: dict[type, type] = {
    keras.layers.SimpleRNN: SimpleRNN,
    keras.layers.LSTM: LSTM,
    keras.layers.GRU: GRU,
    keras.layers.RNN: RNN,
    keras.layers.Embedding: Embedding,
}
_BACK = {ours: theirs for theirs, ours in _SWAPS.items()}
_FUNCTIONS = ("train_function", "test_function", "predict_function")


def accelerate(model: Any) -> Any:
    """Swap every SimpleRNN, LSTM, GRU, RNN and Embedding of a model for stepfold's, in place; return the
    model.

    `model`: a Sequential, functional or subclassed model, or one layer; layers in wrappers, in other models,
    in lists and in attributes are found too. They stay the same objects, with the same weights and names, so
    optimizers, compiled models and checkpoints go on working; only what runs is another.
    `print(model.report)` says what was swapped, and what was left and why. What was compiled by hand
    (`jax.jit`, `torch.compile`) before must be compiled again. `restore` goes back.
    """
    report = Accelerated()
    for name, layer in _named_layers(model):
        reason = _reason_to_leave(layer)
        if reason is not None:
            report.left[name] = reason
        elif type(layer) in _SWAPS:
            layer.__class__ = _SWAPS[type(layer)]
            if isinstance(layer, Embedding):
                layer.dropout, layer.seed = 0.0, None
            report.swapped.append(name)
    _forget_compiled(model)
    model.report = report
    return model


def restore(model: Any) -> Any:
    """Make every stepfold SimpleRNN, LSTM, GRU, RNN and Embedding of a model Keras's again, in place; return
    the model.

    Weights and names stay. ValueError, before anything is changed, that names the layers which Keras has not:
    `Recurrent`, `WithMask`, an Embedding with dropout, ….
    """
    own = [(name, layer) for name, layer in _named_layers(model) if _is_ours(layer)]
    stay = [name for name, layer in own if type(layer) not in _BACK or getattr(layer, "seed_generator", None)]
    if stay:
        names = ", ".join(name or "the layer itself" for name in stay)
        raise ValueError(f"Keras has no layer for {names}; they stay stepfold's, and nothing was changed")
    for _, layer in own:
        layer.__class__ = _BACK[type(layer)]
        if isinstance(layer, keras.layers.Embedding):
            del layer.dropout, layer.seed
    _forget_compiled(model)
    model.__dict__.pop("report", None)
    return model


def _is_ours(layer: Any) -> bool:
    return type(layer).__module__.startswith(f"{__package__}.")


def _named_layers(model: Any) -> Iterator[tuple[str, Any]]:
    """Yield the layers of a model with their names, a shared one once; the model itself first, as ""."""
    seen: set[int] = set()
    waiting = [("", model)]
    while waiting:
        name, layer = waiting.pop()
        if id(layer) in seen:
            continue
        seen.add(id(layer))
        yield name, layer
        if not isinstance(layer, keras.layers.RNN):  # its cells are its own
            inner = [(f"{name}/{each.name}" if name else each.name, each) for each in layer._layers]
            waiting.extend(reversed(inner))


def _forget_compiled(model: Any) -> None:
    """Have `fit`, `evaluate` and `predict` compile again."""
    for _, layer in _named_layers(model):
        if isinstance(layer, keras.Model):
            for function in _FUNCTIONS:
                setattr(layer, function, None)
            if keras.backend.backend() == "tensorflow":  # whose XLA cannot call the kernels
                layer.jit_compile = False


def _reason_to_leave(layer: Any) -> str | None:
    if isinstance(layer, CompiledRNN):
        return None
    if borrowed(layer) is not None or isinstance(layer, keras.layers.StackedRNNCells):
        return f"{type(layer).__name__} computes one timestep; the loop around it is the model's own"
    if not isinstance(layer, (keras.layers.RNN, keras.layers.Embedding)) or isinstance(layer, Embedding):
        return None
    if type(layer) not in _SWAPS:
        if type(layer).__module__.startswith("keras."):
            return f"no kernel serves {type(layer).__name__}"
        return f"{type(layer).__name__} is a class of its own, which may compute something else"
    if isinstance(layer, keras.layers.Embedding):
        return None
    found: str | None = _SWAPS[type(layer)].unsupported_reason(layer)  # type: ignore[attr-defined]
    return found

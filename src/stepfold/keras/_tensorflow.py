"""The scan in TensorFlow, eager or under `tf.function`: a Python function that the graph calls, with a
derivative of its own.

TensorFlow's XLA (`jit_compile`) cannot call Python, so layers on this backend say `supports_jit = False`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from .._runtime import Call, Recipe, engine_for
from ._tokens import Operands, is_training


def scan(recipe: Recipe, sequences: bool, given: Operands) -> tuple[Any, tuple[Any, ...]]:
    """Run a recipe over a batch; returns (outputs or None, last states)."""
    scanned = _Scan(recipe, sequences, is_training.get(), given)
    found = list(scanned(*scanned.floats))
    return found.pop(0) if sequences else None, tuple(found)


def unsupported_reason(array: Any) -> str | None:
    """Return why the kernels cannot run, None if they can."""
    if tf.config.list_logical_devices("GPU"):
        return "TensorFlow computes on a GPU, and the kernels are for CPUs"
    return None


class _Scan:
    """One call of a layer: which operands there are, and what TensorFlow is to call."""

    def __init__(self, recipe: Recipe, sequences: bool, training: bool, given: Operands) -> None:
        self._recipe, self._sequences, self._training = recipe, sequences, training
        self._structure = given
        flat = tf.nest.flatten(given)
        self._floating = [value is not None and value.dtype.is_floating for value in flat]
        self.floats = [value for value, floating in zip(flat, self._floating, strict=True) if floating]
        self._others = [
            value
            for value, floating in zip(flat, self._floating, strict=True)
            if value is not None and not floating
        ]
        self._dtype = given.inputs.dtype
        time = given.inputs if given.tokens is None else given.tokens
        batch, units = time.shape[0], recipe.units
        self._shapes: list[tuple[Any, ...]] = [(batch, units) for _ in recipe.step.states]
        if sequences:
            self._shapes.insert(0, (batch, time.shape[1], units))

    def __call__(self, *floats: Any) -> Any:
        """Return [outputs] and last states, which can be derived once."""
        return tf.custom_gradient(self._with_gradient)(*floats)

    def _with_gradient(self, *floats: Any) -> tuple[Any, Any]:
        results, residuals = self._forward(floats, self._training)

        def gradient(*arriving: Any) -> list[Any]:
            # without training nothing was saved: run again
            saved = residuals if residuals is not None else self._forward(floats, True)[1]
            given = [saved, *arriving, *floats, *self._others]
            found = _called(self._run_backward, given, [self._dtype] * len(floats))
            for value, like in zip(found, floats, strict=True):
                value.set_shape(like.shape)
            return found

        return results, gradient

    def _forward(self, floats: Any, training: bool) -> tuple[list[Any], Any]:
        dtypes = [self._dtype] * len(self._shapes) + [tf.uint8] * training

        def run(*arrays: Any) -> list[Any]:
            found = self._call(arrays).forward(outputs=self._sequences, training=training)
            results = [*([found.outputs] if self._sequences else []), *found.last]
            return [*results, found.residuals] if training else results

        found = _called(run, [*floats, *self._others], dtypes)
        residuals = found.pop() if training else None
        for value, shape in zip(found, self._shapes, strict=True):
            value.set_shape(shape)
        return found, residuals

    def _call(self, arrays: Any) -> Call:
        """The call of the kernels for the arrays of the floats and of the others."""
        floats, others = iter(arrays[: len(self.floats)]), iter(arrays[len(self.floats) :])
        flat = [
            None if value is None else next(floats if floating else others)
            for value, floating in zip(tf.nest.flatten(self._structure), self._floating, strict=True)
        ]
        given = Operands(*tf.nest.pack_sequence_as(self._structure, flat))
        engine = engine_for(self._recipe.step, self._recipe.units, given.inputs.dtype)
        return Call(
            engine, self._recipe, given.inputs, given.weights, given.tokens, given.mask, given.initial,
            given.extra, given.side,
        )  # fmt: skip

    def _run_backward(self, residuals: Any, *arrays: Any) -> list[Any]:
        count = len(self._shapes)
        arriving, call = list(arrays[:count]), self._call(arrays[count:])
        found = call.backward(
            np.ascontiguousarray(residuals),
            output_gradient=arriving.pop(0) if self._sequences else None,
            last_gradients=arriving,
        )
        no_extra = [np.zeros_like(value) for value in call.extra]
        initial = found.initial if self._recipe.initial else []
        side = [] if found.side is None else [found.side]
        return [found.inputs, *side, *initial, *no_extra, *found.weights]


def _called(function: Callable[..., list[Any]], arrays: list[Any], dtypes: list[Any]) -> list[Any]:
    """Call a function of NumPy arrays; what it returns is always a list, of one tensor too."""
    return list(tf.nest.flatten(tf.numpy_function(function, arrays, dtypes)))

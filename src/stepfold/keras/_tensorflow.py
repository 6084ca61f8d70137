"""The scan in TensorFlow, eager or under `tf.function`: a Python function that the graph calls, with a
derivative of its own; the derivative of that is a loop of TensorFlow's operations.

TensorFlow's XLA (`jit_compile`) and a SavedModel cannot call Python: there Keras's own loop is traced, and in
`fit` layers on this backend say `supports_jit = False`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import numpy as np
import tensorflow as tf

from .._runtime import Call, Recipe, engine_for
from .._warn import warn_once
from ._tensorflow_loop import Template, operands_of, second_derivatives
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
    return None if tf.executing_eagerly() else _traced_for()


_EXPORTS = ("keras.src.export", "tensorflow.python.saved_model", "tensorflow.lite")
_FUNCTIONS = "tensorflow.python.eager.polymorphic_function.polymorphic_function"


def _traced_for() -> str | None:
    """Return why a graph that is being traced cannot call Python, None if it can."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        module = frame.f_globals.get("__name__", "")
        if module.startswith(_EXPORTS):
            return "a model that is exported runs where there is no Python"
        if module == _FUNCTIONS and getattr(frame.f_locals.get("self"), "_jit_compile", None):
            return "TensorFlow's XLA (jit_compile) cannot call Python"
        frame = frame.f_back
    return None


class _Scan:
    """One call of a layer: which operands there are, and what TensorFlow is to call."""

    def __init__(self, recipe: Recipe, sequences: bool, training: bool, given: Operands) -> None:
        self._recipe, self._sequences, self._training = recipe, sequences, training
        flat = tf.nest.flatten(given)
        self._template: Template = tf.nest.map_structure(
            lambda value: None if value is None else bool(value.dtype.is_floating), given
        )
        self.floats = [value for value in flat if value is not None and value.dtype.is_floating]
        self._others = [value for value in flat if value is not None and not value.dtype.is_floating]
        self._dtype = given.dtype
        batch, time = given.by_step.shape[:2]
        self._shapes: list[tuple[Any, ...]] = [(batch, *shape) for shape in recipe.state_shapes]
        if sequences:
            self._shapes.insert(0, (batch, time, *recipe.output_shape))

    def __call__(self, *floats: Any) -> Any:
        """Return [outputs] and last states, which can be derived as often as wanted."""
        return tf.custom_gradient(self._with_gradient)(*floats)

    def _with_gradient(self, *floats: Any) -> tuple[Any, Any]:
        results, residuals = self._forward(floats, self._training)

        def gradient(*arriving: Any) -> Any:
            # without training nothing was saved: run again
            saved = residuals if residuals is not None else self._forward(floats, True)[1]

            def backward(*given: Any) -> tuple[Any, Any]:
                return self._backward_with_gradient(saved, *given)

            return tf.custom_gradient(backward)(*arriving, *floats)

        return results, gradient

    def _backward_with_gradient(self, residuals: Any, *given: Any) -> tuple[Any, Any]:
        """Return the gradients of the floats, of (gradients that arrive, floats), and what derives them."""
        count = len(self._shapes)
        floats = given[count:]
        found = _called(self._run_backward, [residuals, *given, *self._others], [self._dtype] * len(floats))
        for value, like in zip(found, floats, strict=True):
            value.set_shape(like.shape)

        def second(*cotangents: Any) -> Any:
            warn_once(
                "stepfold has no fused kernel for second derivatives yet: a loop of TensorFlow's operations "
                "computes them, timestep by timestep"
            )
            derived = second_derivatives(self._recipe, self._sequences, self._template)
            return derived(floats, self._others, given[:count], cotangents)

        return found, second

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
        count = len(self.floats)
        given = operands_of(self._template, arrays[:count], arrays[count:])
        engine = engine_for(self._recipe.step, self._recipe.units, given.dtype, self._recipe.sizes)
        return Call(
            engine, self._recipe, given.inputs, given.weights, given.tokens, given.mask, given.initial,
            given.extra, given.side, named=given.named,
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
        own = [value for value in (found.inputs, found.side) if value is not None]
        return [*own, *found.named, *initial, *no_extra, *found.weights]


def _called(function: Callable[..., list[Any]], arrays: list[Any], dtypes: list[Any]) -> list[Any]:
    """Call a function of NumPy arrays; what it returns is always a list, of one tensor too."""
    return list(tf.nest.flatten(tf.numpy_function(function, arrays, dtypes)))

"""The layer that every other one here is: Keras's RNN with a compiled scan in place of its loop."""

from __future__ import annotations

import importlib
import warnings
from contextvars import ContextVar
from typing import Any, NamedTuple

import keras
from keras import ops

from .._notes import note_of
from .._runtime import Parts, Recipe, Sizes
from .._step import Step
from .._warn import SlowPathWarning
from ._tokens import Operands, Tokens, is_training

_BACKENDS = {"jax": "._jax", "torch": "._torch", "tensorflow": "._tensorflow", "numpy": "._numpy"}

_from_zero: ContextVar[bool] = ContextVar("from_zero", default=False)
"""Whether the call under way begins at the zero state."""


class Feed(NamedTuple):
    """What a layer hands to the scan: the step, weights and where parameters lie in them, the input without
    a name (None: there is none), extra leaves, inputs with a name, the sizes of other axes than the units,
    and the tokens that the input without a name is instead."""

    step: Step
    parts: Parts
    weights: tuple[Any, ...]
    inputs: Any
    extra: dict[tuple[str, str], Any]
    named: tuple[Any, ...] = ()
    sizes: Sizes = ()
    tokens: Tokens | None = None


class CompiledRNN(keras.layers.RNN):  # type: ignore[misc]
    """`keras.layers.RNN` whose loop is one compiled kernel forward and one back.

    Input (batch, time, features). The recurrence runs in float32, in float64 if that is the layer's dtype;
    with a half-precision policy the inputs, weights and results are rounded as Keras rounds them, the sums
    between are not. A masked timestep keeps the state, and its output is the state. Where no kernel can serve
    (a GPU, an activation that stepfold has not) Keras's own loop runs, and one
    SlowPathWarning says why. `unroll` changes nothing.
    """

    @property
    def supports_jit(self) -> bool:
        """Whether the backend's compiler can compile the layer: TensorFlow's cannot."""
        return str(keras.backend.backend()) != "tensorflow"

    @supports_jit.setter
    def supports_jit(self, value: bool) -> None:
        """Remember what Keras says of its own layer, for `restore`."""
        self.__dict__["supports_jit"] = value

    def units_of_state(self) -> int:
        """The number of units, the same for every state."""
        return int(self.state_size[0])

    def feed(self, sequences: Any, initial_state: list[Any], training: bool) -> Feed:
        """Return what the scan needs; `inputs` is `sequences` itself unless something was done to it."""
        raise NotImplementedError

    def unsupported_reason(self) -> str | None:
        """Return why no kernel serves the layer as it is configured, None if one does."""
        return None

    def keras_loop(self, sequences: Any, initial_state: list[Any], mask: Any, training: bool) -> Any:
        """Run Keras's own loop; returns what `inner_loop` does."""
        return super().inner_loop(sequences, initial_state, mask, training=training)

    def call(
        self, sequences: Any, initial_state: Any = None, mask: Any = None, training: bool = False
    ) -> Any:
        """Return what `keras.layers.RNN` returns for sequences (batch, time, features)."""
        token = _from_zero.set(initial_state is None and not self.stateful)
        try:
            return super().call(sequences, initial_state=initial_state, mask=mask, training=training)
        finally:
            _from_zero.reset(token)

    def inner_loop(self, sequences: Any, initial_state: Any, mask: Any, training: bool | None = False) -> Any:
        """Return (last output, outputs, last states), as `keras.layers.RNN.inner_loop` does."""
        training = bool(training)
        if isinstance(mask, (list, tuple)):
            mask = mask[0]
        initial_state = list(initial_state) if isinstance(initial_state, (list, tuple)) else [initial_state]
        reason = self._unsupported(sequences)
        if reason is not None:
            self._warn(reason)
            return self.keras_loop(sequences, initial_state, mask, training)
        token = is_training.set(training)
        try:
            return self.run_kernels(sequences, initial_state, mask, training)
        finally:
            is_training.reset(token)

    def run_kernels(self, sequences: Any, initial_state: list[Any], mask: Any, training: bool) -> Any:
        """Run the kernels; returns what `inner_loop` does."""
        feed = self.feed(sequences, initial_state, training)
        outputs, states = self.scan(
            feed, self.units_of_state(), sequences, initial_state, mask, self.return_sequences
        )
        return self.as_keras(outputs, states, mask)

    def scan(
        self, feed: Feed, units: int, sequences: Any, initial_state: list[Any], mask: Any, all_outputs: bool
    ) -> tuple[Any, tuple[Any, ...]]:
        """Run a step over sequences by the kernels; returns (outputs or None, last states)."""
        dtype = keras.backend.standardize_dtype(sequences.dtype)
        dtype = dtype if "float" in dtype else self.compute_dtype  # integers, which choose rows of parameters
        dtype = "float64" if dtype == "float64" else "float32"
        inputs, ids, side = feed.inputs, None, None
        tokens = note_of(sequences, Tokens) if feed.inputs is sequences else None
        if feed.tokens is not None:
            ids, inputs, side = feed.tokens
        elif tokens is not None and keras.backend.standardize_dtype(tokens.table.dtype) == dtype:
            ids, inputs, side = tokens
        recipe = Recipe(
            feed.step,
            units,
            feed.parts,
            len(feed.weights),
            reverse=self.go_backwards,
            tokens=ids is not None,
            side=side is not None,
            active="all" if mask is None else "mask",
            initial=not _from_zero.get(),
            extra=tuple(feed.extra),
            sizes=feed.sizes,
        )
        found: tuple[Any, tuple[Any, ...]] = self._backend().scan(
            recipe,
            all_outputs,
            Operands(
                None if inputs is None else ops.cast(inputs, dtype),
                ids,
                None if side is None else ops.cast(side, dtype),
                tuple(ops.cast(value, dtype) for value in feed.named),
                None if mask is None else ops.cast(mask, "bool"),
                tuple(ops.cast(state, dtype) for state in initial_state if recipe.initial),
                tuple(ops.cast(value, dtype) for value in feed.extra.values()),
                tuple(ops.cast(weight, dtype) for weight in feed.weights),
            ),
        )
        return found

    def as_keras(self, outputs: Any, states: tuple[Any, ...], mask: Any) -> Any:
        """Return Keras's order of outputs (as they were computed), and its zeros at masked timesteps."""
        last = states[0]
        zeros = self.zero_output_for_mask and mask is not None
        if zeros:
            mask = ops.cast(mask, "bool")
            last = ops.where(mask[:, 0 if self.go_backwards else -1, None], last, ops.zeros_like(last))
        if outputs is None:
            return last, last[:, None], list(states)
        if zeros:
            outputs = ops.where(mask[:, :, None], outputs, ops.zeros_like(outputs))
        return last, ops.flip(outputs, axis=1) if self.go_backwards else outputs, list(states)

    def _backend(self) -> Any:
        return importlib.import_module(_BACKENDS[keras.backend.backend()], __package__)

    def _unsupported(self, sequences: Any) -> str | None:
        backend = keras.backend.backend()
        if backend not in _BACKENDS:
            return f"the kernels serve Keras's backends {', '.join(_BACKENDS)}, and this is {backend}"
        reason: str | None = self._backend().unsupported_reason(sequences) or self.unsupported_reason()
        return reason

    def _warn(self, reason: str) -> None:
        if getattr(self, "_warned", None) != reason:
            self._warned = reason
            text = (
                f"{type(self).__name__} {self.name!r} runs Keras's own loop, not a compiled kernel: {reason}"
            )
            warnings.warn(text, SlowPathWarning, stacklevel=2)

"""The nodes RNN, LSTM and GRU of an ONNX model, run by `scan`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .._cell import Cell
from .._native import Array
from .._runtime import scan
from ._activations import Activation, activations_of
from ._errors import OnnxError
from ._operators import GATES
from ._tensors import checked_size
from ._variants import gru_cell, lstm_cell, rnn_cell

_INPUTS = {
    "RNN": ("X", "W", "R", "B", "sequence_lens", "initial_h"),
    "GRU": ("X", "W", "R", "B", "sequence_lens", "initial_h"),
    "LSTM": ("X", "W", "R", "B", "sequence_lens", "initial_h", "initial_c", "P"),
}
_COMMON = {"activation_alpha", "activation_beta", "activations", "clip", "direction", "hidden_size", "layout"}
ATTRIBUTES = {
    "RNN": _COMMON,
    "GRU": _COMMON | {"linear_before_reset"},
    "LSTM": _COMMON | {"input_forget"},
}
"""The attributes of each operator."""

_TYPES: Mapping[str, type] = {
    "activation_alpha": list,
    "activation_beta": list,
    "activations": list,
    "clip": float,
    "direction": str,
}
"""Of the attributes; the others are integers."""

_DEFAULTS = {"RNN": ["Tanh"], "GRU": ["Sigmoid", "Tanh"], "LSTM": ["Sigmoid", "Tanh", "Tanh"]}
_REVERSED = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}
_PEEPHOLES = ("i", "o", "f")


@dataclass(frozen=True)
class RecurrentNode:
    """A node RNN, LSTM or GRU by its attributes.

    Args:
        kind: the operator.
        where: how errors name the node.
        activations: of one direction after the other.
        reversed: for each direction whether it reads in reverse.
        units: `hidden_size`, None if the weights say it.
        threshold: what arguments of activations are clipped to; None: nothing.
        batch_first: whether the layout is 1.
        flag: `linear_before_reset` of a GRU, `input_forget` of an LSTM.
    """

    kind: str
    where: str
    activations: tuple[Activation, ...]
    reversed: tuple[bool, ...]
    units: int | None
    threshold: float | None
    batch_first: bool
    flag: bool

    @classmethod
    def from_attributes(cls, kind: str, given: Mapping[str, Any], where: str) -> RecurrentNode:
        """Return the node; OnnxError, which names the attribute, for a value that is not served."""
        for name, value in given.items():
            if not isinstance(value, _TYPES.get(name, int)):
                raise OnnxError(f"{where}: the attribute {name} is {value!r}, which is not of its type")
        direction = given.get("direction", "forward")
        if direction not in _REVERSED:
            raise OnnxError(f"{where}: direction must be one of {', '.join(_REVERSED)}, not {direction!r}")
        layout = given.get("layout", 0)
        if layout not in (0, 1):
            raise OnnxError(f"{where}: layout must be 0 or 1, not {layout!r}")
        directions = _REVERSED[direction]
        names = given.get("activations") or _DEFAULTS[kind] * len(directions)
        if len(names) != len(_DEFAULTS[kind]) * len(directions):
            raise OnnxError(
                f"{where}: activations has {len(names)} names, expected {len(_DEFAULTS[kind])} for each "
                f"of {len(directions)} direction(s)"
            )
        alphas, betas = given.get("activation_alpha", []), given.get("activation_beta", [])
        threshold = given.get("clip")
        if threshold is not None and not 0 < threshold < math.inf:
            raise OnnxError(f"{where}: clip must be a positive number, not {threshold!r}")
        units = given.get("hidden_size")
        if units is not None and units < 1:
            raise OnnxError(f"{where}: hidden_size must be a positive integer, not {units!r}")
        return cls(
            kind=kind,
            where=where,
            activations=tuple(activations_of(names, alphas, betas, where)),
            reversed=directions,
            units=units,
            threshold=threshold,
            batch_first=layout == 1,
            flag=bool(given.get("linear_before_reset", 0) or given.get("input_forget", 0)),
        )

    def __call__(self, inputs: Sequence[Array | None]) -> list[Array]:
        """Compute Y, Y_h and, of an LSTM, Y_c from the operator's inputs in order; None: left out."""
        named = dict(zip(_INPUTS[self.kind], [*inputs, *[None] * 8], strict=False))
        x, lengths, states = self._checked(named)
        batch, time = x.shape[:2]
        checked_size((batch, time, len(self.reversed), named["R"].shape[-1]), self.where)  # type: ignore[union-attr]
        sequences, last = [], []
        for k, reverse in enumerate(self.reversed):
            cell, params = self._cell_and_params(k, named)
            outputs, *ends = scan(
                cell,
                x,
                params,
                initial_state=[state[k] for state in states],
                lengths=lengths,
                reverse=reverse,
                return_sequences=True,
                return_state=True,
            )
            if lengths is not None:  # after the end of a sequence ONNX Runtime gives zeros
                outputs = np.where((np.arange(time) < lengths[:, None])[:, :, None], outputs, 0)
            sequences.append(outputs.astype(x.dtype, copy=False))
            last.append(ends)
        if self.batch_first:
            ends_by_state = [np.stack(each, axis=1) for each in zip(*last, strict=True)]
            return [np.stack(sequences, axis=2), *ends_by_state]  # (B, T, D, H), (B, D, H)
        outputs = np.stack(sequences).transpose(2, 0, 1, 3)  # (T, D, B, H)
        return [outputs, *(np.stack(each) for each in zip(*last, strict=True))]

    def _checked(self, named: Mapping[str, Array | None]) -> tuple[Array, Array | None, list[Array]]:
        """Check all shapes; return X (batch, time, features), the lengths, and the first states, each
        (directions, batch, units)."""
        x, r = self._needed(named, "X"), self._needed(named, "R")
        self._needed(named, "W")
        if x.ndim != 3:
            raise OnnxError(f"{self.where}: X has shape {x.shape}, expected (time, batch, features)")
        x = x if self.batch_first else x.swapaxes(0, 1)
        units = self.units or r.shape[-1] if r.ndim else 0
        gates, directions = len(GATES[self.kind]), len(self.reversed)
        batch, _, features = x.shape
        expected = {
            "W": (directions, gates * units, features),
            "R": (directions, gates * units, units),
            "B": (directions, 2 * gates * units),
            "P": (directions, 3 * units),
            "sequence_lens": (batch,),
        }
        state = (batch, directions, units) if self.batch_first else (directions, batch, units)
        expected |= {"initial_h": state, "initial_c": state}
        for name, value in named.items():
            if value is None or name == "X":
                continue
            if value.shape != expected[name]:
                raise OnnxError(f"{self.where}: {name} has shape {value.shape}, expected {expected[name]}")
            if name != "sequence_lens" and value.dtype != x.dtype:
                raise OnnxError(f"{self.where}: {name} is {value.dtype}, but X is {x.dtype}")
        if x.dtype not in (np.float32, np.float64):
            raise OnnxError(f"{self.where}: X must be float32 or float64, not {x.dtype}")
        states = []
        for name in ("initial_h", "initial_c") if self.kind == "LSTM" else ("initial_h",):
            given = named[name]
            if given is None:
                given = np.zeros((directions, batch, units), x.dtype)
            elif self.batch_first:
                given = given.swapaxes(0, 1)
            states.append(given)
        return x, named["sequence_lens"], states

    def _needed(self, named: Mapping[str, Array | None], name: str) -> Array:
        found = named[name]
        if found is None:
            raise OnnxError(f"{self.where}: the input {name} is missing")
        return found

    def _cell_and_params(self, k: int, named: Mapping[str, Array | None]) -> tuple[Cell, dict[str, Array]]:
        """The cell of direction `k` and its parameters."""
        w, r = self._needed(named, "W")[k], self._needed(named, "R")[k]
        gates, units = GATES[self.kind], r.shape[-1]
        b = named["B"]
        shape = 2, len(gates), units
        biases = np.zeros(shape, w.dtype) if b is None else b[k].reshape(shape)
        params: dict[str, Array] = {}
        for g, gate in enumerate(gates):
            end, rows = f"_{gate}" if gate else "", slice(g * units, (g + 1) * units)
            params |= {f"W{end}": w[rows], f"U{end}": r[rows], f"b{end}": biases[0, g] + biases[1, g]}
        count = len(_DEFAULTS[self.kind])
        functions = self.activations[k * count : (k + 1) * count]
        if self.kind == "RNN":
            return rnn_cell(*functions, self.threshold), params
        if self.kind == "GRU":
            if self.flag:
                params |= {"b_h": biases[0, 2], "c_h": biases[1, 2]}
            return gru_cell(*functions, self.threshold, self.flag), params
        p = named["P"]
        if p is not None:
            params |= {f"p_{gate}": part for gate, part in zip(_PEEPHOLES, np.split(p[k], 3), strict=True)}
        if self.flag:
            params = {name: value for name, value in params.items() if not name.endswith("_f")}
        return lstm_cell(*functions, self.threshold, p is not None, self.flag), params

"""Keras's three cells, which hold the weights, as what the kernels are handed."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import keras
from keras import ops

from .. import cells
from .._cell import Cell
from .._runtime import Part, Parts
from .._transform import recurrent_dropout, recurrent_dropout_leaf
from ._activations import function_of, name_of
from ._layer import Feed


class BorrowedCell:
    """A cell of Keras, whose weights and settings are read when they are asked for."""

    gates: ClassVar[tuple[str, ...]]
    """The gates in the order in which Keras's weights hold them; the cell's parameters end with them."""

    def __init__(self, cell: Any) -> None:
        self.cell = cell

    def definition(self) -> Cell | None:
        """Return the cell that means what this one is configured to compute, None if stepfold lacks an
        activation."""
        functions = self._functions()
        return None if None in functions else self._defined(*functions)

    def _defined(self, *functions: Any) -> Cell:
        raise NotImplementedError

    def _functions(self) -> tuple[Any, ...]:
        return function_of(self.cell.activation), function_of(self.cell.recurrent_activation)

    def unsupported_reason(self) -> str | None:
        """Return which activation stepfold has not."""
        for argument in ("activation", "recurrent_activation"):
            activation = getattr(self.cell, argument, None)
            if activation is not None and function_of(activation) is None:
                return f"{argument} {name_of(activation)!r} is not one of stepfold's functions"
        return None

    def feed(self, sequences: Any, initial_state: list[Any], training: bool) -> Feed:
        """Return what the scan needs, dropout as Keras's cell does it."""
        cell, definition = self.cell, self.definition()
        assert definition is not None, "unsupported_reason was asked first"
        step, extra, inputs, (kernel, *others) = definition.step, {}, sequences, self.cell_weights()
        if training and self._drops(cell.dropout):
            inputs, kernel = _dropped(sequences, kernel, cell.get_dropout_mask(sequences[:, 0, :]))
        if training and self._drops(cell.recurrent_dropout):
            step = _with_recurrent_dropout(definition)
            masks = cell.get_recurrent_dropout_mask(initial_state[0])
            masks = masks if isinstance(masks, list) else [masks]
            extra = {
                recurrent_dropout_leaf(f"U{_suffix(g)}"): m for g, m in zip(self.gates, masks, strict=True)
            }
        return Feed(step, self.parts(tuple(step.parameters)), (kernel, *others), inputs, extra)

    def cell_weights(self) -> tuple[Any, ...]:
        """Return Keras's weights, in the order that `parts` counts them in."""
        cell = self.cell
        weights = (cell.kernel, cell.recurrent_kernel, *((cell.bias,) if cell.use_bias else ()))
        return tuple(ops.convert_to_tensor(weight) for weight in weights)

    def parts(self, parameters: Sequence[str]) -> Parts:
        """Return where each parameter lies in Keras's weights."""
        return _parts(self.gates, bool(self.cell.use_bias), self._biases(), tuple(parameters))

    def _biases(self) -> int:
        """How many rows of biases the layer has; 0 for one vector."""
        return 0

    def _drops(self, rate: float) -> bool:
        """Whether Keras's cell drops anything at this rate in training."""
        return 0.0 < rate < 1.0


def _suffix(gate: str) -> str:
    return f"_{gate}" if gate else ""


@functools.cache
def _parts(gates: tuple[str, ...], use_bias: bool, rows: int, parameters: tuple[str, ...]) -> Parts:
    found: dict[str, tuple[Part, ...]] = {}
    for number, gate in enumerate(gates):
        end = _suffix(gate)
        found[f"W{end}"] = (Part(0, number, axis=1, transposed=True),)
        found[f"U{end}"] = (Part(1, number, axis=1, transposed=True),)
        biases = (
            tuple(Part(2, number, row=row if rows else None) for row in range(rows or 1)) if use_bias else ()
        )
        if f"c{end}" in parameters:  # a bias that the step adds elsewhere
            found[f"c{end}"], biases = biases[1:], biases[:1]
        found[f"b{end}"] = biases
    return tuple((name, found[name]) for name in parameters)


def _dropped(sequences: Any, kernel: Any, masks: Any) -> tuple[Any, Any]:
    """Drop inputs. Where every gate has a mask of its own each sees its own copy of the features."""
    if not isinstance(masks, list):
        return sequences * masks[:, None, :], kernel
    gates = len(masks)
    copies = ops.concatenate([sequences * mask[:, None, :] for mask in masks], axis=-1)
    features, columns = kernel.shape
    blocks = ops.reshape(kernel, (1, features, gates, columns // gates))
    mine = ops.reshape(ops.eye(gates, dtype="bool"), (gates, 1, gates, 1))
    return copies, ops.reshape(ops.where(mine, blocks, ops.zeros_like(blocks)), (gates * features, columns))


@functools.cache
def _with_recurrent_dropout(cell: Cell) -> Any:
    return recurrent_dropout(cell.step)


@functools.cache
def _made(make: Callable[..., Cell], *arguments: Any) -> Cell:
    return make(*arguments)


class _SimpleRNNCell(BorrowedCell):
    gates = ("",)

    def _functions(self) -> tuple[Any, ...]:
        return (function_of(self.cell.activation),)

    def _defined(self, *functions: Any) -> Cell:
        return _made(cells.simple_rnn_with, *functions)

    def _drops(self, rate: float) -> bool:
        return rate > 0.0


class _LSTMCell(BorrowedCell):
    gates = ("i", "f", "c", "o")

    def _defined(self, *functions: Any) -> Cell:
        return _made(cells.lstm_with, *functions)


class _GRUCell(BorrowedCell):
    gates = ("z", "r", "h")

    def _defined(self, *functions: Any) -> Cell:
        return _made(cells.gru_with, *functions, self.cell.reset_after)

    def _biases(self) -> int:
        return 2 if self.cell.reset_after else 0


_KINDS: dict[type, type[BorrowedCell]] = {
    keras.layers.SimpleRNNCell: _SimpleRNNCell,
    keras.layers.LSTMCell: _LSTMCell,
    keras.layers.GRUCell: _GRUCell,
}


def borrowed(cell: Any) -> BorrowedCell | None:
    """Return what the kernels need of a cell of Keras, None if it is not one of the three."""
    kind = _KINDS.get(type(cell))
    return None if kind is None else kind(cell)

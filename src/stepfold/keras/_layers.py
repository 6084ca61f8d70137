"""SimpleRNN, LSTM and GRU: Keras's own arguments, weights and cells, run by compiled kernels."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import keras
from keras import ops

from .. import cells
from .._cell import Cell
from .._runtime import Part, Parts
from .._transform import recurrent_dropout, recurrent_dropout_leaf
from ._activations import function_of, name_of
from ._layer import CompiledRNN, Feed

_register = keras.saving.register_keras_serializable(package="stepfold")
_OF_LAYER = ("return_sequences", "return_state", "go_backwards", "stateful", "unroll", "activity_regularizer")


class _Borrowed(CompiledRNN):
    """A recurrent layer of Keras with its loop replaced.

    Keras's class says which arguments there are, checks them, and makes the cell, which holds the weights.
    """

    keras_class: ClassVar[Any]
    gates: ClassVar[tuple[str, ...]]
    """The gates in the order in which Keras's weights hold them; the cell's parameters end with them."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        cls.__signature__ = inspect.signature(cls.keras_class)
        for name in _arguments(cls.keras_class):
            if name not in _OF_LAYER and name != "use_cudnn":
                setattr(cls, name, property(functools.partial(_of_cell, name)))

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        try:
            given = inspect.signature(self.keras_class).bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{type(self).__name__}: {error}") from None
        given.apply_defaults()
        rest = given.arguments.pop("kwargs", {})
        # a name of its own keeps Keras from counting this one when it numbers the user's layers
        own = self.keras_class(**given.arguments, **{**rest, "name": "own"})
        rest.pop("implementation", None)
        super().__init__(own.cell, **{name: given.arguments[name] for name in _OF_LAYER}, **rest)
        self.input_spec = own.input_spec
        self.supports_jit = own.supports_jit
        if "use_cudnn" in given.arguments:
            self.use_cudnn = own.use_cudnn

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments, as Keras's own layer does."""
        config: dict[str, Any] = super().get_config()
        del config["cell"]
        of_cell = self.cell.get_config()
        config.update({name: of_cell[name] for name in _arguments(self.keras_class) if name in of_cell})
        config["activity_regularizer"] = keras.regularizers.serialize(self.activity_regularizer)
        return config

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        """Return the layer with these constructor arguments."""
        return cls(**config)

    def keras_loop(self, sequences: Any, initial_state: list[Any], mask: Any, training: bool) -> Any:
        """Run Keras's own layer, with this one's weights."""
        options = {name: getattr(self, name) for name in (*_OF_LAYER, "zero_output_for_mask")}
        if hasattr(self, "use_cudnn"):
            options["use_cudnn"] = self.use_cudnn
        own = self.keras_class(self.cell.units, **options, name="own")
        own.cell = self.cell
        return own.inner_loop(sequences, initial_state, mask, training=training)

    def definition(self) -> Cell | None:
        """Return the cell that means what this layer is configured to compute, None if stepfold lacks an
        activation."""
        raise NotImplementedError

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


def _of_cell(name: str, layer: Any) -> Any:
    return getattr(layer.cell, name)


@functools.cache
def _arguments(keras_class: Any) -> tuple[str, ...]:
    return tuple(name for name in inspect.signature(keras_class).parameters if name != "kwargs")


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


@_register
class SimpleRNN(_Borrowed):
    """`keras.layers.SimpleRNN`, with every argument, default and weight of it, run by compiled kernels.

    Input (batch, time, features), output (batch, units), or (batch, time, units) with `return_sequences`;
    weights kernel (features, units), recurrent_kernel (units, units), bias (units,).
    `set_weights(get_weights())` works both ways.
    """

    keras_class = keras.layers.SimpleRNN
    gates = ("",)

    def definition(self) -> Cell | None:
        """Return the cell that means what this layer is configured to compute, None if stepfold lacks an
        activation."""
        function = function_of(self.cell.activation)
        return None if function is None else _made(cells.simple_rnn_with, function)

    def _drops(self, rate: float) -> bool:
        return rate > 0.0


@_register
class LSTM(_Borrowed):
    """`keras.layers.LSTM`, with every argument, default and weight of it, run by compiled kernels.

    Input (batch, time, features), output (batch, units), or (batch, time, units) with `return_sequences`;
    weights kernel (features, 4·units), recurrent_kernel (units, 4·units), bias (4·units,), the gates in the
    order i, f, c, o. `set_weights(get_weights())` works both ways. `use_cudnn` is for Keras's own loop.
    """

    keras_class = keras.layers.LSTM
    gates = ("i", "f", "c", "o")

    def definition(self) -> Cell | None:
        """Return the cell that means what this layer is configured to compute, None if stepfold lacks an
        activation."""
        functions = function_of(self.cell.activation), function_of(self.cell.recurrent_activation)
        return None if None in functions else _made(cells.lstm_with, *functions)


@_register
class GRU(_Borrowed):
    """`keras.layers.GRU`, with every argument, default and weight of it, run by compiled kernels.

    Input (batch, time, features), output (batch, units), or (batch, time, units) with `return_sequences`;
    weights kernel (features, 3·units), recurrent_kernel (units, 3·units), bias (2, 3·units), or (3·units,)
    with `reset_after=False`, the gates in the order z, r, h. `set_weights(get_weights())` works both ways.
    """

    keras_class = keras.layers.GRU
    gates = ("z", "r", "h")

    def definition(self) -> Cell | None:
        """Return the cell that means what this layer is configured to compute, None if stepfold lacks an
        activation."""
        functions = function_of(self.cell.activation), function_of(self.cell.recurrent_activation)
        return None if None in functions else _made(cells.gru_with, *functions, self.cell.reset_after)

    def _biases(self) -> int:
        return 2 if self.cell.reset_after else 0


def with_cell(cell: Any) -> _Borrowed | None:
    """Return a layer of ours around a built cell of Keras's SimpleRNN, LSTM or GRU, None for another cell."""
    kinds = {
        keras.layers.SimpleRNNCell: SimpleRNN,
        keras.layers.LSTMCell: LSTM,
        keras.layers.GRUCell: GRU,
    }
    kind = kinds.get(type(cell))
    if kind is None:
        return None
    layer = kind(cell.units, name="own")
    layer.cell = cell
    return layer

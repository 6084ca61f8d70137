"""SimpleRNN, LSTM and GRU: Keras's own arguments, weights and cells, run by compiled kernels."""

from __future__ import annotations

import functools
import inspect
from typing import Any, ClassVar

import keras

from ._cells import borrowed
from ._layer import CompiledRNN, Feed

_register = keras.saving.register_keras_serializable(package="stepfold")
_OF_LAYER = ("return_sequences", "return_state", "go_backwards", "stateful", "unroll", "activity_regularizer")


class _Borrowed(CompiledRNN):
    """A recurrent layer of Keras with its loop replaced.

    Keras's class says which arguments there are, checks them, and makes the cell, which holds the weights.
    """

    keras_class: ClassVar[Any]

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
        # not by its own constructor, which makes a cell, and variables where TensorFlow may trace a function
        own = self.keras_class.__new__(self.keras_class, self.cell.units)
        keras.layers.RNN.__init__(own, self.cell, **options, name="own")
        if hasattr(self, "use_cudnn"):
            own.use_cudnn = self.use_cudnn
        return own.inner_loop(sequences, initial_state, mask, training=training)

    def unsupported_reason(self) -> str | None:
        """Return which activation stepfold has not."""
        found = borrowed(self.cell)
        return f"its cell is {type(self.cell).__name__}" if found is None else found.unsupported_reason()

    def feed(self, sequences: Any, initial_state: list[Any], training: bool) -> Feed:
        """Return what the scan needs, dropout as Keras's cell does it."""
        found = borrowed(self.cell)
        assert found is not None, "unsupported_reason was asked first"
        return found.feed(sequences, initial_state, training)


def _of_cell(name: str, layer: Any) -> Any:
    return getattr(layer.cell, name)


@functools.cache
def _arguments(keras_class: Any) -> tuple[str, ...]:
    return tuple(name for name in inspect.signature(keras_class).parameters if name != "kwargs")


@_register
class SimpleRNN(_Borrowed):
    """`keras.layers.SimpleRNN`, with every argument, default and weight of it, run by compiled kernels.

    Input (batch, time, features), output (batch, units), or (batch, time, units) with `return_sequences`;
    weights kernel (features, units), recurrent_kernel (units, units), bias (units,).
    `set_weights(get_weights())` works both ways.
    """

    keras_class = keras.layers.SimpleRNN


@_register
class LSTM(_Borrowed):
    """`keras.layers.LSTM`, with every argument, default and weight of it, run by compiled kernels.

    Input (batch, time, features), output (batch, units), or (batch, time, units) with `return_sequences`;
    weights kernel (features, 4·units), recurrent_kernel (units, 4·units), bias (4·units,), the gates in the
    order i, f, c, o. `set_weights(get_weights())` works both ways. `use_cudnn` is for Keras's own loop.
    """

    keras_class = keras.layers.LSTM


@_register
class GRU(_Borrowed):
    """`keras.layers.GRU`, with every argument, default and weight of it, run by compiled kernels.

    Input (batch, time, features), output (batch, units), or (batch, time, units) with `return_sequences`;
    weights kernel (features, 3·units), recurrent_kernel (units, 3·units), bias (2, 3·units), or (3·units,)
    with `reset_after=False`, the gates in the order z, r, h. `set_weights(get_weights())` works both ways.
    """

    keras_class = keras.layers.GRU

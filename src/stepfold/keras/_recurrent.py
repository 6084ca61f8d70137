"""The layer for any cell: its weights are the cell's parameters, under the cell's own names."""

from __future__ import annotations

import functools
from typing import Any

import keras
from keras import ops

from .. import cells
from .._cell import Cell
from .._graph import KERNEL, RECURRENT_KERNEL, Dims
from .._runtime import Part
from .._step import Step
from .._transform import (
    expected_zoneout,
    recurrent_dropout,
    recurrent_dropout_leaf,
    recurrent_kernels,
    zoneout,
    zoneout_leaf,
)
from ._activations import evaluate
from ._layer import CompiledRNN, Feed

_register = keras.saving.register_keras_serializable(package="stepfold")
_KINDS: tuple[tuple[Dims, str], ...] = ((KERNEL, "kernel"), (RECURRENT_KERNEL, "recurrent"))


def _kind(dims: Dims) -> str:
    return next((kind for of, kind in _KINDS if of == dims), "bias")


def _read(cell: Cell | str) -> Cell:
    """A cell, one by its name, or one from the JSON text of its graph."""
    if isinstance(cell, Cell):
        return cell
    if not isinstance(cell, str):
        raise TypeError(
            f"cell must be a stepfold cell, the name of one, or its JSON text, not {type(cell).__name__}; "
            "put @stepfold.cell before the function"
        )
    return Cell.from_json(cell) if cell.lstrip().startswith("{") else cells.by_name(cell)


class _Fixed(keras.initializers.Initializer):  # type: ignore[misc]
    """What the cell says that a vector begins with."""

    def __init__(self, value: float) -> None:
        self.value = value

    def __call__(self, shape: Any, dtype: Any = None) -> Any:
        return ops.full(shape, self.value, dtype=dtype)


def _initializer(step: Step, name: str) -> Any:
    """What a parameter begins with where the layer does not say: as in `Cell.init`."""
    dims = step.parameters[name]
    kind, number = step.kernels.get(name, ("", 0.0))
    if kind == "identity":
        return keras.initializers.Identity(number)
    if kind == "normal":
        return keras.initializers.RandomNormal(0.0, number)
    if dims == KERNEL:
        return keras.initializers.GlorotUniform()
    if dims == RECURRENT_KERNEL:
        return keras.initializers.Orthogonal()
    return _Fixed(step.vectors.get(name, 0.0))


@_register
class StepCell(keras.layers.Layer):  # type: ignore[misc]
    """A stepfold cell as a cell of Keras: it holds the weights, and can step with Keras's operations."""

    def __init__(
        self,
        cell: Cell | str,
        units: int,
        *,
        kernel_initializer: Any = None,
        recurrent_initializer: Any = None,
        bias_initializer: Any = None,
        kernel_regularizer: Any = None,
        recurrent_regularizer: Any = None,
        bias_regularizer: Any = None,
        kernel_constraint: Any = None,
        recurrent_constraint: Any = None,
        bias_constraint: Any = None,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        zoneout: float = 0.0,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if not isinstance(units, int) or isinstance(units, bool) or units < 1:
            raise ValueError(f"units must be an integer of at least 1, not {units!r}")
        for name, rate in (
            ("dropout", dropout),
            ("recurrent_dropout", recurrent_dropout),
            ("zoneout", zoneout),
        ):
            if not 0.0 <= rate < 1.0:
                raise ValueError(f"{name} must lie in 0…1, below 1, not {rate!r}")
        self.definition, self.units, self.seed = _read(cell), units, seed
        self.dropout, self.recurrent_dropout, self.zoneout = dropout, recurrent_dropout, zoneout
        self.seed_generator = keras.random.SeedGenerator(seed)
        self.initializers = {
            "kernel": keras.initializers.get(kernel_initializer),
            "recurrent": keras.initializers.get(recurrent_initializer),
            "bias": keras.initializers.get(bias_initializer),
        }
        self.regularizers = {
            "kernel": keras.regularizers.get(kernel_regularizer),
            "recurrent": keras.regularizers.get(recurrent_regularizer),
            "bias": keras.regularizers.get(bias_regularizer),
        }
        self.constraints = {
            "kernel": keras.constraints.get(kernel_constraint),
            "recurrent": keras.constraints.get(recurrent_constraint),
            "bias": keras.constraints.get(bias_constraint),
        }
        self.state_size = [units for _ in self.definition.states]
        self.output_size = units
        self._masks: dict[tuple[str, str], Any] = {}

    def build(self, input_shape: Any) -> None:
        """Make one weight for each parameter of the cell, with its name and shape."""
        step = self.definition.step
        shapes = self.definition.parameter_shapes(features=int(input_shape[-1]), units=self.units)
        self.parameters = []
        for name, shape in shapes.items():
            kind = _kind(step.parameters[name])
            given = self.initializers[kind]
            if given is None:
                initializer = _initializer(step, name)
            else:  # one instance gives the same values at each call, and all gates would begin alike
                initializer = given.clone() if isinstance(given, keras.initializers.Initializer) else given
            self.parameters.append(
                self.add_weight(
                    shape=shape,
                    name=name,
                    initializer=initializer,
                    regularizer=self.regularizers[kind],
                    constraint=self.constraints[kind],
                )
            )

    def values(self) -> tuple[Any, ...]:
        """Return the weights, in the order of the cell's parameters."""
        return tuple(ops.convert_to_tensor(weight) for weight in self.parameters)

    def masks(self, like: Any) -> dict[tuple[str, str], Any]:
        """Draw the masks of recurrent dropout for one call: for each recurrent kernel (batch, units)."""
        ones = ops.ones_like(like)
        drawn = functools.partial(
            keras.random.dropout, ones, self.recurrent_dropout, seed=self.seed_generator
        )
        return {recurrent_dropout_leaf(name): drawn() for name in recurrent_kernels(self.definition.step)}

    def call(self, inputs: Any, states: Any, training: bool = False) -> Any:
        """Compute one step: inputs (batch, features), states (batch, units) each → (output, new states)."""
        step = with_recurrent_dropout(self.definition.step) if self._masks else self.definition.step
        if self.zoneout:
            step = with_expected_zoneout(step, self.zoneout)
        leaves = {("input", ""): inputs, **self._masks}
        leaves.update({("state", name): state for name, state in zip(step.states, states, strict=True)})
        leaves.update({("parameter", n): v for n, v in zip(step.parameters, self.values(), strict=True)})
        values = evaluate(step.nodes, leaves, self.units)
        new = [
            ops.broadcast_to(values[id(n)], ops.shape(s)) for n, s in zip(step.outputs, states, strict=True)
        ]
        return new[0], new

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments; the cell as the JSON text of its graph, no code."""
        config = {"cell": self.definition.to_json(), "units": self.units, "seed": self.seed}
        config.update(dropout=self.dropout, recurrent_dropout=self.recurrent_dropout, zoneout=self.zoneout)
        for what, found, module in (
            ("initializer", self.initializers, keras.initializers),
            ("regularizer", self.regularizers, keras.regularizers),
            ("constraint", self.constraints, keras.constraints),
        ):
            for kind, value in found.items():
                config[f"{kind}_{what}"] = None if value is None else module.serialize(value)
        return {**super().get_config(), **config}


with_recurrent_dropout = functools.cache(recurrent_dropout)
with_zoneout = functools.cache(zoneout)
with_expected_zoneout = functools.cache(expected_zoneout)


@_register
class Recurrent(CompiledRNN):
    """Any cell as a Keras layer, run by kernels compiled from its maths.

    Input (batch, time, features), output (batch, units), or (batch, time, units) with `return_sequences`. One
    weight for each parameter of the cell, with its name and the shape that `cell.parameter_shapes` gives:
    kernels (units, features), recurrent kernels (units, units), vectors (units,).

    Args:
        cell: a `stepfold.cell`, the name of a built-in one ("layer_norm_lstm"), or a cell's JSON text.
        units: the number of units of every state.
        kernel_initializer: for kernels (units, features); None, as for the next two: as in `Cell.init`, what
            the cell says, else Glorot-uniform, orthogonal and zero.
        recurrent_initializer: for recurrent kernels (units, units).
        bias_initializer: for vectors.
        kernel_regularizer, recurrent_regularizer, bias_regularizer: for the same three kinds.
        kernel_constraint, recurrent_constraint, bias_constraint: for the same three kinds.
        dropout: the share of inputs to drop in training, one mask a sequence.
        recurrent_dropout: the share of units to drop on the way into each recurrent kernel, one mask a
            sequence and kernel.
        zoneout: the share of units that keep their old state at each timestep, in training at random, else on
            average.
        seed: for the three above.
        return_sequences, return_state, go_backwards, stateful, unroll, zero_output_for_mask: as in
            `keras.layers.RNN`.
        activity_regularizer, name, dtype, trainable: as in `keras.layers.RNN`.

    Raises TypeError or ValueError for a cell, units or a rate that is none.
    """

    def __init__(
        self,
        cell: Cell | str,
        units: int,
        *,
        kernel_initializer: Any = None,
        recurrent_initializer: Any = None,
        bias_initializer: Any = None,
        kernel_regularizer: Any = None,
        recurrent_regularizer: Any = None,
        bias_regularizer: Any = None,
        kernel_constraint: Any = None,
        recurrent_constraint: Any = None,
        bias_constraint: Any = None,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        zoneout: float = 0.0,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        step_cell = StepCell(
            cell,
            units,
            kernel_initializer=kernel_initializer,
            recurrent_initializer=recurrent_initializer,
            bias_initializer=bias_initializer,
            kernel_regularizer=kernel_regularizer,
            recurrent_regularizer=recurrent_regularizer,
            bias_regularizer=bias_regularizer,
            kernel_constraint=kernel_constraint,
            recurrent_constraint=recurrent_constraint,
            bias_constraint=bias_constraint,
            dropout=dropout,
            recurrent_dropout=recurrent_dropout,
            zoneout=zoneout,
            seed=seed,
            dtype=kwargs.get("dtype"),
            trainable=kwargs.get("trainable", True),
            name="step_cell",
        )
        super().__init__(step_cell, **kwargs)
        self.input_spec = keras.layers.InputSpec(ndim=3)

    @property
    def definition(self) -> Cell:
        """The cell."""
        found: Cell = self.cell.definition
        return found

    @property
    def units(self) -> int:
        """The number of units of every state."""
        return int(self.cell.units)

    def feed(self, sequences: Any, initial_state: list[Any], training: bool) -> Feed:
        """Return what the scan needs, with what the layer adds to the cell."""
        cell, step = self.cell, self.definition.step
        extra: dict[tuple[str, str], Any] = {}
        inputs = self._dropped(sequences) if training and cell.dropout else sequences
        if training and cell.recurrent_dropout:
            step = with_recurrent_dropout(step)
            extra.update(cell.masks(initial_state[0]))
        if cell.zoneout and training:
            step = with_zoneout(step)
            shape = (*ops.shape(sequences)[:2], cell.units)
            for state in step.states:
                chance = keras.random.uniform(shape, dtype="float32", seed=cell.seed_generator)
                extra[zoneout_leaf(state)] = ops.cast(chance < cell.zoneout, "float32")
        elif cell.zoneout:
            step = with_expected_zoneout(step, cell.zoneout)
        weights = cell.values()
        parts = tuple((name, (Part(number),)) for number, name in enumerate(step.parameters))
        return Feed(step, parts, weights, inputs, extra)

    def keras_loop(self, sequences: Any, initial_state: list[Any], mask: Any, training: bool) -> Any:
        """Run Keras's own loop over the cell's graph in Keras's operations."""
        cell = self.cell
        if training and cell.zoneout:
            raise NotImplementedError(
                "zoneout in training needs the kernels; set zoneout=0 to train with Keras's own loop"
            )
        if training and cell.dropout:
            sequences = self._dropped(sequences)
        cell._masks = cell.masks(initial_state[0]) if training and cell.recurrent_dropout else {}
        try:
            return super().keras_loop(sequences, initial_state, mask, training)
        finally:
            cell._masks = {}

    def _dropped(self, sequences: Any) -> Any:
        ones = ops.ones_like(sequences[:, :1, :])
        return sequences * keras.random.dropout(ones, self.cell.dropout, seed=self.cell.seed_generator)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments; the cell as the JSON text of its graph, no code."""
        config: dict[str, Any] = super().get_config()
        of_cell = {k: v for k, v in self.cell.get_config().items() if k not in ("name", "dtype", "trainable")}
        config.update(of_cell, activity_regularizer=keras.regularizers.serialize(self.activity_regularizer))
        return config

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Recurrent:
        """Return the layer with these constructor arguments."""
        return cls(**config)

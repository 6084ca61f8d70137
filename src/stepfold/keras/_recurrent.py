"""The layer for any cell: its weights are the cell's parameters, under the cell's own names."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from .._cell import Cell
from .._noise import noise_of, noisy
from .._runtime import Part
from .._transform import zoneout_leaf
from ..cells import as_cell
from ._layer import CompiledRNN, Feed
from ._step_cell import (
    StepCell,
    popped_sizes,
    with_expected_zoneout,
    with_recurrent_dropout,
    with_zoneout,
)
from ._tokens import Tokens


@keras.saving.register_keras_serializable(package="stepfold")
class Recurrent(CompiledRNN):
    """Any cell as a Keras layer, run by kernels compiled from its maths.

    Input (batch, time, features), output (batch, units), or (batch, time, units) with `return_sequences`; in
    place of the units what the cell declares. One weight for each parameter of the cell, with its name and
    the shape that `cell.parameter_shapes` gives: kernels (units, features), recurrent kernels (units, units),
    vectors (units,). A cell with several inputs finds them one after the other on the last axis, in its
    order (`keras.layers.Concatenate`); an integer is one element there, alone it may also be (batch, time).
    A state that is a matrix is carried as (batch, elements).

    Args:
        cell: a `stepfold.cell`, the name of a built-in one ("layer_norm_lstm"), or a cell's JSON text.
        units: the number of units of every state.
        kernel_initializer: for kernels (units, features), and for matrices whose rows integers choose; None,
            as for the next two: as in `Cell.init`, what the cell says, else Glorot-uniform, orthogonal and
            zero.
        recurrent_initializer: for recurrent kernels (units, units).
        bias_initializer: for vectors.
        kernel_regularizer, recurrent_regularizer, bias_regularizer: for the same three kinds.
        kernel_constraint, recurrent_constraint, bias_constraint: for the same three kinds.
        dropout: the share of inputs to drop in training, one mask a sequence.
        recurrent_dropout: the share of units to drop on the way into each recurrent kernel, one mask a
            sequence and kernel.
        zoneout: the share of units, or of elements of a matrix, that keep their old state at each timestep,
            in training at random, else on average.
        seed: for the three above. The sizes of other axes of the cell are keywords by their names
        (`projection=32`).
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
        cell = as_cell(cell)
        step_cell = StepCell(
            cell,
            units,
            **popped_sizes(cell.step, kwargs),
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
        if self._reads_one_integer:
            self.input_spec = keras.layers.InputSpec(min_ndim=2, max_ndim=3)

    def build(self, sequences_shape: Any, initial_state_shape: Any = None) -> None:
        """Make the weights; how wide the states are may follow from the features."""
        if len(sequences_shape) == 2 and self._reads_one_integer:
            sequences_shape = (*sequences_shape, 1)
        self.cell.build((sequences_shape[0], *sequences_shape[2:]))
        self.state_size = list(self.cell.state_size)
        super().build(sequences_shape, initial_state_shape)

    @property
    def _reads_one_integer(self) -> bool:
        """Whether the cell's only input is an integer, which may stand without a last axis."""
        step = self.definition.step
        return len(step.input_names) == 1 and bool(step.integers)

    def call(
        self, sequences: Any, initial_state: Any = None, mask: Any = None, training: bool = False
    ) -> Any:
        """Return what `keras.layers.RNN` returns for sequences (batch, time, features)."""
        if len(sequences.shape) == 2 and self._reads_one_integer:
            sequences = sequences[..., None]
        return super().call(sequences, initial_state=initial_state, mask=mask, training=training)

    @property
    def definition(self) -> Cell:
        """The cell."""
        found: Cell = self.cell.definition
        return found

    @property
    def units(self) -> int:
        """The size of the axis units."""
        return int(self.cell.units)

    def units_of_state(self) -> int:
        """The size of the axis units."""
        return self.units

    def feed(self, sequences: Any, initial_state: list[Any], training: bool) -> Feed:
        """Return what the scan needs, with what the layer adds to the cell."""
        cell, step = self.cell, self.definition.step
        extra: dict[tuple[str, str], Any] = {}
        row = step.projected
        # a gradient of the whole table makes TensorFlow's optimizers move every row of it
        by_ids = row if keras.backend.backend() in ("jax", "torch") else None
        sequences = self._dropped(sequences) if training and cell.dropout else sequences
        first, named = cell.split(sequences, by_ids)
        if training and cell.recurrent_dropout:
            step = with_recurrent_dropout(step)
            extra.update(cell.masks(initial_state[0]))
        if cell.zoneout and training:
            step = with_zoneout(step)
            for state in self.definition.states:
                shape = (*ops.shape(sequences)[:2], *cell.shape(step.dims_of(state)))
                chance = keras.random.uniform(shape, dtype="float32", seed=cell.seed_generator)
                extra[zoneout_leaf(state)] = ops.cast(chance < cell.zoneout, "float32")
        elif cell.zoneout:
            step = with_expected_zoneout(step, cell.zoneout)
        if training:
            for drawn in noise_of(step):
                shape = (*ops.shape(sequences)[:2], cell.count(drawn.dims))
                extra[drawn.key] = cell.drawn(drawn, shape)
            step = noisy(step)
        tokens = None
        if row is not None:
            first = named.pop(row.name)
            tokens = None if by_ids is None else Tokens(first, cell.table(row))
        step, weights = step.scanned, cell.scanned()
        parts = tuple((name, (Part(number),)) for number, name in enumerate(step.parameters))
        return Feed(step, parts, weights, first, extra, tuple(named.values()), cell.other_sizes, tokens)

    def run_kernels(self, sequences: Any, initial_state: list[Any], mask: Any, training: bool) -> Any:
        """Run the kernels; returns what `inner_loop` does."""
        last, outputs, states = super().run_kernels(
            sequences, self.cell.shaped(initial_state), mask, training
        )
        return last, outputs, self.cell.flat(states)

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
        cell, step = self.cell, self.definition.step
        ones = ops.ones_like(sequences[:, :1, :])
        dropped = sequences * keras.random.dropout(ones, cell.dropout, seed=cell.seed_generator)
        if not step.integers:
            return dropped
        columns = step.columns(sequences.shape[-1], cell.all_sizes).items()
        parts = [(sequences if name in step.integers else dropped)[..., at] for name, at in columns]
        return ops.concatenate(parts, axis=-1)

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

"""A stepfold cell as a cell of Keras."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from .._cell import Cell
from .._dims import count_of, size_of
from .._graph import Dims
from .._initial import legendre
from .._lookups import START, Lookup
from .._noise import Noise
from .._runtime import Sizes
from .._step import Step
from .._transform import (
    expected_zoneout,
    recurrent_dropout,
    recurrent_dropout_leaf,
    recurrent_kernels,
    zoneout,
)
from ..cells import as_cell
from ._activations import evaluate
from ._rows import gathered
from ._split import features_of, split

_register = keras.saving.register_keras_serializable(package="stepfold")


def _kind(step: Step, name: str) -> str:
    """Which of Keras's three kinds of initialisers, regularizers and constraints is for a parameter."""
    if name in step.tables and len(step.parameters[name]) == 2:
        return "kernel"
    if name not in step.matrices:
        return "bias"
    return "recurrent" if name in recurrent_kernels(step) else "kernel"


def popped_sizes(step: Step, keywords: dict[str, Any]) -> dict[str, int]:
    """Take the sizes of a step's other axes out of a layer's keywords."""
    axes = (axis for axis in step.own_axes if axis not in ("units", "features"))
    return {axis: keywords.pop(axis) for axis in axes if axis in keywords}


class _Fixed(keras.initializers.Initializer):  # type: ignore[misc]
    """What the cell says that a vector begins with."""

    def __init__(self, value: float) -> None:
        self.value = value

    def __call__(self, shape: Any, dtype: Any = None) -> Any:
        return ops.full(shape, self.value, dtype=dtype)


class _Legendre(keras.initializers.Initializer):  # type: ignore[misc]
    """A matrix of a Legendre delay."""

    def __init__(self, delay: float, square: bool) -> None:
        self.delay, self.square = delay, square

    def __call__(self, shape: Any, dtype: Any = None) -> Any:
        return ops.convert_to_tensor(legendre(shape[0], self.delay, square=self.square), dtype=dtype)


def _initializer(step: Step, name: str) -> Any:
    """What a parameter begins with where the layer does not say: as in `Cell.init`."""
    dims = step.parameters[name]
    kind, number = step.kernels.get(name, ("", 0.0))
    if kind == "identity":
        return keras.initializers.Identity(number)
    if kind == "normal":
        return keras.initializers.RandomNormal(0.0, number)
    if kind == "legendre":
        return _Legendre(number, dims[0] == dims[1])
    if name in step.tables and len(dims) == 2:
        return keras.initializers.RandomUniform(-START, START)
    if name not in step.matrices:
        return _Fixed(step.vectors.get(name, 0.0))
    square = dims[0] == dims[1]
    return keras.initializers.Orthogonal() if square else keras.initializers.GlorotUniform()


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
        self.definition = as_cell(cell)
        step = self.definition.step
        self.sizes = popped_sizes(step, kwargs)
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
        if dropout and not step.takes_features and len(step.integers) == len(step.inputs):
            raise ValueError(
                f"dropout drops elements of inputs, and those of {step.name} are integers; write "
                "dropout(E[word], 0.1) in the step"
            )
        self.units, self.seed = units, seed
        self._features: int | None = None
        if "features" not in step.own_axes:
            step.sizes(units, **self.sizes)
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
        if len(step.dims_of(step.states[0])) > 1:
            raise ValueError(
                f"{step.name} has a matrix as its output, the state {step.states[0]}, a layer only a vector; "
                "return an output before the states"
            )
        self.state_size = [self.count(step.dims_of(state)) for state in self.definition.states]
        self.output_size = self.count(step.dims_of(step.states[0]))
        self._masks: dict[tuple[str, str], Any] = {}

    def shape(self, dims: Dims) -> tuple[int, ...]:
        """Return the shape of a value of one row."""
        return tuple(size_of(axis, self.all_sizes) for axis in dims)

    def count(self, dims: Dims) -> int | None:
        """How many elements a value has; None while the number of features is not known."""
        if "features" in dims and self._features is None:
            return None
        return count_of(dims, self.all_sizes)

    @property
    def all_sizes(self) -> dict[str, int]:
        """The size of every axis that is known by a name."""
        features = {} if self._features is None else {"features": self._features}
        return {"units": self.units, **features, **self.sizes}

    @property
    def other_sizes(self) -> Sizes:
        """The sizes of the other axes than the units, as a recipe has them."""
        axes = (axis for axis in self.definition.step.scanned.own_axes if axis != "units")
        return tuple((axis, self.all_sizes[axis]) for axis in axes)

    def split(self, inputs: Any, without: Lookup | None = None) -> tuple[Any, dict[str, Any]]:
        """Cut the last axis into the inputs of the cell: that without a name (None: there is none), and those
        with one, in their order, rows of parameters in the place of integers that choose them; in the place
        of the row `without` the integers."""
        step = self.definition.step
        first, named = split(step, inputs, self.all_sizes)
        if step.integers:
            tables = dict(zip(step.parameters, self.values(), strict=True))
            named = gathered(step, named, tables, self.compute_dtype, without)
        return first, named

    def build(self, input_shape: Any) -> None:
        """Make one weight for each parameter of the cell, with its name and shape."""
        step = self.definition.step
        features = features_of(step, int(input_shape[-1]), self.all_sizes)
        self._features = features
        self.state_size = [self.count(step.dims_of(state)) for state in self.definition.states]
        self.output_size = self.count(step.dims_of(step.states[0]))
        shapes = self.definition.parameter_shapes(features=features, units=self.units, **self.sizes)
        self.parameters = []
        for name, shape in shapes.items():
            kind = _kind(step, name)
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

    def table(self, row: Lookup) -> Any:
        """Return the weight of whose rows one is chosen."""
        return ops.convert_to_tensor(self.parameters[list(self.definition.step.parameters).index(row.table)])

    def scanned(self) -> tuple[Any, ...]:
        """Return the weights without those whose rows integers choose."""
        step = self.definition.step
        named = zip(step.parameters, self.values(), strict=True)
        return tuple(weight for name, weight in named if name not in step.tables)

    def masks(self, like: Any) -> dict[tuple[str, str], Any]:
        """Draw the masks of recurrent dropout for one call: for each recurrent kernel (batch, units), or as
        wide as what it multiplies; `like` is of the batch."""
        while len(like.shape) > 2:
            like = like[..., 0]
        ones = ops.ones_like(like[:, :1])

        def drawn(dims: Dims) -> Any:
            wide = ops.repeat(ones, self.count(dims), axis=1)
            return keras.random.dropout(wide, self.recurrent_dropout, seed=self.seed_generator)

        kernels = recurrent_kernels(self.definition.step)
        return {recurrent_dropout_leaf(name): drawn(dims) for name, dims in kernels.items()}

    def drawn(self, noise: Noise, shape: Any) -> Any:
        """Draw the noise of a step: a mask of dropout, already divided, or normal numbers."""
        if noise.kind == "dropout":
            return keras.random.dropout(ops.ones(shape), noise.value, seed=self.seed_generator)
        return keras.random.normal(shape, stddev=noise.value, seed=self.seed_generator)

    def shaped(self, states: Sequence[Any]) -> list[Any]:
        """Return states as the cell has them, a matrix with two axes, from those that Keras carries; before
        them zeros for an output that is no state."""
        step = self.definition.step
        found = [
            ops.reshape(value, (-1, *self.shape(step.dims_of(name))))
            if len(step.dims_of(name)) > 1
            else value
            for name, value in zip(self.definition.states, states, strict=True)
        ]
        if step.output:
            none = ops.zeros_like(states[0][:, :1])
            found.insert(0, ops.repeat(none, self.output_size, axis=1))
        return found

    def flat(self, states: Sequence[Any]) -> list[Any]:
        """Return the cell's states as Keras carries them, without an output that is no state."""
        own = states[self.definition.step.output :]
        return [
            ops.reshape(value, (-1, size)) if len(value.shape) > 2 else value
            for value, size in zip(own, self.state_size, strict=True)
        ]

    def call(self, inputs: Any, states: Any, training: bool = False) -> Any:
        """Compute one step: inputs (batch, features), states (batch, units) each → (output, new states)."""
        step = with_recurrent_dropout(self.definition.step) if self._masks else self.definition.step
        if self.zoneout:
            step = with_expected_zoneout(step, self.zoneout)
        step = step.gathered
        first, named = self.split(inputs)
        leaves = {("input", name): value for name, value in named.items()} | self._masks
        if first is not None:
            leaves["input", ""] = first
        before = self.shaped(states)
        leaves.update({("state", name): state for name, state in zip(step.states, before, strict=True)})
        leaves.update({("parameter", n): v for n, v in zip(step.parameters, self.scanned(), strict=True)})
        values = evaluate(step.nodes, leaves, self.all_sizes)
        new = [
            ops.broadcast_to(values[id(n)], ops.shape(s)) for n, s in zip(step.outputs, before, strict=True)
        ]
        return new[0], self.flat(new)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments; the cell as the JSON text of its graph, no code."""
        config: dict[str, Any] = {
            "cell": self.definition.to_json(),
            "units": self.units,
            "seed": self.seed,
            **self.sizes,
        }
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

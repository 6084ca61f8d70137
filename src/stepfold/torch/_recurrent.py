"""`Recurrent`: any cell as a module."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from .._cell import Cell
from .._noise import noise_of
from .._runtime import Recipe
from ..cells import as_cell
from ._lookups import Lookups
from ._noise import Noise
from ._one_step import RecurrentCell, check_sizes, start
from ._scan import Batch, scan
from ._several import all_layer_sizes, several_of
from ._surface import Form, Given, open_input, refuse_script, run_layers, stand_as_leaf


class Recurrent(nn.Module):  # type: ignore[misc]
    """Layers of any cell, with the surface of torch.nn.LSTM.

    `cell` is a `stepfold.Cell` or the name of a built-in one. Layer k's parameters are called `{name}_l{k}`,
    with `_reverse` behind it for the other direction, and shaped as `cell.parameter_shapes` says; they start
    as `cell.init` does. `forward(input, hx=None, lengths=None)` takes and returns what torch.nn's modules
    do: input (time, batch, features), with `batch_first` (batch, time, features), unbatched (time, features),
    or a PackedSequence; `hx` one tensor (layers * directions, batch, hidden_size), or a tuple of one a state
    for cells with several. With `lengths` (batch,) outputs behind a sequence's end are zero.
    `recurrent_dropout` and `zoneout` as in `LSTM`.

    `sizes` are those of the cell's other axes, by their names (`projection=32`). States are then (layers *
    directions, batch, …), each as the cell declares it, in its order; the output is as wide as what the step
    returns first. A cell with several inputs takes a tuple of them, in its order, of the same batch and time,
    one number a timestep also without its last axis; for PackedSequences a tuple of these, packed with the
    same lengths. Layers above the first read the output below in place of the first input, and the other
    inputs as they are. `input_size` is that of the first input. An input that the cell declares as an integer
    is of int32 or int64, without a last axis; where it is the first, `input_size` is the number of rows that
    it chooses from, as in torch.nn.Embedding, and there is one layer.

    float32 and float64 on the CPU run fused; elsewhere the cell runs as a loop of torch operations, which is
    said once. A saved module carries its cell as a graph, not as code.
    """

    def __init__(
        self,
        cell: Cell | str,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: Any = None,
        dtype: Any = None,
        *,
        recurrent_dropout: float = 0.0,
        zoneout: float = 0.0,
        **sizes: int,
    ) -> None:
        super().__init__()
        self.definition = as_cell(cell)
        check_sizes(input_size=input_size, hidden_size=hidden_size, num_layers=num_layers, **sizes)
        self.sizes = sizes
        if isinstance(dropout, bool) or not isinstance(dropout, (int, float)) or not 0 <= dropout <= 1:
            raise ValueError(
                "dropout should be a number in range [0, 1] representing the probability of an element "
                "being zeroed"
            )
        self.input_size, self.hidden_size, self.num_layers = input_size, hidden_size, num_layers
        self.batch_first, self.dropout, self.bidirectional = batch_first, float(dropout), bidirectional
        self.noise = Noise(recurrent_dropout, zoneout).checked()
        self._all_weights: list[list[str]] = []
        for layer, of in enumerate(self.layer_sizes()):
            for suffix in ("", "_reverse")[: self._directions]:
                shapes = self.definition.parameter_shapes(units=hidden_size, **of)
                self._all_weights.append([f"{name}_l{layer}{suffix}" for name in shapes])
                for full, shape in zip(self._all_weights[-1], shapes.values(), strict=True):
                    self.register_parameter(
                        full, nn.Parameter(torch.empty(shape, device=device, dtype=dtype))
                    )
        # says device and dtype even where the cell has no parameter
        self.register_buffer("_like", torch.empty(0, device=device, dtype=dtype), persistent=False)
        self._prepare()
        self.reset_parameters()

    @property
    def _directions(self) -> int:
        return 2 if self.bidirectional else 1

    def layer_sizes(self) -> list[dict[str, int]]:
        """Return the sizes of each layer's axes, the units' left out."""
        shape = self.num_layers, self._directions
        return all_layer_sizes(self.definition.step, self.input_size, self.hidden_size, self.sizes, *shape)

    def _prepare(self) -> None:
        stand_as_leaf(self)
        steps = self.noise.steps(self.definition.step)
        sizes = self.layer_sizes()
        self._recipes = [
            [Recipe.of(step.scanned, self.hidden_size, step.scanned_sizes(of)) for step in steps]
            for of in sizes
        ]
        self._lookups = Lookups.of(self.definition.step, {"units": self.hidden_size, **sizes[0]})
        self._own_noise = {n.key: (n.kind, n.value) for n in noise_of(self.definition.step)}
        self._state_shapes = self._recipes[0][1].state_shapes[self.definition.step.output :]

    def reset_parameters(self) -> None:
        """Draw the parameters anew: as the cell says, else kernels Glorot-uniform, recurrent kernels
        orthogonal, vectors zero."""
        for names in self._all_weights:
            start(self.definition.step, [getattr(self, name) for name in names])

    def flatten_parameters(self) -> None:
        """Do nothing: the parameters are used where they lie."""

    def forward(self, input: Any, hx: Any = None, lengths: Any = None) -> Any:
        """Run the layers over `input`, vectors or `Tokens`, or a tuple of the cell's inputs; returns (output,
        hx)."""
        form = Form(
            type(self).__name__,
            self.input_size,
            self._state_shapes,
            self.num_layers,
            self._directions,
            self.batch_first,
            len(self._state_shapes) > 1,
            self._like,
        )
        given = several_of(form.name, self._recipes[0][1], input, self._lookups, self._like)
        inputs, batch, initial, close = open_input(form, given, hx, lengths)
        return close(*run_layers(self, form.directions, batch, inputs, initial, Recurrent._scan))

    def _scan(
        self,
        weights: list[Tensor],
        batch: Batch,
        inputs: Given,
        initial: list[Tensor] | None,
        reverse: bool,
        layer: int,
    ) -> tuple[Tensor, list[Tensor]]:
        recipe = self._recipes[layer][0 if self.training else 1]
        extra = self.noise.draw(recipe, batch, inputs, self._own_noise)
        if self._lookups is not None:
            inputs, weights = self._lookups.gathered(inputs, weights, batch)
        return scan(recipe, batch, inputs, weights, initial, extra=extra, reverse=reverse)

    def extra_repr(self) -> str:
        """Say the arguments that differ from their defaults."""
        text = f"{self.definition.name}, {self.input_size}, {self.hidden_size}"
        text += "" if self.num_layers == 1 else f", num_layers={self.num_layers}"
        given = {
            "batch_first": self.batch_first,
            "dropout": self.dropout,
            "bidirectional": self.bidirectional,
        }
        for name, value in (given | self.noise._asdict() | self.sizes).items():
            text += f", {name}={value}" if value else ""
        return text

    def __prepare_scriptable__(self) -> nn.Module:
        refuse_script(self)

    def __getstate__(self) -> dict[str, Any]:
        # recipes are those of this version of stepfold; a saved module may be loaded by another
        own = ("_recipes", "_lookups", "_own_noise", "_state_shapes", "__module__", "definition")
        state = {name: value for name, value in self.__dict__.items() if name not in own}
        return state | {"cell": self.definition.to_json()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        saved = {name: value for name, value in state.items() if name != "cell"}
        super().__setstate__({"sizes": {}} | saved | {"definition": Cell.from_json(state["cell"])})
        self._prepare()

    @property
    def cell(self) -> RecurrentCell:
        """The module of one timestep, with the same parameters; ValueError for several layers or directions,
        and for recurrent dropout and zoneout, which belong to whole sequences."""
        if len(self._all_weights) > 1 or any(self.noise):
            raise ValueError(f"one timestep needs one layer, one direction and no noise, not {self!r}")
        return RecurrentCell.sharing(
            self.definition,
            self.input_size,
            self.hidden_size,
            [getattr(self, name) for name in self._all_weights[0]],
            self.sizes,
        )

"""`Recurrent`: any cell as a module."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from .._cell import Cell
from .._graph import KERNEL, RECURRENT_KERNEL, Dims
from .._runtime import Recipe
from ..cells import by_name
from ._noise import Noise
from ._surface import Form, open_input, run_layers, scan_direction, stand_as_leaf
from ._tokens import Tokens


class Recurrent(nn.Module):  # type: ignore[misc]
    """Layers of any cell, with the surface of torch.nn.LSTM.

    `cell` is a `stepfold.Cell` or the name of a built-in one. Layer k's parameters are called `{name}_l{k}`,
    with `_reverse` behind it for the other direction, and shaped as `cell.parameter_shapes` says; they start
    as `cell.init` does. `forward(input, hx=None, lengths=None)` takes and returns what torch.nn's modules
    do: input (time, batch, features), with `batch_first` (batch, time, features), unbatched (time, features),
    or a PackedSequence; `hx` one tensor (layers * directions, batch, hidden_size), or a tuple of one a state
    for cells with several. With `lengths` (batch,) outputs behind a sequence's end are zero.
    `recurrent_dropout` and `zoneout` as in `LSTM`.

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
    ) -> None:
        super().__init__()
        self.cell = by_name(cell) if isinstance(cell, str) else cell
        if not isinstance(self.cell, Cell):
            raise TypeError(
                f"cell should be a stepfold cell or the name of one, got {type(cell).__name__}; "
                "write @stepfold.cell above the function"
            )
        for name, size in (
            ("input_size", input_size),
            ("hidden_size", hidden_size),
            ("num_layers", num_layers),
        ):
            if not isinstance(size, int) or isinstance(size, bool):
                raise TypeError(f"{name} should be of type int, got: {type(size).__name__}")
            if size <= 0:
                raise ValueError(f"{name} must be greater than zero")
        if isinstance(dropout, bool) or not isinstance(dropout, (int, float)) or not 0 <= dropout <= 1:
            raise ValueError(
                "dropout should be a number in range [0, 1] representing the probability of an element "
                "being zeroed"
            )
        self.input_size, self.hidden_size, self.num_layers = input_size, hidden_size, num_layers
        self.batch_first, self.dropout, self.bidirectional = batch_first, float(dropout), bidirectional
        self.noise = Noise(recurrent_dropout, zoneout).checked()
        self._all_weights: list[list[str]] = []
        for layer in range(num_layers):
            for suffix in ("", "_reverse")[: self._directions]:
                width = input_size if layer == 0 else hidden_size * self._directions
                shapes = self.cell.parameter_shapes(features=width, units=hidden_size)
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

    def _prepare(self) -> None:
        stand_as_leaf(self)
        self._recipes = [Recipe.of(step, self.hidden_size) for step in self.noise.steps(self.cell.step)]

    def reset_parameters(self) -> None:
        """Draw the parameters anew: as the cell says, else kernels Glorot-uniform, recurrent kernels
        orthogonal, vectors zero."""
        step = self.cell.step
        for names in self._all_weights:
            for full, (name, dims) in zip(names, step.parameters.items(), strict=True):
                begin = step.kernels.get(name, ("", step.vectors.get(name, 0.0)))
                _start(getattr(self, full), dims, *begin)

    def flatten_parameters(self) -> None:
        """Do nothing: the parameters are used where they lie."""

    def forward(self, input: Tensor | Tokens | PackedSequence, hx: Any = None, lengths: Any = None) -> Any:
        """Run the layers over `input`, vectors or `Tokens`; returns (output, hx)."""
        if torch.onnx.is_in_onnx_export():
            raise RuntimeError(
                f"torch.onnx.export knows no operator for the cell {self.cell.name}; "
                'stepfold.export(model, "model.onnx") writes it'
            )
        states = len(self.cell.states)
        form = Form(
            type(self).__name__,
            self.input_size,
            (self.hidden_size,) * states,
            self.num_layers,
            self._directions,
            self.batch_first,
            states > 1,
            self._like,
        )
        inputs, batch, initial, close = open_input(form, input, hx, lengths)
        return close(*run_layers(self, form.directions, batch, inputs, initial, scan_direction))

    def extra_repr(self) -> str:
        """Say the arguments that differ from their defaults."""
        text = f"{self.cell.name}, {self.input_size}, {self.hidden_size}"
        text += "" if self.num_layers == 1 else f", num_layers={self.num_layers}"
        given = {
            "batch_first": self.batch_first,
            "dropout": self.dropout,
            "bidirectional": self.bidirectional,
        }
        for name, value in (given | self.noise._asdict()).items():
            text += f", {name}={value}" if value else ""
        return text

    def __getstate__(self) -> dict[str, Any]:
        # recipes are those of this version of stepfold; a saved module may be loaded by another
        own = ("_recipes", "__module__")
        state = {name: value for name, value in self.__dict__.items() if name not in own}
        return state | {"cell": self.cell.to_json()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state | {"cell": Cell.from_json(state["cell"])})
        self._prepare()


@torch.no_grad()  # type: ignore[untyped-decorator]
def _start(weight: Tensor, dims: Dims, kind: str, value: float) -> None:
    if kind == "identity":
        weight.copy_(value * torch.eye(len(weight), dtype=weight.dtype, device=weight.device))
    elif kind == "normal":
        nn.init.normal_(weight, 0.0, value)
    elif dims == KERNEL:
        nn.init.xavier_uniform_(weight)
    elif dims == RECURRENT_KERNEL:
        # the decomposition behind it knows no half precision
        wide = torch.promote_types(weight.dtype, torch.float32)
        weight.copy_(nn.init.orthogonal_(torch.empty_like(weight, dtype=wide)))
    else:
        nn.init.constant_(weight, value)

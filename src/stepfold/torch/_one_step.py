"""`RecurrentCell`: one timestep of any cell as a module, and what it shares with `Recurrent`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .._cell import Cell
from .._initial import legendre
from .._lookups import START
from .._runtime import Recipe
from .._step import Step
from ..cells import as_cell
from ._lookups import Lookups
from ._one_step_kernels import StepKernels
from ._scan import Batch, scan
from ._several import Several, layer_sizes, several_of
from ._surface import refuse_script


class RecurrentCell(nn.Module):  # type: ignore[misc]
    """One timestep of any cell, with the surface of torch.nn.LSTMCell.

    `cell` is a `stepfold.Cell` or the name of a built-in one; the parameters have its names, and the shapes
    that `cell.parameter_shapes` gives. `forward(input, hx=None)` takes input (batch, input_size), or
    (input_size,), and `hx`, the state (batch, hidden_size), or a tuple of one a state for cells with several,
    zeros if left out; it returns the new state, or the tuple, for a cell whose output is no state (output,
    hx). `sizes`, several inputs and states of other sizes as in `Recurrent`. Where a whole sequence is known,
    `Recurrent` is many times faster than a loop over this.
    """

    def __init__(
        self,
        cell: Cell | str,
        input_size: int,
        hidden_size: int,
        device: Any = None,
        dtype: Any = None,
        **sizes: int,
    ) -> None:
        super().__init__()
        definition = as_cell(cell)
        check_sizes(input_size=input_size, hidden_size=hidden_size, **sizes)
        of = layer_sizes(definition.step, input_size, hidden_size, sizes)
        shapes = definition.parameter_shapes(units=hidden_size, **of)
        made = [nn.Parameter(torch.empty(shape, device=device, dtype=dtype)) for shape in shapes.values()]
        self._begin(definition, input_size, hidden_size, made, sizes)
        self.reset_parameters()

    @classmethod
    def sharing(
        cls,
        definition: Cell,
        input_size: int,
        hidden_size: int,
        parameters: Sequence[Tensor],
        sizes: Mapping[str, int],
    ) -> RecurrentCell:
        """Return the module that has these parameters, in the cell's order."""
        module = cls.__new__(cls)
        nn.Module.__init__(module)
        module._begin(definition, input_size, hidden_size, parameters, sizes)
        return module

    def _begin(
        self,
        definition: Cell,
        input_size: int,
        hidden_size: int,
        parameters: Sequence[Tensor],
        sizes: Mapping[str, int],
    ) -> None:
        self.sizes = dict(sizes)
        self.definition, self.input_size, self.hidden_size = definition, input_size, hidden_size
        for name, parameter in zip(definition.step.parameters, parameters, strict=True):
            self.register_parameter(name, parameter)
        self._prepare()

    def _prepare(self) -> None:
        step, units = self.definition.step, self.hidden_size
        sizes = layer_sizes(step, self.input_size, units, self.sizes)
        self._recipe = Recipe.of(step.scanned, units, step.scanned_sizes(sizes))
        self._lookups = Lookups.of(step, {"units": units, **sizes})
        self._kernels = StepKernels(self._recipe, tuple(step.parameters))

    def reset_parameters(self) -> None:
        """Draw the parameters anew, as `Recurrent` does."""
        start(self.definition.step, list(self.parameters()))

    def forward(self, input: Any, hx: Any = None) -> Any:
        """Compute one timestep."""
        found = self._kernels(input, hx, self._parameters) if self._lookups is None else None
        if found is not None:
            return found
        name = type(self).__name__
        weights = [getattr(self, name) for name in self.definition.step.parameters]
        input = several_of(name, self._recipe, input, self._lookups, weights[0] if weights else None)
        single = input.dim() == 1
        if input.dim() not in (1, 2):
            raise ValueError(f"{name}: Expected input to be 1D or 2D, got {input.dim()}D instead")
        if input.shape[-1] != self.input_size:
            raise RuntimeError(
                f"{name}: input has inconsistent input_size: got {input.shape[-1]}, "
                f"expected {self.input_size}"
            )
        rows = input.unsqueeze(0) if single else input  # (B, F)
        batch, inputs, initial = Batch(rows.shape[0]), rows.unsqueeze(1), self._states(hx, rows, single)
        if self._lookups is not None:
            inputs, weights = self._lookups.gathered(inputs, weights, batch)
        _, last = scan(
            self._recipe,
            batch,
            inputs,
            weights,
            initial,
            sequences=False,
        )
        found = tuple(state.squeeze(0) if single else state for state in last)
        if self.definition.step.output:
            return found[0], found[1:] if len(found) > 2 else found[1]
        return found if len(found) > 1 else found[0]

    def _states(self, hx: Any, rows: Tensor | Several, single: bool) -> list[Tensor] | None:
        """Return the states given, (batch, hidden_size) each, or as wide as the state is; None if there are
        none."""
        if hx is None:
            return None
        count, name = len(self.definition.states), type(self).__name__
        given = list(hx) if isinstance(hx, (tuple, list)) else [hx]
        if len(given) != count:
            raise RuntimeError(
                f"{name}: {self.definition.name} has {count} states, "
                f"{', '.join(self.definition.states)}; hx has {len(given)}"
            )
        step = self.definition.step
        shapes = self._recipe.state_shapes[step.output :]
        for state, which, shape in zip(given, self.definition.states, shapes, strict=True):
            expected = shape if single else (rows.shape[0], *shape)
            if tuple(state.shape) != expected:
                axes = ["hidden_size" if axis == "units" else axis for axis in step.dims_of(which)]
                raise RuntimeError(
                    f"{name}: state {which} has shape {tuple(state.shape)}, expected {expected} "
                    f"({', '.join(['batch', *axes])})"
                )
        return [state.unsqueeze(0) if single else state for state in given]

    def extra_repr(self) -> str:
        """Say the cell and the sizes."""
        sizes = "".join(f", {axis}={size}" for axis, size in self.sizes.items())
        return f"{self.definition.name}, {self.input_size}, {self.hidden_size}{sizes}"

    def __prepare_scriptable__(self) -> nn.Module:
        refuse_script(self)

    def __getstate__(self) -> dict[str, Any]:
        # the cell as a graph, not as code; a recipe is that of this version of stepfold
        own = ("_recipe", "_kernels", "_lookups", "definition")
        state = {name: value for name, value in self.__dict__.items() if name not in own}
        return state | {"cell": self.definition.to_json()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        saved = {name: value for name, value in state.items() if name != "cell"}
        super().__setstate__({"sizes": {}} | saved | {"definition": Cell.from_json(state["cell"])})
        self._prepare()


def check_sizes(**sizes: int) -> None:
    """TypeError or ValueError, as torch.nn's, for a size that is no integer of at least 1."""
    for name, size in sizes.items():
        if not isinstance(size, int) or isinstance(size, bool):
            raise TypeError(f"{name} should be of type int, got: {type(size).__name__}")
        if size <= 0:
            raise ValueError(f"{name} must be greater than zero")


def start(step: Step, parameters: Sequence[Tensor]) -> None:
    """Draw a step's parameters, in its order: as it says, else kernels Glorot-uniform, recurrent kernels
    orthogonal, tables uniform within ±0.05, vectors zero."""
    for parameter, (name, dims) in zip(parameters, step.parameters.items(), strict=True):
        kind, value = step.kernels.get(name, ("", step.vectors.get(name, 0.0)))
        if name in step.matrices and not kind:
            kind = "orthogonal" if dims[0] == dims[1] else "glorot"
        if name in step.tables and len(dims) == 2 and not kind:
            kind = "table"
        if kind == "legendre":
            found = legendre(len(parameter), value, square=dims[0] == dims[1])
            with torch.no_grad():
                parameter.copy_(torch.from_numpy(found))
        else:
            _start(parameter, kind, value)


@torch.no_grad()  # type: ignore[untyped-decorator]
def _start(weight: Tensor, kind: str, value: float) -> None:
    if kind == "identity":
        weight.copy_(value * torch.eye(len(weight), dtype=weight.dtype, device=weight.device))
    elif kind == "normal":
        nn.init.normal_(weight, 0.0, value)
    elif kind == "table":
        nn.init.uniform_(weight, -START, START)
    elif kind == "glorot":
        nn.init.xavier_uniform_(weight)
    elif kind == "orthogonal":
        # the decomposition behind it knows no half precision
        wide = torch.promote_types(weight.dtype, torch.float32)
        weight.copy_(nn.init.orthogonal_(torch.empty_like(weight, dtype=wide)))
    else:
        nn.init.constant_(weight, value)

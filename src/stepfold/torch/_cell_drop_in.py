"""`RNNCell`, `LSTMCell` and `GRUCell` in place of torch.nn's."""

from __future__ import annotations

import copy
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from .._runtime import Recipe
from ._cells import GATES, cell_of, parts_of
from ._one_step_kernels import StepKernels
from ._quantisation import NotQuantised
from ._scan import Batch, scan, unsupported_reason
from ._surface import stand_as_leaf
from ._weight_gradients import is_compiling

_NAMES = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
_OWN = ("_kernels", "_recipe", "__module__")
"""Attributes of ours alone: torch.nn's module has none, and a saved one neither."""


class CellDropIn(NotQuantised, nn.RNNCellBase):  # type: ignore[misc]
    """What the three share: torch.nn's module, whose forward the kernels of one timestep compute where they
    serve; under torch.func's transforms a scan of one timestep, everywhere else torch's own forward."""

    torch_module: ClassVar[type[nn.RNNCellBase]]
    is_plain = True

    @property
    def _mode(self) -> str:
        """The mode of torch's layer with this cell."""
        raise NotImplementedError

    def prepare(self) -> None:
        """Make ready to run by kernels."""
        stand_as_leaf(self)
        self._kernels: StepKernels | None = None
        if self._mode not in GATES:
            return  # torch's forward says what is wrong
        parts, weights = parts_of(self._mode, self.bias, False)
        step = cell_of(self._mode, False).step
        self._recipe = Recipe.of(step, self.hidden_size, parts=parts, weights=weights)
        self._kernels = StepKernels(self._recipe, _NAMES)

    def restore(self) -> None:
        """Become torch.nn's module again, with the same parameters."""
        for name in _OWN:
            self.__dict__.pop(name, None)
        self.__class__ = self.torch_module

    def forward(self, input: Any, hx: Any = None) -> Any:
        """Compute one timestep, as torch.nn's module does."""
        if self._kernels is not None and not is_compiling():
            found = self._kernels(input, hx, self._parameters)
            if found is not None:
                return found
            transformed = torch._C._are_functorch_transforms_active()
            if transformed and unsupported_reason(input.device, input.dtype) is None:
                return self._scanned(input, hx)
        return super().forward(input, hx)

    def _scanned(self, input: Tensor, hx: Any) -> Any:
        """Compute one timestep as a scan of one, which torch.func's transforms can take apart."""
        single = input.dim() == 1
        given = None if hx is None else list(hx) if isinstance(hx, (tuple, list)) else [hx]
        if single:
            input, given = input.unsqueeze(0), given and [state.unsqueeze(0) for state in given]
        weights = [getattr(self, name) for name in _NAMES[: self._recipe.weights]]
        batch, inputs = Batch(input.shape[0]), input.unsqueeze(1)
        _, last = scan(self._recipe, batch, inputs, weights, given, sequences=False)
        found = tuple(state.squeeze(0) if single else state for state in last)
        return found if len(found) > 1 else found[0]

    def __prepare_scriptable__(self) -> nn.Module:
        """Return what torch.jit.script compiles in place of this: torch.nn's module with these parameters."""
        twin = copy.copy(self)
        twin.restore()
        return twin

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in _OWN}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self.prepare()


class RNNCell(CellDropIn, nn.RNNCell):  # type: ignore[misc]
    """torch.nn.RNNCell, fused on the CPU: same arguments, same parameters, same numbers."""

    torch_module = nn.RNNCell

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        nonlinearity: str = "tanh",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(input_size, hidden_size, bias, nonlinearity, device, dtype)
        self.prepare()

    @property
    def _mode(self) -> str:
        return f"RNN_{self.nonlinearity.upper()}"


class LSTMCell(CellDropIn, nn.LSTMCell):  # type: ignore[misc]
    """torch.nn.LSTMCell, fused on the CPU: same arguments, same parameters, same numbers."""

    torch_module = nn.LSTMCell

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, device: Any = None, dtype: Any = None
    ) -> None:
        super().__init__(input_size, hidden_size, bias, device, dtype)
        self.prepare()

    @property
    def _mode(self) -> str:
        return "LSTM"


class GRUCell(CellDropIn, nn.GRUCell):  # type: ignore[misc]
    """torch.nn.GRUCell, fused on the CPU: same arguments, same parameters, same numbers."""

    torch_module = nn.GRUCell

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, device: Any = None, dtype: Any = None
    ) -> None:
        super().__init__(input_size, hidden_size, bias, device, dtype)
        self.prepare()

    @property
    def _mode(self) -> str:
        return "GRU"

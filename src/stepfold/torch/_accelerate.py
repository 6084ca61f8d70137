"""`accelerate` and `restore`: the recurrent modules of a model swapped for the fused ones, and back."""

from __future__ import annotations

import torch
from torch import nn

from .._accelerated import Accelerated
from ._cell_drop_in import CellDropIn, GRUCell, LSTMCell, RNNCell
from ._drop_in import GRU, LSTM, RNN, DropIn
from ._recurrent import Recurrent
from ._scan import unsupported_reason

_SWAPS: dict[type[nn.Module], type[DropIn | CellDropIn]] = {
    nn.RNN: RNN,
    nn.LSTM: LSTM,
    nn.GRU: GRU,
    nn.RNNCell: RNNCell,
    nn.LSTMCell: LSTMCell,
    nn.GRUCell: GRUCell,
}
_OWN = (DropIn, CellDropIn)


def accelerate(module: nn.Module) -> nn.Module:
    """Swap every torch.nn.RNN, LSTM and GRU, and their cells, in a model for stepfold's, in place; return the
    model.

    The modules stay the same objects, with the same parameters, hooks and names, so optimizers and
    checkpoints go on working; only what runs is another. `print(model.report)` says what was swapped, and
    what was left and why. `restore` goes back.
    """
    report = Accelerated()
    for name, child in module.named_modules():
        if isinstance(child, _OWN):
            continue
        reason = _reason_to_leave(child)
        if reason is not None:
            report.left[name] = reason
        elif type(child) in _SWAPS:
            child.__class__ = _SWAPS[type(child)]
            child.prepare()
            report.swapped.append(name)
    module.report = report
    return module


def restore(module: nn.Module) -> nn.Module:
    """Make every stepfold RNN, LSTM and GRU in a model, and their cells, torch.nn's again, in place; return
    the model.

    Parameters, hooks and names stay. ValueError, before anything is changed, that names the modules which
    torch.nn has not: `Recurrent`, and those with recurrent dropout, zoneout or layer normalisation.
    """
    own = [(name, child) for name, child in module.named_modules() if isinstance(child, (*_OWN, Recurrent))]
    stay = [name for name, child in own if isinstance(child, Recurrent) or not child.is_plain]
    if stay:
        names = ", ".join(name or "the module itself" for name in stay)
        raise ValueError(f"torch.nn has no module for {names}; they stay stepfold's, and nothing was changed")
    for _, child in own:
        child.restore()
    module.__dict__.pop("report", None)
    return module


def _reason_to_leave(child: nn.Module) -> str | None:
    if isinstance(child, torch.jit.ScriptModule) and getattr(child, "original_name", "") in (
        *("RNN", "LSTM", "GRU", "RNNCell", "LSTMCell", "GRUCell"),
    ):
        return "it is TorchScript, which is compiled already"
    if not isinstance(child, (nn.RNNBase, nn.RNNCellBase)):
        return None
    if type(child) not in _SWAPS:
        return f"{type(child).__name__} is a class of its own, which may compute something else"
    weight = child.weight_ih if isinstance(child, nn.RNNCellBase) else child.weight_ih_l0
    return unsupported_reason(weight.device, weight.dtype)

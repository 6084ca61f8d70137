"""`RNN`, `LSTM` and `GRU` in place of torch.nn's."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from .._runtime import Recipe
from .._warn import warn_once
from ._cells import GATES, cell_of, lstm_from_projection, norm_names, parts_of
from ._noise import Noise
from ._quantisation import NotQuantised
from ._scan import HALF, Batch, as_lengths, scan, unsupported_reason, without_autocast
from ._surface import Form, open_input, refuse_script, run_layers, scan_direction, stand_as_leaf
from ._tokens import Tokens

_BEYOND = """
    Beyond torch.nn's: `recurrent_dropout` drops units of what enters the recurrent weights, one mask a
    sequence (Gal & Ghahramani 2016); `zoneout` lets units keep their old state (Krueger et al. 2017);
    `layer_norm` normalises each gate (Ba, Kiros & Hinton 2016). `forward(input, hx=None, lengths=None)`
    takes integer lengths (batch,) of sequences padded at their end: outputs behind them are zero, and
    the last states are those at each sequence's end.

    Inputs, states and outputs are shaped as torch.nn's; float32 or float64. bfloat16, float16 and autocast
    compute in float32 and return what torch.nn's module returns. On another device torch's own kernels run
    with the same weights; where torch.onnx.export or torch.jit.script look into it, torch's own module does.
    """


class DropIn(NotQuantised, nn.RNNBase):  # type: ignore[misc]
    """What the three share. Attributes of the class are the defaults of a module that `accelerate`
    swapped.

    They are subclasses of nn.RNNBase, not of nn.RNN, nn.LSTM and nn.GRU: torch.compile does not look into
    subclasses of those three (`torch._dynamo.config.allow_rnn`), and would run each as a graph break."""

    noise = Noise()
    layer_norm = False
    torch_module: type[nn.RNNBase]

    def _begin(self, recurrent_dropout: float, zoneout: float, layer_norm: bool) -> None:
        self.noise = Noise(recurrent_dropout, zoneout).checked()
        self.layer_norm = bool(layer_norm)
        if self.proj_size and (any(self.noise) or layer_norm):
            raise ValueError("proj_size goes with none of recurrent_dropout, zoneout and layer_norm")
        if layer_norm:
            self._add_layer_norm()
            self.reset_parameters()
        self.prepare()

    @property
    def is_plain(self) -> bool:
        """Whether it computes what torch.nn's module does, and nothing beyond."""
        return not any(self.noise) and not self.layer_norm

    def prepare(self) -> None:
        """Write the recipes: for training, for inference, and for a projected LSTM that is given its
        state."""
        stand_as_leaf(self)
        parts, weights = parts_of(self.mode, self.bias, self.layer_norm)
        steps = [*self.noise.steps(cell_of(self.mode, self.layer_norm).step)]
        if self.proj_size:
            steps.append(lstm_from_projection.step)
        self._recipes = [Recipe.of(step, self.hidden_size, parts=parts, weights=weights) for step in steps]

    def restore(self) -> None:
        """Become torch.nn's module again, with the same parameters; ValueError if it does more than that."""
        if not self.is_plain:
            raise ValueError("torch.nn has no recurrent dropout, zoneout or layer normalisation")
        for name in ("_recipes", "noise", "layer_norm", "__module__"):
            self.__dict__.pop(name, None)
        self.__class__ = self.torch_module

    def __prepare_scriptable__(self) -> nn.Module:
        """Return what torch.jit.script compiles in place of this: torch.nn's module with these parameters."""
        if not self.is_plain:
            refuse_script(self)
        twin = copy.copy(self)
        twin.restore()
        return twin

    def _add_layer_norm(self) -> None:
        like = self.weight_ih_l0
        for names in self._all_weights:
            for name in norm_names(self.mode):
                size = (1 if name.endswith("_c") else len(GATES[self.mode])) * self.hidden_size
                full = names[0].replace("weight_ih", name)
                self.register_parameter(
                    full, nn.Parameter(torch.empty(size, dtype=like.dtype, device=like.device))
                )
                names.append(full)

    def reset_parameters(self) -> None:
        """Draw the parameters anew, as torch.nn does; layer normalisation starts as none."""
        super().reset_parameters()
        for name, parameter in self.named_parameters(recurse=False):
            if "_ln_" in name:
                nn.init.constant_(parameter, 1.0 if name.startswith("weight") else 0.0)

    def forward(self, input: Tensor | Tokens | PackedSequence, hx: Any = None, lengths: Any = None) -> Any:
        """Run the layers over `input`, vectors or `Tokens`; returns (output, hx), shaped and packed as
        torch.nn's do."""
        own = self.weight_ih_l0
        if self.is_plain and torch.onnx.is_in_onnx_export():
            return self._by_torch(input, hx, lengths)  # which becomes ONNX's operator
        reason = unsupported_reason(own.device, own.dtype)
        if reason is not None and self.is_plain:
            if own.device.type == "cpu":
                warn_once(f"torch's own {self.torch_module.__name__} runs in place of stepfold's: {reason}")
            return self._by_torch(input, hx, lengths)
        lstm = self.mode == "LSTM"
        form = Form(
            type(self).__name__,
            self.input_size,
            ((self.proj_size or self.hidden_size,), (self.hidden_size,)) if lstm else ((self.hidden_size,),),
            self.num_layers,
            2 if self.bidirectional else 1,
            self.batch_first,
            lstm,
            own,
            as_input=self.mode == "GRU",
        )
        inputs, batch, states, close = open_input(form, input, hx, lengths)
        if batch.kind != "packed" and inputs.shape[0 if batch.time_major else 1] == 0:
            raise RuntimeError("Expected sequence length to be larger than 0 in RNN")
        direction = DropIn._projected if self.proj_size else scan_direction
        return close(*run_layers(self, form.directions, batch, inputs, states, direction))

    def _projected(
        self,
        weights: list[Tensor],
        batch: Batch,
        inputs: Tensor | Tokens,
        initial: list[Tensor] | None,
        reverse: bool,
        layer: int,
    ) -> tuple[Tensor, list[Tensor]]:
        """The projection multiplied into the recurrent weights; see `lstm_from_projection`."""
        own = weights[0].dtype
        if own in HALF:
            wide = [weight.float() for weight in weights]
            outputs, last = self._projected(wide, batch, inputs, initial, reverse, layer)
            return outputs.to(own), [state.to(own) for state in last]
        w_ih, w_hh, *biases, w_hr = weights
        with without_autocast(w_hr.device):
            merged = [w_ih, w_hh @ w_hr, *biases]
            if initial is None:
                outputs, (m, c) = scan(
                    self._recipes[0], batch, inputs.to(w_hr.dtype), merged, reverse=reverse
                )
                return outputs @ w_hr.mT, [m @ w_hr.mT, c]
            h, before = (state.to(w_hr.dtype) for state in initial)
            first = (h @ w_hh.mT).chunk(4, -1)
            states = [torch.zeros_like(before), before, *first]
            outputs, (m, c, *_) = scan(
                self._recipes[2], batch, inputs.to(w_hr.dtype), merged, states, reverse=reverse
            )
            after = m @ w_hr.mT
            if batch.kind == "lengths":
                assert batch.active is not None
                after = torch.where((batch.active > 0)[:, None], after, h)
            return outputs @ w_hr.mT, [after, c]

    def _by_torch(self, input: Any, hx: Any, lengths: Any) -> Any:
        """Let torch compute it, with cuDNN where there is one."""
        forward = self.torch_module.forward
        input = input.vectors() if isinstance(input, Tokens) else input
        if lengths is None:
            return forward(self, input, hx)
        rows = input.shape[0 if self.batch_first else 1]
        packed = pack_padded_sequence(
            input, as_lengths(lengths, rows), batch_first=self.batch_first, enforce_sorted=False
        )
        output, last = forward(self, packed, hx)
        time = input.shape[1 if self.batch_first else 0]
        return pad_packed_sequence(output, self.batch_first, total_length=time)[0], last

    def __getstate__(self) -> dict[str, Any]:
        # recipes are those of this version of stepfold; a saved module may be loaded by another
        own = ("_recipes", "__module__")
        return {name: value for name, value in super().__getstate__().items() if name not in own}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self.prepare()

    def extra_repr(self) -> str:
        """Say the arguments that differ from their defaults."""
        text = str(super().extra_repr())
        for name, value in (*self.noise._asdict().items(), ("layer_norm", self.layer_norm)):
            text += f", {name}={value}" if value else ""
        return text


class RNN(DropIn):
    __doc__ = f"""torch.nn.RNN, fused on the CPU: same arguments, same parameters, same numbers.
    {_BEYOND}"""
    torch_module = nn.RNN

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: Any = None,
        dtype: Any = None,
        *,
        recurrent_dropout: float = 0.0,
        zoneout: float = 0.0,
        layer_norm: bool = False,
        **unknown: Any,
    ) -> None:
        _no_projection(unknown)
        modes = {"tanh": "RNN_TANH", "relu": "RNN_RELU"}
        if nonlinearity not in modes:
            raise ValueError(f"Unknown nonlinearity '{nonlinearity}'. Select from 'tanh' or 'relu'.")
        self.nonlinearity = nonlinearity
        super().__init__(
            modes[nonlinearity], input_size, hidden_size, num_layers, bias, batch_first, dropout,
            bidirectional, device=device, dtype=dtype,
        )  # fmt: skip
        self._begin(recurrent_dropout, zoneout, layer_norm)


class LSTM(DropIn):
    __doc__ = f"""torch.nn.LSTM, fused on the CPU: same arguments, same parameters, same numbers.
    {_BEYOND}"""
    torch_module = nn.LSTM
    # what torch's own forward asks of the module that it runs
    get_expected_cell_size = nn.LSTM.get_expected_cell_size
    check_forward_args = nn.LSTM.check_forward_args
    permute_hidden = nn.LSTM.permute_hidden

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: Any = None,
        dtype: Any = None,
        *,
        recurrent_dropout: float = 0.0,
        zoneout: float = 0.0,
        layer_norm: bool = False,
    ) -> None:
        super().__init__(
            "LSTM", input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, proj_size,
            device=device, dtype=dtype,
        )  # fmt: skip
        self._begin(recurrent_dropout, zoneout, layer_norm)


class GRU(DropIn):
    __doc__ = f"""torch.nn.GRU, fused on the CPU: same arguments, same parameters, same numbers.

    With `layer_norm` the reset gate acts before the recurrent product, as in that paper.
    {_BEYOND}"""
    torch_module = nn.GRU

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: Any = None,
        dtype: Any = None,
        *,
        recurrent_dropout: float = 0.0,
        zoneout: float = 0.0,
        layer_norm: bool = False,
        **unknown: Any,
    ) -> None:
        _no_projection(unknown)
        super().__init__(
            "GRU", input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional,
            device=device, dtype=dtype,
        )  # fmt: skip
        self._begin(recurrent_dropout, zoneout, layer_norm)


def _no_projection(unknown: dict[str, Any]) -> None:
    """Only LSTM has a projection, and nothing has arguments that nobody knows."""
    if "proj_size" in unknown:
        raise ValueError("proj_size argument is only supported for LSTM, not RNN or GRU")
    if unknown:
        raise TypeError(f"unexpected keyword argument {next(iter(unknown))!r}")

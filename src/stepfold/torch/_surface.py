"""What every recurrent module takes and gives, as `torch.nn`'s do: batched, unbatched or packed, with states
and lengths."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, NoReturn, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import PackedSequence

from ._scan import Batch, as_lengths, scan, under_autocast
from ._several import Several
from ._tokens import Tokens, tokens_of

Given: TypeAlias = Tensor | Tokens | Several
"""What a layer reads."""
Direction = Callable[
    [nn.Module, list[Tensor], Batch, Any, "list[Tensor] | None", bool, int],
    tuple[Tensor, list[Tensor]],
]
"""One layer in one direction: (module, weights, batch, inputs, initial states, reverse, number of the layer)
→ (outputs, last states)."""


class Form(NamedTuple):
    """What a module's messages and shapes need to know of it; `shapes`: those of the states of one row."""

    name: str
    input_size: int
    shapes: tuple[tuple[int, ...], ...]
    layers: int
    directions: int
    batch_first: bool
    many: bool
    weight: Tensor
    as_input: bool = False
    """Whether autocast leaves the results in the input's dtype, as torch's GRU does."""

    def states(self, rows: int) -> list[tuple[int, ...]]:
        """The shape of each state."""
        return [(self.layers * self.directions, rows, *shape) for shape in self.shapes]

    def under_autocast(self, value: Given) -> Callable[[Tensor], Tensor]:
        """Return what gives a result the dtype that torch's module gives it under autocast."""
        if not under_autocast(self.weight.device) or self.weight.dtype == torch.float64:
            return lambda result: result
        kind = self.weight.device.type
        dtype = value.dtype if self.as_input else torch.get_autocast_dtype(kind)
        return lambda result: result.to(dtype)


def stand_as_leaf(module: nn.Module) -> None:
    """Let torch.fx take a module as one operation, as it takes torch.nn's, which it tells by this name."""
    module.__dict__["__module__"] = nn.RNNBase.__module__


def refuse_script(module: nn.Module) -> NoReturn:
    """RuntimeError for torch.jit.script, which looks into a module's Python."""
    raise RuntimeError(
        f"torch.jit.script cannot compile {module!r}, which torch.nn has not; torch.jit.trace, torch.compile "
        "and torch.export take it as one operation"
    )


def open_input(
    form: Form, value: Any, hx: Any, lengths: Any
) -> tuple[Given, Batch, list[Tensor] | None, Callable[[Tensor, list[Tensor]], Any]]:
    """Check what `forward` was given, and return (inputs, batch, states, how the result is handed back)."""
    states = None if hx is None else list(hx) if form.many else [hx]
    if states is not None and len(states) != len(form.shapes):
        raise RuntimeError(f"{form.name}: Expected {len(form.shapes)} initial states, got {len(states)}")
    if isinstance(value, PackedSequence):
        if lengths is not None:
            raise ValueError("a PackedSequence has its lengths inside: leave lengths= out")
        return _open_packed(form, value, states)
    value = _checked_tokens(form, value)
    if value.dim() not in (2, 3):
        raise ValueError(f"{form.name}: Expected input to be 2D or 3D, got {value.dim()}D tensor instead")
    unbatched = value.dim() == 2
    if unbatched and lengths is not None:
        raise ValueError("lengths= needs a batch, input of 3 axes; cut an unbatched sequence to its length")
    if states is not None:
        _check_axes(form, states, value.dim())
    if unbatched:
        value = value.unsqueeze(0 if form.batch_first else 1)
        states = None if states is None else [s.unsqueeze(1) for s in states]
    _check_input(form, value)
    rows = value.shape[0] if form.batch_first else value.shape[1]
    _check_states(form, states, value, rows)
    found, rounded = as_lengths(lengths, rows), form.under_autocast(value)

    def close(outputs: Tensor, last: list[Tensor]) -> Any:
        outputs, last = rounded(outputs), [rounded(s) for s in last]
        if unbatched:
            outputs = outputs.squeeze(0 if form.batch_first else 1)
            last = [s.squeeze(1) for s in last]
        return outputs, tuple(last) if form.many else last[0]

    return (
        value,
        Batch(rows, not form.batch_first, "all" if found is None else "lengths", found, "zero"),
        states,
        close,
    )


def _open_packed(
    form: Form, packed: PackedSequence, states: list[Tensor] | None
) -> tuple[Given, Batch, list[Tensor] | None, Callable[[Tensor, list[Tensor]], Any]]:
    data, batch_sizes, order, back = packed
    if batch_sizes.numel() == 0:
        raise IndexError("the packed batch is empty: batch_sizes has no timestep; pack at least one sequence")
    data, rows = _checked_tokens(form, data), int(batch_sizes[0])
    _check_input(form, data, axes=2)
    if int(batch_sizes.sum()) != data.shape[0]:
        raise RuntimeError(
            f"the packed data has {data.shape[0]} places, but its batch_sizes add up to "
            f"{int(batch_sizes.sum())}"
        )
    _check_states(form, states, data, rows)
    if states is not None and order is not None:
        states = [s.index_select(1, order) for s in states]
    rounded = form.under_autocast(data)

    def close(outputs: Tensor, last: list[Tensor]) -> Any:
        outputs, last = rounded(outputs), [rounded(s) for s in last]
        if back is not None:
            last = [s.index_select(1, back) for s in last]
        return PackedSequence(outputs, batch_sizes, order, back), tuple(last) if form.many else last[0]

    return data, Batch(rows, kind="packed", active=batch_sizes), states, close


def run_layers(
    module: nn.Module,
    directions: int,
    batch: Batch,
    inputs: Given,
    states: list[Tensor] | None,
    direction: Direction,
) -> tuple[Tensor, list[Tensor]]:
    """Run a module's layers one on the other, each in one or both directions: the outputs, and each state of
    all of them."""
    last: list[list[Tensor]] = []
    outputs: list[Tensor] = []
    output: Tensor | None = None
    for number, names in enumerate(module._all_weights):
        weights = [getattr(module, name) for name in names]
        initial = None if states is None else [state[number] for state in states]
        reverse, layer = len(outputs) == 1, number // directions
        given, final = direction(module, weights, batch, inputs, initial, reverse, layer)
        outputs.append(given)
        last.append(final)
        if len(outputs) == directions:
            output = given if directions == 1 else torch.cat(outputs, -1)
            outputs = []
            if module.training and module.dropout and number + 1 < len(module._all_weights):
                output = functional.dropout(output, module.dropout)
            inputs = inputs.after(output) if isinstance(inputs, Several) else output
    assert output is not None  # there is a layer
    if len(last) == 1:
        return output, [state.unsqueeze(0) for state in last[0]]
    return output, [torch.stack(each) for each in zip(*last, strict=True)]


def scan_direction(
    module: nn.Module,
    weights: list[Tensor],
    batch: Batch,
    inputs: Given,
    initial: list[Tensor] | None,
    reverse: bool,
    layer: int,
) -> tuple[Tensor, list[Tensor]]:
    """Scan with a module's recipe and noise, for training or for inference."""
    recipe = module._recipes[0 if module.training else 1]
    extra = module.noise.draw(recipe, batch, inputs)
    return scan(recipe, batch, inputs, weights, initial, extra=extra, reverse=reverse)


def _checked_tokens(form: Form, value: Any) -> Given:
    value = tokens_of(value)
    own = value.own if isinstance(value, Several) else value
    if isinstance(own, Tokens):
        own.check(form.name)
    return value


def _check_input(form: Form, value: Given, axes: int = 3) -> None:
    if value.device != form.weight.device:
        raise RuntimeError(
            "Input and parameter tensors are not at the same device, found input tensor at "
            f"{value.device} and parameter tensor at {form.weight.device}"
        )
    if value.dtype != form.weight.dtype and not under_autocast(value.device):
        raise ValueError(
            f"RNN input dtype ({value.dtype}) does not match weight dtype ({form.weight.dtype}). "
            f"Convert input: input.to({form.weight.dtype}), or convert model: model.to({value.dtype})"
        )
    if value.dim() != axes:
        raise RuntimeError(f"input must have {axes} dimensions, got {value.dim()}")
    if value.shape[-1] != form.input_size:
        raise RuntimeError(
            f"input.size(-1) must be equal to input_size. Expected {form.input_size}, got {value.shape[-1]}"
        )


def _check_states(form: Form, states: list[Tensor] | None, value: Given, rows: int) -> None:
    for number, (state, shape) in enumerate(zip(states or [], form.states(rows), strict=False)):
        which = f"hidden[{number}]" if form.many else "hidden"
        if tuple(state.shape) != shape:
            raise RuntimeError(f"Expected {which} size {shape}, got {list(state.shape)}")
        if state.device != value.device:
            raise RuntimeError(
                f"Input and hidden tensors are not at the same device, found input tensor at {value.device} "
                f"and hidden tensor at {state.device}"
            )
        if state.dtype != value.dtype and not under_autocast(value.device):
            raise RuntimeError(
                f"Input and hidden tensors are not the same dtype, found input tensor with {value.dtype} "
                f"and hidden tensor with {state.dtype}"
            )


def _check_axes(form: Form, states: list[Tensor], axes: int) -> None:
    more = [len(shape) - 1 for shape in form.shapes]
    if all(state.dim() == axes + beside for state, beside in zip(states, more, strict=True)):
        return
    if any(more):
        shapes = ", ".join(str(shape) for shape in form.states(1))
        raise RuntimeError(
            f"{form.name}: the states for one row are of shapes {shapes}, unbatched without the second axis; "
            f"got {', '.join(str(tuple(state.shape)) for state in states)}"
        )
    kind = "For batched 3-D" if axes == 3 else "For unbatched 2-D"
    if not form.many:
        raise RuntimeError(f"{kind} input, hx should also be {axes}-D but got {states[0].dim()}-D tensor")
    found = ", ".join(f"{s.dim()}-D" for s in states)
    names = "hx and cx" if len(states) == 2 else "all states"
    raise RuntimeError(f"{kind} input, {names} should also be {axes}-D but got ({found}) tensors")

"""One layer in one direction over a batch: by the fused kernels, or said once why not and by a loop."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .._cell import Cell
from .._dims import known_size
from .._runtime import Recipe
from .._step import Step
from .._warn import warn_once
from ..cells import as_cell
from ._arguments import Arguments
from ._derivatives import scan_operator
from ._lookups import Lookups
from ._operator import refuse_onnx
from ._several import Several, like_of, several_of
from ._states import split_states, state_shapes
from ._tokens import Tokens, tokens_of
from ._transforms import is_transformed, transformed_scan

HALF = (torch.bfloat16, torch.float16)
"""Dtypes whose values are computed with in float32."""
_SERVED = (torch.float32, torch.float64, *HALF)
KERNELS = {"cpu": _SERVED, "meta": _SERVED}
"""The devices with fused kernels, and their dtypes ("meta" has shapes only)."""


def under_autocast(device: torch.device) -> bool:
    """Whether autocast is on for the device ("meta" has none)."""
    kind = device.type
    return kind != "meta" and bool(torch.is_autocast_enabled(kind))


def without_autocast(device: torch.device) -> Any:
    """A context in which operations keep their dtype; where autocast is off anyway it leaves no trace in a
    graph."""
    return torch.autocast(device.type, enabled=False) if under_autocast(device) else contextlib.nullcontext()


class Batch(NamedTuple):
    """How a batch lies in memory and which steps are active: `kind` and `padding` are a recipe's `active` and
    `padding`, `active` the tensor that `stepfold::scan` takes."""

    rows: int
    time_major: bool = False
    kind: str = "all"
    active: Tensor | None = None
    padding: str = "repeat"


def unsupported_reason(device: torch.device, dtype: torch.dtype) -> str | None:
    """Say why no fused kernel serves this device and dtype; None if one does."""
    kind = device.type
    if kind not in KERNELS:
        return f"no fused kernel for the device {kind!r} yet"
    if dtype not in KERNELS[kind]:
        served = ", ".join(str(each).removeprefix("torch.") for each in KERNELS[kind])
        return f"no fused kernel for {dtype} on the device {kind!r}, only for {served}"
    return None


def scan(
    recipe: Recipe,
    batch: Batch,
    inputs: Tensor | Tokens | Several,
    weights: Sequence[Tensor],
    initial: Sequence[Tensor] | None = None,
    *,
    extra: Sequence[Tensor] = (),
    reverse: bool = False,
    sequences: bool = True,
) -> tuple[Tensor, list[Tensor]]:
    """Scan a batch with a recipe: the outputs, laid out as the inputs, and the last states (batch, units), or
    as wide as each is; an output that is no state is neither among these nor among the initial ones.

    Without `sequences` the outputs need not be there; an output that is no state is then the first of the
    last states.

    Under autocast everything runs in the dtype of the weights; half precision runs in float32, and the
    results are rounded. The recipe's flags are filled in here.
    """
    refuse_onnx(recipe.step.name)
    own = weights[0].dtype if weights else inputs.dtype
    dtype = torch.float32 if own in HALF and inputs.device.type in KERNELS else own
    if dtype != own or under_autocast(inputs.device):
        inputs = inputs.to(dtype)
        initial = None if initial is None else [state.to(dtype) for state in initial]
        weights, extra = [w.to(dtype) for w in weights], [leaf.to(dtype) for leaf in extra]
    own_output, shapes = int(recipe.step.output), state_shapes(recipe)
    if initial is None and batch.kind == "packed":
        initial = [like_of(inputs).new_zeros((batch.rows, *shape)) for shape in shapes]
    elif initial is not None and own_output:
        initial = [like_of(inputs).new_zeros((batch.rows, *shapes[0])), *initial]
    tokens = side = None
    named: list[Tensor] = []
    given: Any = inputs
    device = inputs.device
    if isinstance(given, Several):
        given, named = given.own, list(given.named)
    if isinstance(given, Tokens):
        tokens, given, side = given
    flags = reverse, batch.time_major, tokens is not None, side is not None
    states = list(initial or [])
    text = _text(recipe, *flags, batch.kind, batch.padding, initial is not None)
    arguments = Arguments(given, list(weights), states, list(extra), batch.active, tokens, side, named, text)
    reason = unsupported_reason(device, dtype)
    if reason is None and is_transformed():
        outputs, last = transformed_scan(arguments)
    elif reason is None:
        values = [each for each in (given, side, *named, *weights, *states) if each is not None]
        # a traced program may run with gradients or without: torch.jit.trace tries both
        training = torch.is_grad_enabled() or torch.jit.is_tracing()
        training = training and any(value.requires_grad for value in values)
        outputs, last, _ = scan_operator(*arguments, sequences, training)
    else:
        warn_once(
            f"stepfold runs the cell {recipe.step.name} as a loop of torch operations, a timestep at a time: "
            f"{reason}"
        )
        with without_autocast(device):
            outputs, last = arguments.by_loop()
    found = list(split_states(recipe, last.to(own)))
    return outputs.to(own), found[own_output if sequences else 0 :]


def _text(
    recipe: Recipe,
    reverse: bool,
    time_major: bool,
    tokens: bool,
    side: bool,
    active: str,
    padding: str,
    initial: bool,
) -> str:
    flags = {"reverse": reverse, "time_major": time_major, "tokens": tokens, "side": side}
    return recipe.but(**flags, active=active, padding=padding, initial=initial).text


# What torch.compiler.assume_constant_result does; that imports the compiler, which takes seconds.
_text._dynamo_marked_constant = True  # type: ignore[attr-defined]


def run(
    cell: Cell | str,
    inputs: Any,
    params: Mapping[str, Tensor],
    initial_state: Sequence[Tensor] | None = None,
    *,
    lengths: Tensor | None = None,
    mask: Tensor | None = None,
    reverse: bool = False,
    time_major: bool = False,
    extra: Mapping[tuple[str, str], Tensor] | None = None,
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Scan a batch of sequences with a cell, with gradients: a function of tensors, without a module.

    `inputs` (batch, time, features), or (time, batch, features) with `time_major`, or `Tokens`, for a cell
    with several inputs a tuple in its order, integers (batch, time) among them; `params` name → tensor,
    shaped as `cell.parameter_shapes` says; `initial_state` one (batch, units) a state, or as wide as the
    state is, None for zeros; `lengths` (batch,) or `mask` (batch, time) of booleans say which timesteps are
    active: at the others a row keeps its state, and its output is that state. `extra` holds the leaves that a
    transformed step asks for. All other tensors float32, or all float64. Returns the output after each
    timestep, laid out as the inputs, and the last states. Raises ValueError, RuntimeError or TypeError that
    name the shapes.
    """
    step = as_cell(cell).step
    missing = [name for name in step.parameters if name not in params]
    if missing or len(params) != len(step.parameters):
        raise ValueError(
            f"{step.name} has the parameters {', '.join(step.parameters)}; got {', '.join(params)}"
        )
    weights = [params[name] for name in step.parameters]
    recipe, lookups = _recipe_of(step, weights, inputs)
    extra = extra or {}
    inputs = several_of(step.name, recipe, inputs, lookups, weights[0] if weights else None)
    inputs = inputs if isinstance(inputs, Several) else tokens_of(inputs)
    if isinstance(inputs, Tokens):
        inputs.check(step.name)
    if inputs.dim() != 3:
        raise ValueError(f"inputs must have 3 axes, (batch, time, features), not shape {tuple(inputs.shape)}")
    time, rows = inputs.shape[:2] if time_major else (inputs.shape[1], inputs.shape[0])
    first = inputs.first if isinstance(inputs, Several) else inputs
    _check_alike([first.table if isinstance(first, Tokens) else first, *weights, *(initial_state or [])])
    expected = [(rows, *shape) for shape in recipe.state_shapes[step.output :]]
    if initial_state is not None and [tuple(s.shape) for s in initial_state] != expected:
        shapes = ", ".join(str(tuple(s.shape)) for s in initial_state)
        if len(set(expected)) > 1:
            raise ValueError(
                f"initial_state must be of the shapes {', '.join(map(str, expected))}, not {shapes}"
            )
        raise ValueError(f"initial_state must be {len(expected)} of shape {expected[0]}, not {shapes}")
    absent = [name for name in recipe.extra if name not in extra]
    if absent:
        raise ValueError(f"{step.name} needs extra={{{absent[0]!r}: …}}")
    if lengths is not None and mask is not None:
        raise ValueError("give lengths or mask, not both")
    batch = Batch(rows, time_major)
    if lengths is not None:
        batch = Batch(rows, time_major, "lengths", as_lengths(lengths, rows))
    elif mask is not None:
        batch = Batch(rows, time_major, "mask", _checked_mask(mask, rows, time))
    leaves = [extra[name] for name in recipe.extra]
    if lookups is not None:
        inputs, weights = lookups.gathered(inputs, weights, batch)
    outputs, last = scan(recipe, batch, inputs, weights, initial_state, extra=leaves, reverse=reverse)
    return outputs, tuple(last)


def as_lengths(lengths: Any, rows: int) -> Tensor | None:
    """Return lengths as int64 on the CPU; ValueError or TypeError, with the shape named, if they are none."""
    if lengths is None:
        return None
    found = torch.as_tensor(lengths, device="cpu")
    if tuple(found.shape) != (rows,):
        raise ValueError(f"lengths has shape {tuple(found.shape)}, expected one integer a row, ({rows},)")
    if found.is_floating_point() or found.dtype == torch.bool:
        raise TypeError(f"lengths must be integers, not {found.dtype}")
    return found.to(torch.int64)


def _checked_mask(mask: Tensor, rows: int, time: int) -> Tensor:
    if tuple(mask.shape) != (rows, time):
        raise ValueError(f"mask has shape {tuple(mask.shape)}, expected (batch, time) = {(rows, time)}")
    if mask.dtype != torch.bool:
        raise TypeError(f"mask must be of booleans, not {mask.dtype}; write mask != 0")
    return mask.cpu()


def _recipe_of(step: Step, weights: Sequence[Tensor], inputs: Any) -> tuple[Recipe, Lookups | None]:
    """The recipe of parameters of these shapes, all of which must fit, and of inputs, and the rows that
    integers choose."""
    found: dict[str, int] = {}
    given = list(inputs) if isinstance(inputs, (tuple, list)) and not isinstance(inputs, Tokens) else [inputs]
    axes = [("features",)] * step.takes_features + list(step.inputs.values())
    for dims, each in zip(axes, given, strict=False):
        if dims and isinstance(each, (Tensor, Tokens)) and each.dim() == 3:
            found.setdefault(dims[0], int(each.shape[-1]))
    step.learn(zip(step.parameters.values(), (tuple(w.shape) for w in weights), strict=True), found)
    for (name, dims), weight in zip(step.parameters.items(), weights, strict=True):
        expected = tuple(known_size(axis, found) for axis in dims)
        if tuple(weight.shape) != expected:
            raise ValueError(f"parameter {name!r} must have shape {expected}, not {tuple(weight.shape)}")
    others = {axis: size for axis, size in found.items() if axis in step.own_axes}
    recipe = Recipe.of(step.scanned, found.get("units", 1), step.scanned_sizes(others))
    return recipe, Lookups.of(step, found)


def _check_alike(tensors: Sequence[Tensor]) -> None:
    for what in ("device", "dtype"):
        found = {str(getattr(t, what)) for t in tensors}
        if len(found) > 1:
            raise RuntimeError(
                f"inputs, parameters and states must have one {what}, not {' and '.join(sorted(found))}"
            )

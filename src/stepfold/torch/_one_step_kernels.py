"""One timestep of a cell on plain tensors: the kernels of `stepfold::scan`, with everything that does not
depend on the tensors' values found once.

In a Python loop over a cell the calls around a kernel take longer than the kernel. So tensors are compared
with those of an earlier call all at once, memory and addresses are all that a call makes, and the steps of a
loop add their gradients of the weights up in one vector, which autograd sees once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch._C import _is_tracing as is_tracing
from torch._C import _len_torch_dispatch_stack as dispatch_modes
from torch._C._dynamo.guards import TensorGuards
from torch._C._functorch import is_legacy_batchedtensor
from torch.autograd import forward_ad

from .._native import Executor, Program, openmp_of, thread_cap
from .._runtime import Recipe, Wanted, backward_program, error_of
from ._arguments import Arguments
from ._derivatives import backward_operator
from ._fold import each_example
from ._operator import LIBRARY, check_memory, residual_memory
from ._prepare import FLOATS, checked, forward_shapes, prepared_forward, spec_of
from ._weight_gradients import Loop, WeightGradients, is_compiling, version

_MOST_CALLS = 8
"""How many kinds of tensors are remembered."""
_Key = tuple[bool, bool, int]


class StepKernels:
    """Runs one timestep of a recipe that has no flags, of one input, and of states of the units alone."""

    def __init__(self, recipe: Recipe) -> None:
        self._recipe = recipe
        self._names = tuple(recipe.step.parameters)
        self._states = len(recipe.step.states)
        self._calls: dict[_Key, list[_Call]] = {}
        self._loop: Loop | None = None
        plain = not recipe.step.inputs and not recipe.step.output
        self._serves = plain and set(recipe.state_shapes) == {(recipe.units,)}

    def __call__(self, x: Tensor, hx: Any, parameters: Mapping[str, Tensor | None]) -> Any:
        """Return what the module's forward gives; None where that is not a call on plain tensors with the
        module's own parameters."""
        if not self._serves or isinstance(x, tuple):
            return None
        if is_compiling() or dispatch_modes() or is_tracing() or forward_ad._current_level >= 0:
            return None
        if hx is None:
            states: tuple[Tensor, ...] = ()
        elif isinstance(hx, (tuple, list)):
            states = tuple(hx)
        else:
            states = (hx,)
        if (hx is not None and len(states) != self._states) or tuple(parameters) != self._names:
            return None
        weights: tuple[Any, ...] = tuple(parameters.values())
        tensors = (x, *states, *weights)
        key = torch.is_grad_enabled(), hx is None, torch.get_num_threads()
        call: _Call | None = None
        for known in self._calls.get(key, ()):
            if known.fits(*tensors):
                call = known
                break
        call = call or self._prepared(key, x, states, weights)
        if call is None:
            return None
        addresses = [*map(Tensor.data_ptr, weights)]
        if not call.training:
            return call.forward(x, states, addresses)[0]
        fingerprint = [call.wanted, *map(id, weights), *map(version, weights), *addresses]
        loop = self._loop
        if loop is None or loop.fingerprint != fingerprint:
            loop = self._loop = Loop(fingerprint, call.wanted, weights)
        return _apply(call, loop.gradients, addresses, loop.handle, x, *states)

    def _prepared(
        self, key: _Key, x: Tensor, states: tuple[Tensor, ...], weights: tuple[Any, ...]
    ) -> _Call | None:
        if not _are_plain(x, states, weights):
            return None
        shape = (x.shape[0], self._recipe.units) if x.dim() == 2 else (self._recipe.units,)
        expected = [shape] * len(states)
        if x.dim() not in (1, 2) or not x.numel() or [tuple(s.shape) for s in states] != expected:
            return None
        try:
            call = _Call(self._recipe, x, states, weights, shape)
        except (RuntimeError, ValueError):
            return None  # whoever is asked next says what is wrong
        self._calls[key] = [call, *self._calls.get(key, [])][:_MOST_CALLS]
        return call


def _are_plain(x: Tensor, states: Sequence[Tensor], weights: Sequence[Tensor]) -> bool:
    """Whether these are tensors that kernels can read, and parameters that autograd finds once."""
    if torch._C._are_functorch_transforms_active() or torch.is_autocast_enabled("cpu"):
        return False
    given = [x, *states]
    if any(type(w) is not nn.Parameter for w in weights):
        return False
    if any(type(t) not in (Tensor, nn.Parameter) for t in given):
        return False
    if torch.is_grad_enabled() and any(t.is_inference() for t in given):
        return False
    tensors = [*given, *weights]
    if any(t.layout != torch.strided or t.is_neg() or t.device.type != "cpu" for t in tensors):
        return False
    plain = all(t.dtype == x.dtype for t in tensors) and all(w.is_contiguous() for w in weights)
    return plain and x.dtype in FLOATS and len({id(t) for t in tensors}) == len(tensors)


class _Call:
    """What is found once for tensors of one kind: shapes, strides, dtype, which of them require gradients."""

    def __init__(
        self,
        recipe: Recipe,
        x: Tensor,
        states: Sequence[Tensor],
        weights: Sequence[Tensor],
        shape: tuple[int, ...],
    ) -> None:
        tensors = [x, *states, *weights]
        guards = TensorGuards(*tensors, dynamic_dims_sizes=None, dynamic_dims_strides=None)
        self.fits: Callable[..., bool] = guards.check
        guards = TensorGuards(*weights, dynamic_dims_sizes=None, dynamic_dims_strides=None)
        self.weights_fit: Callable[..., bool] = guards.check
        self.training = torch.is_grad_enabled() and any(t.requires_grad for t in tensors)
        self.wanted = tuple(w.requires_grad for w in weights)
        self.to_inputs = x.requires_grad
        self._strided = not all(t.is_contiguous() for t in (x, *states))
        self.text = recipe.but(initial=bool(states)).text
        given = self.arguments(x, states, weights)
        specs = given.each(spec_of)
        prepared = prepared_forward(specs, False, self.training)
        flagged, engine, sizes = checked(given)
        self._of = engine, flagged, sizes
        self._residuals = forward_shapes(given, False, self.training).residuals
        self._executor: Executor = openmp_of(LIBRARY)
        self._threads = thread_cap(None, torch.get_num_threads())
        self._program = prepared.program(threads=self._threads)
        self.like = torch.empty(shape, dtype=x.dtype)
        self._count = len(recipe.step.states)
        self._backward: dict[tuple[bool, ...], Program] = {}
        counts = [w.numel() if wish else 0 for w, wish in zip(weights, self.wanted, strict=True)]
        self._offsets = [sum(counts[:k]) * x.element_size() for k, wish in enumerate(self.wanted) if wish]

    def arguments(self, x: Tensor, states: Sequence[Tensor], weights: Sequence[Tensor]) -> Arguments:
        """The operands as `stepfold::scan` takes them."""
        rows = x.reshape(-1, 1, x.shape[-1])
        initial = [state.reshape(-1, state.shape[-1]) for state in states]
        return Arguments(rows, list(weights), initial, [], None, None, None, [], self.text)

    def forward(self, x: Tensor, states: tuple[Tensor, ...], weights: list[int]) -> tuple[Any, Tensor | None]:
        """Return the new states, as the module gives them, and the residuals."""
        if self._strided:
            x, states = x.contiguous(), tuple(state.contiguous() for state in states)
        like = states[0] if states else self.like
        new = [torch.empty_like(like) for _ in range(self._count)]
        addresses = [x.data_ptr(), *map(Tensor.data_ptr, states), *weights, *map(Tensor.data_ptr, new)]
        residuals = None
        if self.training:
            residuals = residual_memory(*self._residuals)
            addresses.append(residuals.data_ptr())
        if 0 in addresses:
            check_memory([x, *states])
        status = self._program.run(addresses, self._executor, self._threads)
        if status is not None:
            raise error_of(status)
        return (new[0] if self._count == 1 else tuple(new)), residuals

    def backward(
        self,
        x: Tensor,
        states: tuple[Tensor, ...],
        weights: list[int],
        residuals: Tensor,
        arriving: Sequence[Tensor | None],
        sums: Tensor,
    ) -> tuple[Tensor | None, list[Tensor]]:
        """Return the gradients of x, if it wants one, and of the states; those of the weights are written,
        one behind the other, to `sums`."""
        x = x.contiguous() if self._strided else x
        given = [gradient.contiguous() for gradient in arriving if gradient is not None]
        to_states = [torch.empty_like(self.like) for _ in states]
        to_x = torch.empty_like(x) if self.to_inputs else None
        addresses = [x.data_ptr(), *weights, residuals.data_ptr(), *map(Tensor.data_ptr, given)]
        if to_x is not None:
            addresses.append(to_x.data_ptr())
        addresses += map(Tensor.data_ptr, to_states)
        first = sums.data_ptr()
        addresses += [first + offset for offset in self._offsets]
        if 0 in addresses:
            check_memory([x, residuals, *given])
        which = tuple(gradient is not None for gradient in arriving)
        program = self._backward.get(which)
        if program is None:
            wishes = Wanted(False, which, self.to_inputs, self.wanted)
            program = backward_program(*self._of, wishes, threads=self._threads)
            self._backward[which] = program
        status = program.run(addresses, self._executor, self._threads)
        if status is not None:
            raise error_of(status)
        return to_x, to_states


class _Step(torch.autograd.Function):  # type: ignore[misc]
    """One timestep."""

    @staticmethod
    def forward(
        ctx: Any,
        call: _Call,
        gradients: WeightGradients,
        weights: list[int],
        handle: Tensor | None,
        x: Tensor,
        *states: Tensor,
    ) -> Any:
        """Run the forward kernel."""
        found, residuals = call.forward(x, states, weights)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(residuals, x, *states)
        ctx.call, ctx.gradients = call, gradients
        return found

    @staticmethod
    def backward(ctx: Any, *arriving: Tensor | None) -> tuple[Any, ...]:
        """Run the backward kernel."""
        residuals, x, *states = ctx.saved_tensors
        call, gradients = ctx.call, ctx.gradients
        gradients.check()
        plain = not torch.is_grad_enabled() and call.weights_fit(*gradients.weights)
        if not plain or not _are_plain_gradients(arriving):
            return None, None, None, None, *_by_operator(call, gradients, residuals, x, states, arriving)
        weights, memory = [*map(Tensor.data_ptr, gradients.weights)], gradients.memory()
        to_x, to_states = call.backward(x, states, weights, residuals, arriving, memory)
        gradients.add(memory)
        return None, None, None, None, to_x, *to_states


def _are_plain_gradients(arriving: Sequence[Tensor | None]) -> bool:
    """Whether kernels can read these gradients, and nothing wants to see what is computed of them."""
    if is_compiling() or dispatch_modes() or torch._C._are_functorch_transforms_active():
        return False
    for gradient in arriving:
        if gradient is not None and (
            type(gradient) is not Tensor
            or gradient.layout != torch.strided
            or is_legacy_batchedtensor(gradient)
            or gradient.is_neg()
            or gradient._is_zerotensor()
        ):
            return False
    return True


def _by_operator(
    call: _Call,
    gradients: WeightGradients,
    residuals: Tensor,
    x: Tensor,
    states: Sequence[Tensor],
    arriving: Sequence[Tensor | None],
) -> Sequence[Tensor | None]:
    """The gradients of x and of the states by `stepfold::scan_backward`, which is derived further."""
    given = call.arguments(x, states, gradients.weights)
    wanted = [call.to_inputs, *call.wanted]
    like = call.like

    def run(*arriving: Tensor | None) -> list[Tensor | None]:
        last = [torch.zeros_like(like) if each is None else each for each in arriving]
        stacked = torch.stack([each.reshape(-1, each.shape[-1]) for each in last])
        to_inputs, to_weights, to_initial, *_ = backward_operator(*given, residuals, None, stacked, wanted)
        to_states = [each.reshape(like.shape) for each in to_initial.unbind(0)] if states else []
        to_x = to_inputs.reshape(x.shape) if call.to_inputs else None
        to_weights = [each if wish else None for each, wish in zip(to_weights, call.wanted, strict=True)]
        return [to_x, *to_states, *to_weights]

    to_x, *rest = each_example(run, arriving)
    gradients.add_variables(rest[len(states) :])
    return to_x, *rest[: len(states)]


# no transform is active, which `apply` itself would ask
_apply = super(torch.autograd.Function, _Step).apply

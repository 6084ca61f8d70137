"""One timestep of a cell on plain tensors, by kernels that read the weights where they lie; everything that
does not depend on the tensors' values is found once.

In a Python loop over a cell the calls around a kernel take longer than the kernel. So tensors are compared
with those of an earlier call all at once, memory and addresses are all that a call makes, and the steps of a
loop make the gradients of the weights together, which autograd sees once.
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

from .._native import Executor, openmp_of, thread_cap
from .._runtime import OneTimestep, Recipe, error_of, one_timestep
from ._arguments import Arguments
from ._derivatives import backward_operator, scan_operator
from ._fold import each_example
from ._operator import LIBRARY, check_memory, residual_memory
from ._prepare import FLOATS
from ._weight_gradients import Loop, WeightGradients, is_compiling, version

_MOST_CALLS = 8
"""How many kinds of tensors are remembered."""
_Key = tuple[bool, bool, int]


class StepKernels:
    """Runs one timestep of a recipe that has no flags, of one input, and of states of the units alone;
    `names`: the module's parameters, its weights first."""

    def __init__(self, recipe: Recipe, names: Sequence[str]) -> None:
        self._recipe = recipe
        self._names, self._weights = tuple(names), recipe.weights
        self._states = len(recipe.step.states)
        self._calls: dict[_Key, list[_Call]] = {}
        self._loop: Loop | None = None
        self._serves = OneTimestep.serves(recipe)

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
        weights: tuple[Any, ...] = tuple(parameters.values())[: self._weights]
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
            loop = self._loop = Loop(fingerprint, call.of, call.wanted, weights)
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
        self._recipe = recipe
        self.of = one_timestep(recipe, x.shape[-1], FLOATS[x.dtype])
        self.of.check([tuple(w.shape) for w in weights])
        batch = x.numel() // x.shape[-1]
        self._executor: Executor = openmp_of(LIBRARY)
        self._threads = thread_cap(None, torch.get_num_threads())
        sizes: dict[str, Any] = {"initial": bool(states), "threads": self._threads}
        self._forward = self.of.forward(batch, training=self.training, **sizes)
        self._saved = self.of.saved(batch) * x.element_size()
        self.like = torch.empty(shape, dtype=x.dtype)
        self._count = len(recipe.step.states)
        if self.training:
            self._backward = self.of.backward(batch, inputs=self.to_inputs, **sizes)
            self._terms = batch, self.of.terms_row
            self._vectors = self.of.tasks(batch, self._threads), self.of.vector_row

    def arguments(self, x: Tensor, states: Sequence[Tensor], weights: Sequence[Tensor]) -> Arguments:
        """The operands as `stepfold::scan` takes them."""
        rows = x.reshape(-1, 1, x.shape[-1])
        initial = [state.reshape(-1, state.shape[-1]) for state in states]
        text = self._recipe.but(initial=bool(states)).text
        return Arguments(rows, list(weights), initial, [], None, None, None, [], text)

    def forward(self, x: Tensor, states: tuple[Tensor, ...], weights: list[int]) -> tuple[Any, Tensor | None]:
        """Return the new states, as the module gives them, and what the backward pass needs."""
        if self._strided:
            x, states = x.contiguous(), tuple(state.contiguous() for state in states)
        like = states[0] if states else self.like
        new = [torch.empty_like(like) for _ in range(self._count)]
        addresses = [x.data_ptr(), *map(Tensor.data_ptr, states), *weights, *map(Tensor.data_ptr, new)]
        saved = None
        if self.training:
            saved = residual_memory(self._saved)
            addresses.append(saved.data_ptr())
        if 0 in addresses:
            check_memory([x, *states])
        status = self._forward.run(addresses, self._executor, self._threads)
        if status is not None:
            raise error_of(status)
        return (new[0] if self._count == 1 else tuple(new)), saved

    def backward(
        self,
        x: Tensor,
        states: tuple[Tensor, ...],
        gradients: WeightGradients,
        saved: Tensor,
        arriving: Sequence[Tensor | None],
    ) -> tuple[Tensor | None, list[Tensor]]:
        """Return the gradients of x, if it wants one, and of the states; add those of the weights."""
        x = x.contiguous() if self._strided else x
        given = [None if gradient is None else gradient.contiguous() for gradient in arriving]
        to_states = [torch.empty_like(self.like) for _ in states]
        to_x = torch.empty_like(x) if self.to_inputs else None
        weights = [*map(Tensor.data_ptr, gradients.weights)]
        addresses = [x.data_ptr(), *weights, saved.data_ptr()]
        if 0 in addresses:
            check_memory([x, saved])
        addresses += [0 if gradient is None else gradient.data_ptr() for gradient in given]
        if to_x is not None:
            addresses.append(to_x.data_ptr())
        terms, vectors = self.like.new_empty(self._terms), self.like.new_empty(self._vectors)
        addresses += map(Tensor.data_ptr, [*to_states, terms, vectors])
        status = self._backward.run(addresses, self._executor, self._threads)
        if status is not None:
            raise error_of(status)
        gradients.add(terms, vectors)
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
        found, saved = call.forward(x, states, weights)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(saved, x, *states)
        ctx.call, ctx.gradients = call, gradients
        return found

    @staticmethod
    def backward(ctx: Any, *arriving: Tensor | None) -> tuple[Any, ...]:
        """Run the backward kernel."""
        saved, x, *states = ctx.saved_tensors
        call, gradients = ctx.call, ctx.gradients
        gradients.check()
        plain = not torch.is_grad_enabled() and call.weights_fit(*gradients.weights)
        if not plain or not _are_plain_gradients(arriving):
            return None, None, None, None, *_by_operator(call, gradients, x, states, arriving)
        to_x, to_states = call.backward(x, states, gradients, saved, arriving)
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
    x: Tensor,
    states: Sequence[Tensor],
    arriving: Sequence[Tensor | None],
) -> Sequence[Tensor | None]:
    """The gradients of x and of the states by `stepfold::scan_backward`, which is derived further."""
    given = call.arguments(x, states, gradients.weights)
    wanted = [call.to_inputs, *call.wanted]
    like = call.like
    with torch.no_grad():
        _, _, residuals = scan_operator(*given, False, True)

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

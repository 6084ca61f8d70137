"""`torch.func`'s transformations and vectorised derivatives: the numbers of torch.nn's, or of a loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import functional
from torch.func import functional_call, grad, hessian, jacfwd, jacrev, jvp, linearize, vjp, vmap
from torch.utils import _pytree as pytree
from torch_helpers import twins

from stepfold.torch import Embedding, Recurrent

Params = dict[str, Tensor]

pytestmark = [
    # stepfold's, for second and forward-mode derivatives; then two of torch's own
    pytest.mark.filterwarnings("ignore:stepfold has no fused kernel"),
    pytest.mark.filterwarnings("ignore:There is a performance drop"),
    pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated"),
]
X = torch.randn(2, 4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
MANY = torch.randn(3, 2, 4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
KINDS = {
    "LSTM": {},
    "GRU": {"bidirectional": True},
    "RNN": {"num_layers": 2},
}


def same(found: Any, expected: Any) -> None:
    """Every tensor of two results equal in shape and value."""
    mine, theirs = pytree.tree_leaves(found), pytree.tree_leaves(expected)
    for a, b in zip(mine, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-9)


def call(module: nn.Module) -> Callable[[Params, Tensor], Tensor]:
    """The outputs as a function of parameters and inputs."""
    return lambda params, x: functional_call(module, params, (x,))[0]


def loss(module: nn.Module) -> Callable[[Params, Tensor], Tensor]:
    """A loss as a function of parameters and inputs."""
    return lambda params, x: (call(module)(params, x) ** 2).sum()


@pytest.fixture(params=sorted(KINDS))
def pair(request: pytest.FixtureRequest) -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    return twins(request.param, 3, 4, batch_first=True, **KINDS[request.param])


def params_of(module: nn.Module) -> Params:
    return dict(module.named_parameters())


DERIVATIVES: dict[str, Callable[[nn.Module], Any]] = {
    "grad": lambda m: grad(loss(m))(params_of(m), X),
    "grad of inputs": lambda m: grad(loss(m), argnums=1)(params_of(m), X),
    "vjp": lambda m: vjp(lambda p: call(m)(p, X), params_of(m))[1](torch.ones_like(m(X)[0])),
    "jacrev": lambda m: jacrev(lambda x: m(x)[0])(X),
    "jacfwd": lambda m: jacfwd(lambda x: m(x)[0])(X),
    "jvp": lambda m: jvp(lambda x: m(x), (X,), (X + 1,)),
    "hessian": lambda m: hessian(loss(m), argnums=1)(params_of(m), X[:1, :2]),
    "grad of grad": lambda m: grad(lambda x: (grad(loss(m), argnums=1)(params_of(m), x) ** 2).sum())(X),
    "grad of grad of weights": lambda m: grad(
        lambda p: sum((g**2).sum() for g in grad(loss(m))(p, X).values())  # type: ignore[misc, arg-type]
    )(params_of(m)),
    "jacobian": lambda m: functional.jacobian(lambda x: m(x)[0], X, vectorize=True),
    "jacobian of weights": lambda m: functional.jacobian(
        lambda w: functional_call(m, {"weight_hh_l0": w}, (X,))[0], m.weight_hh_l0.detach(), vectorize=True
    ),
    "hessian of autograd": lambda m: functional.hessian(
        lambda x: (m(x)[0] ** 2).sum(), X[:1, :2], vectorize=True
    ),
}


@pytest.mark.parametrize("name", DERIVATIVES)
def test_derivatives_are_those_of_torch_nn(pair: tuple[nn.Module, nn.Module], name: str) -> None:
    theirs, ours = pair
    same(DERIVATIVES[name](ours), DERIVATIVES[name](theirs))


def test_a_batch_axis_more_is_a_larger_batch(pair: tuple[nn.Module, nn.Module]) -> None:
    theirs, ours = pair
    expected = [theirs(x) for x in MANY]
    found = vmap(lambda x: ours(x))(MANY)
    same([pytree.tree_map(lambda t, k=k: t[k], found) for k in range(len(MANY))], expected)
    moved = vmap(lambda x: ours(x)[0], in_dims=2, out_dims=1)(MANY.movedim(0, 2))
    same(moved, torch.stack([outputs for outputs, _ in expected], 1))
    twice = vmap(vmap(lambda x: ours(x)[0]))(torch.stack([MANY, -MANY]))
    same(twice[1], torch.stack([theirs(-x)[0] for x in MANY]))


def test_gradients_of_each_example(pair: tuple[nn.Module, nn.Module]) -> None:
    theirs, ours = pair
    found = vmap(grad(loss(ours), argnums=(0, 1)), in_dims=(None, 0))(params_of(ours), MANY)
    for k, x in enumerate(MANY):
        expected = grad(loss(theirs), argnums=(0, 1))(params_of(theirs), x)
        same(pytree.tree_map(lambda t, k=k: t[k], found), expected)


def test_an_ensemble_of_weights(pair: tuple[nn.Module, nn.Module]) -> None:
    theirs, ours = pair
    many = {name: torch.stack([value, value * 0.5]) for name, value in params_of(ours).items()}
    outputs = vmap(call(ours), in_dims=(0, None))(many, X)
    gradients = vmap(grad(loss(ours)), in_dims=(0, None))(many, X)
    for k in range(2):
        params = {name: value[k] for name, value in many.items()}
        same(outputs[k], call(theirs)(params, X))
        same(pytree.tree_map(lambda t, k=k: t[k], gradients), grad(loss(theirs))(params, X))


@pytest.mark.filterwarnings("ignore:Attempted to insert a get_attr Node")  # torch's own
def test_linearised() -> None:
    theirs, ours = twins("LSTM", 3, 4, batch_first=True)
    _, tangent = linearize(lambda x: ours(x)[0], X)
    same(tangent(X + 1), jvp(lambda x: theirs(x)[0], (X,), (X + 1,))[1])


def test_lengths_time_major_and_initial_states() -> None:
    torch.manual_seed(1)
    module = Recurrent("layer_norm_lstm", 3, 4, dtype=torch.float64)
    lengths = torch.tensor([[4, 1], [0, 3], [2, 2]])
    hx = torch.randn(3, 2, 1, 2, 4, dtype=torch.float64)
    xs = MANY.transpose(1, 2)  # (example, T, B, F)

    def outputs(x: Tensor, length: Tensor, h: Tensor) -> Tensor:
        found, (last, _) = module(x, (h[0], h[1]), lengths=length)
        return found.sum() + (last**2).sum()

    found = vmap(grad(outputs, argnums=(0, 2)), in_dims=(0, 0, 0))(xs, lengths, hx)
    for k in range(3):
        expected = grad(outputs, argnums=(0, 2))(xs[k], lengths[k], hx[k])
        same([each[k] for each in found], expected)


def test_tokens_of_each_example() -> None:
    torch.manual_seed(2)
    embedding = Embedding(7, 3, dtype=torch.float64)
    module = Recurrent("gru", 3, 4, batch_first=True, dtype=torch.float64)
    ids = torch.randint(7, (3, 2, 4))

    def loss_of(table: Tensor, ids: Tensor) -> Tensor:
        return (module(functional_call(embedding, {"weight": table}, (ids,)))[0] ** 2).sum()

    found = vmap(grad(loss_of), in_dims=(None, 0))(embedding.weight, ids)
    for k in range(3):
        same(found[k], grad(loss_of)(embedding.weight, ids[k]))
    same(vmap(lambda i: module(embedding(i))[0])(ids), torch.stack([module(embedding(i))[0] for i in ids]))

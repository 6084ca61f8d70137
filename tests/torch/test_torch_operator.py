"""The custom operators: opcheck, derivatives first and second, what is saved, and where it ran."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch_helpers import fresh_warnings  # noqa: F401

import stepfold
from stepfold import Cell, cell, cells, sigmoid, tanh, where
from stepfold._ops import TABLE
from stepfold._reference import Reference
from stepfold._runtime import Part, Recipe
from stepfold._transform import recurrent_dropout, zoneout
from stepfold.torch import LSTM, _operator, run
from stepfold.torch._arguments import Arguments
from stepfold.torch._loop import TORCH
from tests.kinds import KINDS

UNITS, FEATURES, BATCH, TIME = 3, 2, 3, 4
ALL = [cells.by_name(name) for name in KINDS]
slow_second = pytest.mark.filterwarnings("ignore::stepfold.torch.SlowPathWarning")


@cell
def wide(x, h, c, *, W, U, V, b):
    """A cell that no table lists: `where`, reductions, a product after a product."""
    g = sigmoid(W @ x + U @ h + b)
    r = where(g > 0.5, g * c, h)
    n = tanh(V @ r) / (1.0 + stepfold.sum(stepfold.abs(c)))
    return g * n + (1 - g) * h, stepfold.maximum(c, n)


def parameters(step_cell: Cell, seed: int = 0) -> dict[str, Tensor]:
    random = torch.Generator().manual_seed(seed)
    shapes = step_cell.parameter_shapes(features=FEATURES, units=UNITS)
    return {
        name: torch.randn(shape, generator=random, dtype=torch.float64).requires_grad_()
        for name, shape in shapes.items()
    }


def states(step_cell: Cell, seed: int = 1) -> list[Tensor]:
    random = torch.Generator().manual_seed(seed)
    return [
        torch.randn(BATCH, UNITS, generator=random, dtype=torch.float64).requires_grad_()
        for _ in step_cell.states
    ]


def inputs(seed: int = 2) -> Tensor:
    random = torch.Generator().manual_seed(seed)
    return torch.randn(BATCH, TIME, FEATURES, generator=random, dtype=torch.float64).requires_grad_()


def as_function(step_cell: Cell, **options: Any) -> tuple[Any, tuple[Tensor, ...]]:
    """The cell as a function of tensors only, and tensors to call it with."""
    params, given = parameters(step_cell), states(step_cell)

    def function(x: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
        named = dict(zip(params, rest[: len(params)], strict=True))
        outputs, last = run(step_cell, x, named, rest[len(params) :], **options)
        return outputs, *last

    return function, (inputs(), *params.values(), *given)


@pytest.mark.parametrize("step_cell", [*ALL, wide], ids=lambda c: c.name)
def test_gradients_are_right(step_cell: Cell) -> None:
    function, leaves = as_function(step_cell)
    assert torch.autograd.gradcheck(function, leaves)


@pytest.mark.parametrize(
    "options",
    [
        {"lengths": torch.tensor([2, 0, 4])},
        {"mask": torch.tensor([[1, 0, 1, 1], [0, 0, 0, 0], [0, 1, 0, 0]], dtype=torch.bool)},
        {"reverse": True},
        {"reverse": True, "lengths": torch.tensor([3, 4, 1])},
    ],
    ids=lambda o: "-".join(o),
)
@slow_second
def test_derivatives_with_lengths_masks_and_directions(options: dict[str, Any]) -> None:
    function, leaves = as_function(cells.gru, **options)
    assert torch.autograd.gradcheck(function, leaves)
    assert torch.autograd.gradgradcheck(function, leaves)


@pytest.mark.parametrize("step_cell", [*ALL, wide], ids=lambda c: c.name)
@slow_second
def test_second_derivatives_are_right(step_cell: Cell) -> None:
    function, leaves = as_function(step_cell)
    assert torch.autograd.gradgradcheck(function, leaves)


@slow_second
def test_a_third_derivative() -> None:
    function, leaves = as_function(cells.simple_rnn)

    def gradient(*values: Tensor) -> tuple[Tensor, ...]:
        total = function(*values)[0].sin().sum()
        return torch.autograd.grad(total, values, create_graph=True)

    assert torch.autograd.gradgradcheck(gradient, leaves)


def test_second_derivatives_say_once_that_they_are_slow(fresh_warnings: type[Warning]) -> None:  # noqa: F811
    function, leaves = as_function(cells.simple_rnn)
    (gradient,) = torch.autograd.grad(function(*leaves)[0].sum(), leaves[:1], create_graph=True)
    with pytest.warns(fresh_warnings, match="no fused kernel for second derivatives yet: a loop of torch"):
        gradient.sum().backward(retain_graph=True)
    gradient.sum().backward()  # a second warning would be an error


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("packed", [False, True])
def test_opcheck(training: bool, packed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    # opcheck compares residuals, too, where the padding is never written
    monkeypatch.setattr(_operator, "residual_memory", lambda size: torch.zeros(size, dtype=torch.uint8))
    step_cell = cells.lstm
    weights = [w.detach().requires_grad_(training) for w in parameters(step_cell).values()]
    given = [s.detach().requires_grad_(training) for s in states(step_cell)]
    x = inputs().detach()
    if packed:
        x = x.reshape(-1, FEATURES)[:9]
    x.requires_grad_(training)
    sizes = torch.tensor([3, 3, 2, 1]) if packed else None
    recipe = Recipe.of(step_cell.step, UNITS, active="packed" if packed else "all", initial=True)
    call = (x, weights, given, [], sizes, None, None, [], recipe.text)
    torch.library.opcheck(torch.ops.stepfold.scan, (*call, True, training))
    if training:
        outputs, last, residuals = torch.ops.stepfold.scan(*call, True, True)
        gradients = (torch.randn_like(outputs), torch.randn_like(last))
        # its own derivative is a loop, which no compiler is asked to trace
        torch.library.opcheck(
            torch.ops.stepfold.scan_backward,
            (*call, residuals, *gradients, [True] * (1 + len(weights))),
            test_utils=("test_schema", "test_autograd_registration", "test_faketensor"),
        )


def test_memory_that_nobody_wrote_is_never_read() -> None:
    function, leaves = as_function(cells.layer_norm_lstm, lengths=torch.tensor([2, 0, 4]))
    expected = torch.autograd.grad(function(*leaves)[0].sin().sum(), leaves)
    torch.use_deterministic_algorithms(True)  # fills new memory with NaN
    try:
        found = torch.autograd.grad(function(*leaves)[0].sin().sum(), leaves)
    finally:
        torch.use_deterministic_algorithms(False)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("step_cell", [*ALL, wide], ids=lambda c: c.name)
@pytest.mark.parametrize("reverse", [False, True])
@torch.no_grad()
def test_kernel_and_loop_and_reference_agree(step_cell: Cell, reverse: bool) -> None:
    mask = torch.tensor([[1, 0, 1, 1], [0, 0, 0, 0], [1, 1, 1, 1]], dtype=torch.bool)
    step = zoneout(recurrent_dropout(step_cell.step))
    recipe = Recipe.of(step, UNITS, active="mask", initial=True, reverse=reverse)
    extra = [
        torch.rand(BATCH, UNITS, dtype=torch.float64)
        if op == "row_input"
        else torch.randint(0, 2, (BATCH, TIME, UNITS)).double()
        for op, _ in recipe.extra
    ]
    params, given, x = parameters(step_cell), states(step_cell), inputs()
    call = Arguments(x, list(params.values()), given, extra, mask, None, None, [], recipe.text)
    outputs, last, _ = torch.ops.stepfold.scan(*call, True, False)
    by_loop, last_by_loop = call.by_loop()
    expected = Reference(
        step, x.numpy(), {k: v.numpy() for k, v in params.items()}, [s.numpy() for s in given],
        mask=mask.numpy(), reverse=reverse, extra={name: e.numpy() for name, e in zip(recipe.extra, extra,
        strict=True)},
    )  # fmt: skip
    for found in (outputs, by_loop):
        np.testing.assert_allclose(found.numpy(), expected.outputs, rtol=1e-10, atol=1e-10)
    for found in (last, last_by_loop):
        np.testing.assert_allclose(found.numpy(), np.stack(expected.states), rtol=1e-10, atol=1e-10)


def test_the_loop_knows_every_operation() -> None:
    assert TORCH.keys() == TABLE.keys()


def test_nothing_is_saved_without_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    new = _operator.residual_memory

    def watched(size: int) -> Tensor:
        sizes.append(size)
        return new(size)

    monkeypatch.setattr(_operator, "residual_memory", watched)
    function, leaves = as_function(cells.gru)
    with torch.no_grad():
        function(*leaves)
    with torch.inference_mode():
        function(*leaves)
    function(*(leaf.detach() for leaf in leaves))
    function(*leaves)
    # that the operator was called at all is the other half of this test
    assert [size > 0 for size in sizes] == [False, False, False, True]


def test_hooks_see_the_gradients() -> None:
    function, leaves = as_function(cells.lstm)
    seen: list[Tensor] = []
    leaves[1].register_hook(seen.append)
    outputs = function(*leaves)[0]
    outputs.register_hook(lambda g: 2 * g)
    outputs.sum().backward()
    (doubled,) = seen
    (single,) = torch.autograd.grad(function(*leaves)[0].sum(), leaves[1:2])
    torch.testing.assert_close(doubled, 2 * single)


def test_only_what_is_asked_for() -> None:
    params = parameters(cells.simple_rnn)
    outputs, (last,) = run(cells.simple_rnn, inputs().detach(), params)
    (only,) = torch.autograd.grad(last.sum(), [params["b"]], retain_graph=True)
    (same,) = torch.autograd.grad(outputs[:, -1].sum(), [params["b"]])
    torch.testing.assert_close(only, same)


@pytest.mark.parametrize("frozen", [{0}, {1}, {2, 3}, {1, 4}], ids=str)
def test_what_needs_no_gradient_has_none(frozen: set[int]) -> None:
    """Of the inputs, three weights and the initial state of a simple RNN some are constants."""
    function, leaves = as_function(cells.simple_rnn)
    expected = torch.autograd.grad(function(*leaves)[0].sin().sum(), leaves)
    given = [t.detach().requires_grad_(k not in frozen) for k, t in enumerate(leaves)]
    function(*given)[0].sin().sum().backward()
    for k, (tensor, gradient) in enumerate(zip(given, expected, strict=True)):
        assert (tensor.grad is None) == (k in frozen)
        if tensor.grad is not None:
            torch.testing.assert_close(tensor.grad, gradient)


def test_a_recipe_reads_what_it_wrote() -> None:
    parts = (("b_h", (Part(2, 1), Part(3))), ("c_h", ()))
    recipe = Recipe.of(cells.gru.step, 5, parts=parts, weights=4, active="packed", reverse=True)
    assert Recipe.from_text(recipe.text) == recipe
    with pytest.raises(ValueError, match="this is not a saved cell"):
        Recipe.from_text(recipe.text.replace("sigmoid", "system"))


@slow_second
@pytest.mark.parametrize("reverse", [False, True])
def test_behind_the_end_of_a_row_there_is_nothing(reverse: bool) -> None:
    """Lengths as the modules use them: zeros behind the end, and no gradient from there."""
    recipe = Recipe.of(
        cells.ugrnn.step, UNITS, active="lengths", padding="zero", initial=True, reverse=reverse
    )
    lengths = torch.tensor([2, 0, 4])
    params, given, x = parameters(cells.ugrnn), states(cells.ugrnn), inputs()
    leaves = (x, *given, *params.values())

    def scan(x: Tensor, start: Tensor, *weights: Tensor) -> tuple[Tensor, Tensor]:
        call = (x, list(weights), [start], [], lengths, None, None, [], recipe.text)
        outputs, last, _ = torch.ops.stepfold.scan(*call, True, True)
        return outputs, last

    assert torch.autograd.gradcheck(scan, leaves)
    assert torch.autograd.gradgradcheck(scan, leaves)
    outputs, last = scan(*leaves)
    assert not outputs[1].any()
    assert not outputs[0, 2:].any()
    assert torch.equal(last[0, 1], given[0][1])
    (to_inputs,) = torch.autograd.grad(outputs.sum(), [x])
    assert not to_inputs[0, 2:].any()


def test_pooled_residuals_of_a_graph_are_its_own_until_it_dies() -> None:
    module = LSTM(3, 64, batch_first=True)
    inputs = [torch.randn(32, 100, 3) for _ in range(3)]

    def gradient(output: torch.Tensor) -> torch.Tensor:
        return torch.autograd.grad(output.square().sum(), module.weight_hh_l0)[0]

    expected = gradient(module(inputs[1])[0])
    first, second = module(inputs[0])[0], module(inputs[1])[0]
    assert first.grad_fn is not None
    del first
    module(inputs[2])  # may work where the first one did
    torch.testing.assert_close(gradient(second), expected, rtol=0, atol=0)

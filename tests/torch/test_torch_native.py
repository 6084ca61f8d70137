"""What reaches native code through the operators: on which threads it runs, and what is refused before."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from stepfold import cells
from stepfold._native import last_executor
from stepfold._processors import processors
from stepfold._runtime import Recipe
from stepfold.torch import LSTM, RNN, run

BATCH, TIME, FEATURES, UNITS = 2, 5, 3, 4
CELL = cells.lstm
X = torch.randn(BATCH, TIME, FEATURES)
WEIGHTS = [torch.randn(s) for s in CELL.parameter_shapes(features=FEATURES, units=UNITS).values()]
STATES = [torch.randn(BATCH, UNITS) for _ in range(2)]
several = pytest.mark.skipif(
    processors() < 2 or not torch.backends.openmp.is_available(), reason="needs two processors and OpenMP"
)


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@several
@pytest.mark.usefixtures("two_threads")
def test_torchs_own_threads_run_it() -> None:
    module = LSTM(32, 32, batch_first=True, dtype=torch.float64)
    x = torch.randn(32, 200, 32, dtype=torch.float64)
    outputs = module(x)[0]
    assert last_executor() == "OpenMP"
    module(x[:1, :1])
    assert last_executor() == "calling thread"
    (gradient,) = torch.autograd.grad(outputs.sum(), module.weight_hh_l0, retain_graph=True)
    assert last_executor() == "OpenMP"
    torch.set_num_threads(1)
    (alone,) = torch.autograd.grad(outputs.sum(), module.weight_hh_l0)
    assert last_executor() == "calling thread"
    torch.testing.assert_close(alone, gradient)


FORK = """
import os, torch
from stepfold._native import last_executor
from stepfold.torch import LSTM
torch.set_num_threads(2)
module, x = LSTM(32, 32, batch_first=True), torch.randn(32, 200, 32)
with torch.no_grad():
    expected = module(x)[0]
    assert last_executor() == "OpenMP", last_executor()
    child = os.fork()
    if not child:
        found = module(x)[0]
        good = last_executor() == "own threads" and bytes(found.numpy()) == bytes(expected.numpy())
        os._exit(0 if good else 3)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
"""


@several
@pytest.mark.skipif(sys.platform == "win32", reason="no fork")
def test_a_forked_child_has_threads_of_its_own() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORK], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr


def arguments(**changed: Any) -> list[Any]:
    """The arguments of a call of `stepfold::scan` that is right but for what is changed."""
    flags = changed.pop("flags", {"initial": True})
    given: dict[str, Any] = {
        "inputs": X,
        "weights": WEIGHTS,
        "initial": STATES if flags.get("initial") else [],
        "extra": [],
        "active": None,
        "tokens": None,
        "side": None,
        "named": [],
        "recipe": Recipe.of(CELL.step, UNITS, **flags).text,
        "sequences": True,
        "training": False,
    }
    return list((given | changed).values())


LENGTHS, MASK = {"active": "lengths"}, {"active": "mask"}
PACKED = {"active": "packed", "initial": True}


@pytest.mark.parametrize(
    ("changed", "error", "text"),
    [
        ({"inputs": X[0]}, ValueError, "inputs has shape (5, 3), expected (batch, time, features)"),
        ({"inputs": X.int()}, RuntimeError, "inputs are torch.int32, but stepfold::scan runs in float32 and"),
        ({"inputs": X[..., :2]}, ValueError, "of it should be parameter 'W_i' of shape (4, 2)"),
        ({"weights": WEIGHTS[:-1]}, ValueError, "weights has 11 tensors, expected 12"),
        ({"weights": [WEIGHTS[1], *WEIGHTS[1:]]}, ValueError, "weight 0 has shape (4, 4), but Part(weight=0"),
        ({"weights": [w.double() for w in WEIGHTS]}, RuntimeError, "weight 0 is torch.float64, expected"),
        ({"initial": STATES[:1]}, ValueError, "initial has 1 tensors, expected 2"),
        (
            {"initial": [s[:1] for s in STATES]},
            ValueError,
            "initial state h has shape (1, 4), expected (2, 4)",
        ),
        ({"initial": [s.double() for s in STATES]}, RuntimeError, "is torch.float64, expected torch.float32"),
        ({"extra": [X]}, ValueError, "extra has 1 tensors, expected 0"),
        ({"active": torch.ones(2, 5).bool()}, ValueError, "active has 1 tensors, expected 0"),
        ({"flags": LENGTHS}, ValueError, "active has 0 tensors, expected 1"),
        (
            {"flags": LENGTHS, "active": torch.tensor([1, 2, 3])},
            ValueError,
            "lengths has shape (3,), expected (2,)",
        ),
        (
            {"flags": LENGTHS, "active": torch.tensor([1, 2]).int()},
            RuntimeError,
            "lengths is torch.int32, expected torch.int64",
        ),
        ({"flags": LENGTHS, "active": torch.tensor([1, 6])}, ValueError, "that of row 1 is 6"),
        (
            {"flags": MASK, "active": torch.ones(5, 2).bool()},
            ValueError,
            "mask has shape (5, 2), expected (2, 5)",
        ),
        ({"flags": MASK, "active": torch.ones(2, 5)}, RuntimeError, "mask is torch.float32, expected torch."),
        ({"flags": {"active": "packed"}, "inputs": X[0]}, ValueError, "a packed batch needs initial states"),
        (
            {"flags": PACKED, "inputs": X[0], "active": torch.ones(2, 2)},
            ValueError,
            "batch_sizes has shape (2, 2) and initial state (2, 4), expected (time,) and (batch, units)",
        ),
        ({"flags": {"tokens": True}}, ValueError, "tokens has 0 tensors, expected 1"),
        ({"recipe": "{}"}, ValueError, "this is no recipe of stepfold's"),
    ],
)  # fmt: skip
def test_what_the_forward_operator_refuses(
    changed: dict[str, Any], error: type[Exception], text: str
) -> None:
    for training in (False, True):
        with pytest.raises(error) as found:
            torch.ops.stepfold.scan(*arguments(**changed, training=training))
        assert text in str(found.value)


OUTPUTS, LAST, RESIDUALS = torch.ops.stepfold.scan(*arguments(training=True))


@pytest.mark.parametrize(
    ("changed", "error", "text"),
    [
        ({}, None, ""),
        ({"residuals": RESIDUALS[:-1]}, ValueError, "residuals has shape"),
        ({"residuals": RESIDUALS[:0]}, RuntimeError, "saved nothing for the backward pass; call it"),
        ({"residuals": RESIDUALS.char()}, RuntimeError, "residuals is torch.int8, expected torch.uint8"),
        ({"residuals": RESIDUALS * 0}, ValueError, "the residuals are not those of this recipe and batch"),
        ({"output_gradient": OUTPUTS[:, 1:]}, ValueError, "the gradient of outputs has shape (2, 4, 4)"),
        ({"output_gradient": OUTPUTS.double()}, RuntimeError, "the gradient of outputs is torch.float64"),
        ({"last_gradient": LAST[:1]}, ValueError, "the gradient of the last states has shape (1, 2, 4)"),
        ({"wanted": [True]}, ValueError, "wanted has 1 booleans, expected 1 of the inputs and 12 of"),
    ],
)  # fmt: skip
def test_what_the_backward_operator_refuses(
    changed: dict[str, Any], error: type[Exception] | None, text: str
) -> None:
    given: dict[str, Any] = {
        "residuals": RESIDUALS,
        "output_gradient": OUTPUTS,
        "last_gradient": LAST,
        "wanted": [True] * 13,
    }
    call = (*arguments()[:-2], *(given | changed).values())
    if error is None:
        torch.ops.stepfold.scan_backward(*call)
        return
    with pytest.raises(error) as found:
        torch.ops.stepfold.scan_backward(*call)
    assert text in str(found.value)


@pytest.mark.parametrize("which", ["inputs", "residuals", "output_gradient", "last_gradient"])
def test_a_tensor_without_memory(which: str) -> None:
    given = {"inputs": X, "residuals": RESIDUALS, "output_gradient": OUTPUTS, "last_gradient": LAST}
    given[which] = given[which].clone()
    given[which].untyped_storage().resize_(0)
    shape = ", ".join(map(str, given[which].shape))
    x, *gradients = given.values()
    with pytest.raises(RuntimeError, match=rf"a tensor of shape \({shape},?\) has no memory"):
        torch.ops.stepfold.scan_backward(*arguments(inputs=x)[:-2], *gradients, [True] * 13)
    if which == "inputs":
        with pytest.raises(RuntimeError, match="has no memory"):
            torch.ops.stepfold.scan(*arguments(inputs=x))


def strided(tensor: Tensor) -> Tensor:
    """The same values, each second element in memory."""
    wide = torch.full((*tensor.shape, 2), 7, dtype=tensor.dtype)
    wide[..., 0] = tensor
    return wide[..., 0]


@pytest.mark.parametrize("kind", ["lengths", "mask"])
def test_tensors_of_any_layout(kind: str) -> None:
    active = torch.tensor([3, 5]) if kind == "lengths" else torch.rand(BATCH, TIME) > 0.5
    flags = {"active": kind, "initial": True}
    call = arguments(active=active, flags=flags, training=True)
    other = arguments(
        inputs=strided(X),
        weights=[strided(w) for w in WEIGHTS],
        initial=[strided(s) for s in STATES],
        active=strided(active),
        flags=flags,
        training=True,
    )
    expected, found = torch.ops.stepfold.scan(*call), torch.ops.stepfold.scan(*other)
    assert torch.equal(found[0], expected[0])
    assert torch.equal(found[1], expected[1])
    wanted = [True] * 13
    expected = torch.ops.stepfold.scan_backward(*call[:-2], expected[2], *expected[:2], wanted)
    odd = torch.cat([torch.zeros(1, dtype=torch.uint8), found[2]])[1:]  # at an odd address
    found = torch.ops.stepfold.scan_backward(*other[:-2], odd, strided(found[0]), strided(found[1]), wanted)
    for a, b in zip((found[0], *found[1], found[2]), (expected[0], *expected[1], expected[2]), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("byte", [2, 128, 255])
def test_booleans_of_other_bytes(byte: int) -> None:
    active = torch.rand(BATCH, TIME) > 0.5
    odd = (active.to(torch.uint8) * byte).view(torch.bool)
    params = dict(zip(CELL.step.parameters, [w.clone().requires_grad_() for w in WEIGHTS], strict=True))
    found, expected = (
        torch.autograd.grad(run(CELL, X, params, mask=mask)[0].square().sum(), [*params.values()])
        for mask in (odd, active)
    )
    for a, b in zip(found, expected, strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize(("batch", "time"), [(0, 5), (2, 0), (0, 0)])
@pytest.mark.parametrize("flags", [{}, LENGTHS, MASK], ids=str)
def test_empty_batches(batch: int, time: int, flags: dict[str, Any]) -> None:
    x = torch.randn(batch, time, FEATURES, requires_grad=True)
    weights = [w.clone().requires_grad_() for w in WEIGHTS]
    initial = [torch.randn(batch, UNITS, requires_grad=True) for _ in range(2)]
    active = {
        "lengths": torch.zeros(batch, dtype=torch.int64),
        "mask": torch.ones(batch, time, dtype=torch.bool),
    }.get(flags.get("active", ""))
    flags = {**flags, "initial": True}
    call = arguments(inputs=x, weights=weights, initial=initial, active=active, flags=flags, training=True)
    outputs, last, _ = torch.ops.stepfold.scan(*call)
    assert outputs.shape == (batch, time, UNITS)
    assert torch.equal(last, torch.stack(initial))
    found = torch.autograd.grad(outputs.sum() + last.sum(), [x, *weights, *initial])
    assert found[0].shape == x.shape
    assert not any(gradient.any() for gradient in found[1:13])
    assert all(torch.equal(gradient, torch.ones(batch, UNITS)) for gradient in found[13:])


def test_masks_of_dropout_have_no_gradient() -> None:
    module = RNN(3, 4, recurrent_dropout=0.5)
    recipe = module._recipes[0]
    params = [p.detach() for p in module.parameters()]
    mask = torch.ones(2, 4, requires_grad=True)
    outputs = torch.ops.stepfold.scan(X, params, [], [mask], None, None, None, [], recipe.text, True, True)[0]
    with pytest.raises(NotImplementedError, match="the masks of dropout and zoneout have no gradient"):
        outputs.sum().backward()

"""Cells with axes of their own as PyTorch modules: the reference's values and gradients, in every form."""

from __future__ import annotations

import copy
import io
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from torch_helpers import assert_same, values_and_gradients

import stepfold
from stepfold import Cell, cells, dropout, noise
from stepfold._reference import Reference
from stepfold.torch import Recurrent, RecurrentCell, run, to_model
from stepfold.torch._scan import Batch
from tests.axes_cells import ALL, FEATURES, UNITS, AxesProblem
from tests.core.test_core_axes import decayed, low_rank, projected, read_out

LENGTHS = (5, 0, 3)
FEW = (projected, read_out, decayed)
named = pytest.mark.parametrize("cell", ALL, ids=lambda c: c.name)
few = pytest.mark.parametrize("cell", FEW, ids=lambda c: c.name)


def module_of(problem: AxesProblem, *args: Any, **options: Any) -> Recurrent:
    """The module with a problem's parameters in its first layer."""
    options = {"batch_first": True, "dtype": getattr(torch, problem.dtype)} | options
    torch.manual_seed(0)
    module = Recurrent(problem.cell, problem.input_size, UNITS, *args, **options, **problem.sizes)
    with torch.no_grad():
        for name, value in problem.params.items():
            getattr(module, f"{name}_l0").copy_(torch.as_tensor(value))
    return module


def leaves_of(problem: AxesProblem) -> tuple[list[Tensor], list[Tensor]]:
    """The inputs and the states (1, batch, …) as leaves."""
    inputs = [torch.tensor(value, requires_grad=True) for value in problem.inputs]
    return inputs, [torch.tensor(s[None], requires_grad=True) for s in problem.initial]


def one_or_all(values: list[Any]) -> Any:
    return tuple(values) if len(values) > 1 else values[0]


@pytest.mark.parametrize(
    ("cell", "dtype"),
    [*((cell, "float64") for cell in ALL), *((cell, "float32") for cell in FEW)],
    ids=lambda v: getattr(v, "name", v),
)
def test_values_and_gradients_are_the_references(cell: Cell, dtype: str) -> None:
    problem = AxesProblem(cell, dtype, lengths=LENGTHS)
    module, (inputs, states) = module_of(problem), leaves_of(problem)
    outputs, last = module(one_or_all(inputs), one_or_all(states), lengths=torch.tensor(LENGTHS))
    last = list(last) if len(states) > 1 else [last]
    expected = problem.reference()
    own, mask = int(cell.step.output), problem.mask.reshape(*problem.mask.shape, *[1] * (outputs.dim() - 2))
    close = {"rtol": 1e-9, "atol": 1e-10} if dtype == "float64" else {"rtol": 1e-4, "atol": 1e-5}

    def compare(found: Any, value: Any) -> None:
        np.testing.assert_allclose(found.detach().numpy().reshape(value.shape), value, **close)

    compare(outputs, np.where(mask, expected.outputs, 0.0))
    for found, value in zip(last, expected.states[own:], strict=True):
        compare(found[0], value)
    random = np.random.default_rng(1)
    arriving = random.standard_normal(outputs.shape)
    to_last = [random.standard_normal(s.shape[1:]) for s in last]
    torch.autograd.backward(
        [outputs, *last],
        [torch.tensor(arriving, dtype=outputs.dtype)]
        + [torch.tensor(g[None], dtype=outputs.dtype) for g in to_last],
    )
    carried = [np.zeros_like(expected.states[0])] * own + to_last
    to_inputs, to_params, to_states = expected.backward(np.where(mask, arriving, 0.0), carried)
    rest = list(inputs)
    if cell.step.takes_features:
        compare(rest.pop(0).grad, to_inputs)
    for found, value in zip(rest, expected.named_gradients.values(), strict=True):
        compare(found.grad, value)
    for found, value in zip(states, to_states[own:], strict=True):
        compare(found.grad[0], value)
    for name, value in to_params.items():
        compare(getattr(module, f"{name}_l0").grad, value)


@few
def test_packed_unbatched_and_time_major(cell: Cell) -> None:
    lengths = (4, 1, 5)
    problem = AxesProblem(cell, lengths=lengths)
    module, (inputs, states) = module_of(problem), leaves_of(problem)
    hx = one_or_all(states)
    expected, last = module(one_or_all(inputs), hx, lengths=torch.tensor(lengths))

    def pack(value: Tensor) -> Any:
        return pack_padded_sequence(value, torch.tensor(lengths), batch_first=True, enforce_sorted=False)

    packed, after = module(one_or_all([pack(value) for value in inputs]), hx)
    torch.testing.assert_close(pad_packed_sequence(packed, batch_first=True)[0], expected)
    torch.testing.assert_close(after, last)
    without, _ = module(one_or_all([pack(value) for value in inputs]))
    torch.testing.assert_close(
        pad_packed_sequence(without, True)[0], module(one_or_all(inputs), lengths=torch.tensor(lengths))[0]
    )
    row, row_last = module(one_or_all([v[2] for v in inputs]), one_or_all([s[:, 2] for s in states]))
    torch.testing.assert_close(row, expected[2])
    ends = [s[:, 2] for s in last] if isinstance(last, tuple) else last[:, 2]
    torch.testing.assert_close(row_last, tuple(ends) if isinstance(ends, list) else ends)
    module.batch_first = False
    swapped = module(one_or_all([v.transpose(0, 1) for v in inputs]), hx, lengths=torch.tensor(lengths))
    torch.testing.assert_close(swapped[0].transpose(0, 1), expected)


@pytest.mark.parametrize("cell", [projected, read_out, low_rank], ids=lambda c: c.name)
def test_layers_and_directions(cell: Cell) -> None:
    """A stack is its directions one by one, each with its parameters."""
    problem = AxesProblem(cell)
    module = module_of(problem, 2, bidirectional=True)
    x = torch.tensor(problem.inputs[0])
    values_and_gradients(module, module, x)
    outputs, last = module(x)
    ends: list[Any] = []
    for layer in range(2):
        both = []
        for reverse, suffix in enumerate(("", "_reverse")):
            params = {name: getattr(module, f"{name}_l{layer}{suffix}") for name in cell.step.parameters}
            found, states = run(cell, x, params, reverse=bool(reverse))
            both.append(found)
            ends.append(states)
        x = torch.cat(both, -1)
    torch.testing.assert_close(outputs, x)
    expected = [torch.stack(states) for states in zip(*ends, strict=True)]
    torch.testing.assert_close(list(last) if len(expected) > 1 else [last], expected)


def test_other_inputs_are_the_same_for_every_layer() -> None:
    """The layers above read the output in place of the first input."""
    problem = AxesProblem(decayed)
    module = Recurrent(decayed, FEATURES, FEATURES, 2, batch_first=True, dtype=torch.float64)
    x, observed, gap = map(torch.tensor, problem.inputs)
    found, _ = module((x, observed, gap[..., 0]))
    below = x
    for layer in range(2):
        params = {name: getattr(module, f"{name}_l{layer}") for name in decayed.step.parameters}
        below, _ = run(decayed, (below, observed, gap), params)
    torch.testing.assert_close(found, below)
    with pytest.raises(ValueError, match="layers above the first read 7; give one layer, or an input_size"):
        Recurrent(decayed, FEATURES, 7, 2)


@few
@pytest.mark.filterwarnings("ignore::stepfold.torch.SlowPathWarning")
@pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")
def test_transforms_and_higher_derivatives(cell: Cell) -> None:
    problem = AxesProblem(cell, batch=2, time=3)
    names, count = list(problem.params), len(problem.inputs)
    leaves = [*problem.inputs, *problem.params.values(), *problem.initial]
    tensors = tuple(torch.tensor(v, requires_grad=True) for v in leaves)

    def function(*values: Tensor) -> tuple[Tensor, ...]:
        params = dict(zip(names, values[count : count + len(names)], strict=True))
        outputs, last = run(cell, one_or_all(list(values[:count])), params, values[count + len(names) :])
        return outputs, *last

    assert torch.autograd.gradcheck(function, tensors, fast_mode=True)
    assert torch.autograd.gradgradcheck(function, tensors, fast_mode=True)

    def loss(*values: Tensor) -> Tensor:
        return sum((found.sin().sum() for found in function(*values)), torch.zeros(()))

    every = tuple(range(len(tensors)))
    plain = [t.detach() for t in tensors]
    expected = torch.autograd.grad(loss(*tensors), tensors)
    assert_same(list(torch.func.grad(loss, every)(*plain)), list(expected))
    data = [k for k in every if k < count or k >= count + len(names)]
    stacks = [torch.stack([t, 0.5 * t]) if k in data else t for k, t in enumerate(plain)]
    axes = tuple(0 if k in data else None for k in every)
    found = torch.func.vmap(torch.func.grad(loss, tuple(data)), in_dims=axes)(*stacks)
    for k in range(2):
        one = [t[k] if axis == 0 else t for t, axis in zip(stacks, axes, strict=True)]
        assert_same([g[k] for g in found], list(torch.func.grad(loss, tuple(data))(*one)))
    _, by_jvp = torch.func.jvp(loss, tuple(plain), tuple(plain))
    torch.testing.assert_close(by_jvp, sum((g * t).sum() for g, t in zip(expected, plain, strict=True)))


@named
def test_one_step_is_a_step_of_the_sequence(cell: Cell) -> None:
    problem = AxesProblem(cell)
    module, (inputs, states) = module_of(problem), leaves_of(problem)
    with torch.no_grad():
        outputs, last = module(one_or_all(inputs))
    hx = None
    for t in range(problem.time):
        found = module.cell(one_or_all([value[:, t] for value in inputs]), hx)
        output, hx = found if cell.step.output else (found[0] if len(states) > 1 else found, found)
        torch.testing.assert_close(output, outputs[:, t])
    single = module.cell(one_or_all([value[1, 0] for value in inputs]))
    torch.testing.assert_close(
        single[0] if isinstance(single, tuple) else single, outputs[1, 0].to(torch.float64)
    )
    ends = last if isinstance(last, tuple) else (last,)
    for a, b in zip(hx if isinstance(hx, tuple) else (hx,), ends, strict=True):
        torch.testing.assert_close(a, b[0])
    own = RecurrentCell(cell, problem.input_size, UNITS, **problem.sizes)
    assert {n: tuple(p.shape) for n, p in own.named_parameters()} == {
        n: v.shape for n, v in problem.params.items()
    }


@named
def test_parameters_begin_as_the_cells(cell: Cell) -> None:
    problem = AxesProblem(cell)
    torch.manual_seed(0)
    module = Recurrent(cell, problem.input_size, UNITS, **problem.sizes)
    init = cell.init(FEATURES, UNITS, seed=0, **problem.sizes)
    for name, value in init.items():
        own = getattr(module, f"{name}_l0").detach().numpy()
        dims = cell.step.parameters[name]
        if name not in cell.step.matrices:
            np.testing.assert_array_equal(own, value)
        elif dims[0] == dims[1]:
            np.testing.assert_allclose(own @ own.T, np.eye(len(own)), atol=1e-5)
        else:
            assert 0 < abs(own).max() <= np.sqrt(6 / sum(value.shape)) + 1e-6
    file = io.BytesIO()
    torch.save(module, file)
    file.seek(0)
    again = torch.load(file, weights_only=False)
    x = one_or_all([torch.tensor(v, dtype=torch.float32) for v in problem.inputs])
    for other in (again, copy.deepcopy(module)):
        torch.testing.assert_close(other(x), module(x))
    for axis, size in problem.sizes.items():
        assert f"{axis}={size}" in repr(again)


@few
def test_shapes_alone_half_precision_and_autocast(cell: Cell) -> None:
    problem = AxesProblem(cell, "float32")
    module = module_of(problem)
    inputs = [torch.tensor(value) for value in problem.inputs]
    outputs, _ = module(one_or_all(inputs))
    on_meta = copy.deepcopy(module).to("meta")(one_or_all([v.to("meta") for v in inputs]))
    assert on_meta[0].shape == outputs.shape
    half = copy.deepcopy(module).bfloat16()
    found, _ = half(one_or_all([v.bfloat16() for v in inputs]))
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), outputs, rtol=0.1, atol=0.1)
    with torch.autocast("cpu", torch.bfloat16):
        found, _ = module(one_or_all(inputs))
    assert found.dtype == torch.bfloat16


@few
@pytest.mark.slow
def test_compiled_and_exported(cell: Cell) -> None:
    problem = AxesProblem(cell, lengths=LENGTHS)
    module, (inputs, states) = module_of(problem), leaves_of(problem)
    torch._dynamo.reset()
    compiled = torch.compile(module, fullgraph=True, dynamic=True, backend="aot_eager")
    count = len(inputs)

    def call(of: Any, *leaves: Tensor) -> Any:
        lengths = torch.tensor(LENGTHS)
        return of(one_or_all(list(leaves[:count])), one_or_all(list(leaves[count:])), lengths)

    found, expected = (
        values_and_gradients(module, lambda *leaves, of=of: call(of, *leaves), *inputs, *states)
        for of in (compiled, module)
    )
    assert_same(found, expected)
    x = one_or_all([value.detach() for value in inputs])
    program = torch.export.export(module, (x,))
    torch.testing.assert_close(program.module()(x)[0], module(x)[0])


@few
def test_recurrent_dropout_and_zoneout(cell: Cell) -> None:
    problem = AxesProblem(cell)
    torch.manual_seed(0)
    module = module_of(problem, recurrent_dropout=0.5, zoneout=0.5)
    x, hx = map(one_or_all, leaves_of(problem))
    assert not torch.equal(module(x, hx)[0], module(x, hx)[0])
    module.eval()
    assert torch.equal(module(x, hx)[0], module(x, hx)[0])


def test_zoneout_of_a_matrix_keeps_its_elements() -> None:
    problem = AxesProblem(cells.fast_weights)
    module, (inputs, states) = module_of(problem, zoneout=0.5), leaves_of(problem)
    recipe = module._recipes[0][0]
    torch.manual_seed(1)
    masks = module.noise.draw(recipe, Batch(problem.batch), inputs[0])
    torch.manual_seed(1)
    found = module(inputs[0], tuple(states))[0]
    expected = Reference(
        recipe.step,
        problem.inputs[0],
        problem.params,
        problem.initial,
        extra={leaf: mask.numpy() for leaf, mask in zip(recipe.extra, masks, strict=True)},
    )
    assert any(mask.dim() == 4 and 0 < mask.mean() < 1 for mask in masks)
    np.testing.assert_allclose(found.detach().numpy(), expected.outputs, rtol=1e-9, atol=1e-10)


def test_to_model() -> None:
    """Several inputs stand side by side; of a cell whose output is no state a Model gives that alone."""
    problem = AxesProblem(decayed, "float32")
    module, inputs = module_of(problem).eval(), [torch.tensor(v) for v in problem.inputs]
    inputs[2] = inputs[2][..., 0]
    model = to_model(module, example=tuple(inputs))
    found = model.run(np.concatenate(problem.inputs, axis=-1))
    torch.testing.assert_close(torch.tensor(found), module(tuple(inputs))[0].detach())

    class Network(torch.nn.Module):  # type: ignore[misc]
        def __init__(self, cell: Cell, state: bool) -> None:
            super().__init__()
            self.recurrent = Recurrent(
                cell, FEATURES, UNITS, batch_first=True, bidirectional=True, projection=3
            )
            self.dense, self.state = torch.nn.Linear(6, 2), state

        def forward(self, x: Tensor) -> Tensor:
            output, states = self.recurrent(x)
            return states[-1] if self.state else self.dense(output.amax(1))

    x = torch.randn(3, 6, FEATURES)
    for cell in (projected, read_out):
        network = Network(cell, state=False).eval()
        found = to_model(network, example=x).run(x.numpy())
        torch.testing.assert_close(torch.tensor(found), network(x).detach())
    with pytest.raises(
        ValueError, match="gives the output of this cell, which is no state, and not its state"
    ):
        to_model(Network(read_out, state=True))


def test_noise_of_the_step_is_drawn_in_training() -> None:
    def noisy_rnn(x, h, *, W, U):  # type: ignore[no-untyped-def]
        return noise(dropout(W @ x, 0.25) + U @ h, 0.001)

    torch.manual_seed(0)
    module = Recurrent(stepfold.cell(noisy_rnn), 1, 500, dtype=torch.float64)
    with torch.no_grad():
        module.W_l0.fill_(1.0)
        module.U_l0.zero_()
    outputs, _ = values_and_gradients(module, module, torch.ones(2, 1, 1, dtype=torch.float64))[:2]
    kept = outputs > 0.5
    assert 0.65 < kept.double().mean() < 0.85
    torch.testing.assert_close(outputs[kept], torch.full_like(outputs[kept], 4 / 3), atol=0.01, rtol=0)
    assert 0.0005 < outputs[~kept].std() < 0.002
    module.eval()
    expected = torch.ones(2, 1, 500, dtype=torch.float64)
    torch.testing.assert_close(module(torch.ones(2, 1, 1, dtype=torch.float64))[0], expected)


def test_what_does_not_fit() -> None:
    with pytest.raises(ValueError, match=r"^projected needs the size of projection; give projection=…$"):
        Recurrent(projected, 3, 4)
    with pytest.raises(ValueError, match="projected has no axis rank; it has projection"):
        Recurrent(projected, 3, 4, projection=2, rank=1)
    module = Recurrent(projected, 3, 4, projection=2)
    with pytest.raises(RuntimeError, match=r"Expected hidden\[0\] size \(1, 5, 2\), got \[1, 5, 4\]"):
        module(torch.zeros(6, 5, 3), (torch.zeros(1, 5, 4), torch.zeros(1, 5, 4)))
    with pytest.raises(RuntimeError, match=r"state h has shape \(5, 4\), expected \(5, 2\) \(batch, project"):
        module.cell(torch.zeros(5, 3), (torch.zeros(5, 4), torch.zeros(5, 4)))
    several, x = Recurrent(decayed, 3, 4), torch.zeros(6, 5, 3)
    with pytest.raises(TypeError, match=r"decayed has the inputs x, m, gap; give a tuple of 3 tensors"):
        several(x)
    with pytest.raises(ValueError, match=r"input gap has shape \(6, 5, 2\), expected \(6, 5, 1\), beside"):
        several((x, x, torch.zeros(6, 5, 2)))
    with pytest.raises(ValueError, match=r"input m is torch.float64 on cpu, x is torch.float32 on cpu"):
        several((x, x.double(), torch.zeros(6, 5)))
    packed = pack_padded_sequence(x, [6] * 5)
    with pytest.raises(ValueError, match="input gap is not packed as x is; pack all with the same lengths"):
        several((packed, packed, pack_padded_sequence(torch.zeros(6, 5), [6, 6, 6, 6, 5])))
    with pytest.raises(
        RuntimeError, match=r"input.size\(-1\) must be equal to input_size. Expected 3, got 4"
    ):
        several((torch.zeros(6, 5, 4), x, x[..., 0]))


def test_a_legendre_memory_begins_as_the_cell_says() -> None:
    memory = cells.lmu.replace(theta=8.0)
    module = Recurrent(memory, FEATURES, UNITS, order=4, dtype=torch.float64)
    expected = memory.init(FEATURES, UNITS, order=4, dtype="float64")
    for name in ("A", "B", "e_m"):
        np.testing.assert_array_equal(getattr(module, f"{name}_l0").detach().numpy(), expected[name])

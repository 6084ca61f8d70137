"""Integers that choose rows of a cell's parameters, in PyTorch's modules: the numbers of the rows."""

from __future__ import annotations

import copy
import io
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import stepfold
from stepfold import Cell, dropout, tanh
from stepfold.torch import Recurrent, RecurrentCell, Tokens, run, to_model
from tests.lookup_cells import CELLS, SIZES, UNITS, LookupProblem, by_day, by_word

every = pytest.mark.parametrize("cell", CELLS, ids=lambda c: c.name)


def module_of(problem: LookupProblem, *args: Any, **options: Any) -> Recurrent:
    """The module with a problem's parameters in its first layer."""
    options = {"batch_first": True, "dtype": getattr(torch, problem.dtype)} | problem.sizes | options
    input_size = SIZES["vocabulary"] if problem.cell is not by_day else 3
    options.pop("vocabulary", None)
    module = Recurrent(problem.cell, input_size, UNITS, *args, **options)
    with torch.no_grad():
        for name, value in problem.params.items():
            getattr(module, f"{name}_l0").copy_(torch.as_tensor(value))
    return module


def given_of(problem: LookupProblem) -> list[Tensor]:
    return [torch.tensor(value) for value in problem.inputs]


def one_or_all(values: list[Any]) -> Any:
    return tuple(values) if len(values) > 1 else values[0]


@every
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_values_and_gradients_are_those_of_the_rows(cell: Cell, dtype: str) -> None:
    problem, lengths = LookupProblem(cell, dtype), (6, 0, 3)
    module = module_of(problem)
    outputs, _ = module(one_or_all(given_of(problem)), lengths=torch.tensor(lengths))
    plain = stepfold.record(problem.twin, problem.rows, problem.rest, lengths=lengths, return_sequences=True)
    mask = (np.arange(6) < np.array(lengths)[:, None])[..., None]
    limit = {"rtol": 1e-10, "atol": 1e-11} if dtype == "float64" else {"rtol": 1e-4, "atol": 1e-5}
    np.testing.assert_allclose(outputs.detach(), np.where(mask, plain.output, 0), **limit)
    weights = np.random.default_rng(1).standard_normal(outputs.shape).astype(dtype)
    outputs.backward(torch.tensor(weights))
    expected = plain.backward(np.where(mask, weights, 0).astype(dtype))
    for name, value in (expected.params | problem.added(expected.inputs)).items():
        np.testing.assert_allclose(getattr(module, f"{name}_l0").grad, value, **limit)


@every
def test_every_form(cell: Cell) -> None:
    problem, lengths = LookupProblem(cell), torch.tensor([4, 1, 6])
    module, inputs = module_of(problem), given_of(problem)
    expected, last = module(one_or_all(inputs), lengths=lengths)
    packed, after = module(
        one_or_all([pack_padded_sequence(v, lengths, True, enforce_sorted=False) for v in inputs])
    )
    torch.testing.assert_close(pad_packed_sequence(packed, True)[0], expected)
    torch.testing.assert_close(after, last)
    row, _ = module(one_or_all([v[2] for v in inputs]))
    torch.testing.assert_close(row, expected[2])
    found, _ = module(one_or_all([v.int() if v.dtype == torch.int64 else v for v in inputs]), lengths=lengths)
    torch.testing.assert_close(found, expected)
    # behind an end any integer may stand
    padded = [v.clone() for v in inputs]
    for v in padded:
        v[0, 4:] = v[1, 1:] = -100
    torch.testing.assert_close(module(one_or_all(padded), lengths=lengths)[0], expected)
    module.batch_first = False
    found, _ = module(one_or_all([v.transpose(0, 1) for v in padded]), lengths=lengths)
    torch.testing.assert_close(found.transpose(0, 1), expected)
    both = module_of(problem, bidirectional=True)
    outputs, _ = both(one_or_all(inputs))
    for k, suffix in enumerate(("", "_reverse")):
        params = {name: getattr(both, f"{name}_l0{suffix}") for name in cell.step.parameters}
        one, _ = run(cell, one_or_all(inputs), params, reverse=bool(k))
        torch.testing.assert_close(outputs[..., k * UNITS : (k + 1) * UNITS], one)


@every
def test_one_timestep(cell: Cell) -> None:
    problem = LookupProblem(cell)
    module, inputs = module_of(problem), given_of(problem)
    outputs, _ = module(one_or_all(inputs))
    single, hx = module.cell, None
    assert isinstance(single, RecurrentCell)
    for t in range(problem.time):
        hx = single(one_or_all([v[:, t] for v in inputs]), hx)
        torch.testing.assert_close(hx[0] if isinstance(hx, tuple) else hx, outputs[:, t])
    if cell is not by_day:
        with pytest.raises(TypeError, match="RecurrentCell: input word should be a tensor of integers"):
            single(torch.zeros(3, SIZES["vocabulary"], dtype=torch.float64))
    alone = single(one_or_all([v[1, 0] for v in inputs]))
    torch.testing.assert_close(alone[0] if isinstance(alone, tuple) else alone, outputs[1, 0])


@every
@pytest.mark.filterwarnings("ignore::stepfold.torch.SlowPathWarning")
@pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")
def test_derivatives_of_the_tables(cell: Cell) -> None:
    problem = LookupProblem(cell, batch=2, time=3)
    names = list(problem.params)
    params = tuple(torch.tensor(v, requires_grad=True) for v in problem.params.values())
    inputs = given_of(problem)

    def function(*values: Tensor) -> Tensor:
        return run(cell, one_or_all(inputs), dict(zip(names, values, strict=True)))[0]

    assert torch.autograd.gradcheck(function, params, fast_mode=True)
    assert torch.autograd.gradgradcheck(function, params, fast_mode=True)
    plain = [p.detach() for p in params]
    expected = torch.autograd.grad(function(*params).sin().sum(), params)
    found = torch.func.grad(lambda *v: function(*v).sin().sum(), tuple(range(len(plain))))(*plain)
    torch.testing.assert_close(list(found), list(expected))

    def of_ids(*rows: Tensor) -> Tensor:
        every = [r[None] for r in rows]
        return run(cell, one_or_all(every), dict(zip(names, plain, strict=True)))[0][0]

    torch.testing.assert_close(torch.func.vmap(of_ids)(*inputs), function(*plain))


def test_layers_above_have_tables_of_their_own() -> None:
    problem = LookupProblem(by_day)
    module = Recurrent(by_day, UNITS, UNITS, 2, batch_first=True, dtype=torch.float64, days=4)
    x, *others = given_of(problem)
    x = torch.cat([x, x], -1)[..., :UNITS]
    found, _ = module((x, *others))
    below = x
    for layer in range(2):
        params = {name: getattr(module, f"{name}_l{layer}") for name in by_day.step.parameters}
        below, _ = run(by_day, (below, *others), params)
    torch.testing.assert_close(found, below)
    with pytest.raises(
        ValueError, match="the input word of by_word is an integer, but layers above the first"
    ):
        Recurrent(by_word, 7, UNITS, 2, embed=3)


def test_tokens_beside_an_integer() -> None:
    problem = LookupProblem(by_day)
    module = module_of(problem)
    _, day, gap, week = given_of(problem)
    ids, table = torch.randint(8, day.shape), torch.randn(8, 3, dtype=torch.float64)
    found, _ = module((Tokens(ids, table), day, gap, week))
    torch.testing.assert_close(found, module((table[ids], day, gap, week))[0])


@every
def test_saved_and_begun(cell: Cell) -> None:
    problem = LookupProblem(cell, "float32")
    torch.manual_seed(0)
    options = {axis: size for axis, size in problem.sizes.items() if axis != "vocabulary"}
    module = Recurrent(cell, 3 if cell is by_day else 7, UNITS, batch_first=True, **options)
    table = module.D_l0 if cell is by_day else module.E_l0
    assert 0.03 < table.abs().max() <= 0.05
    file = io.BytesIO()
    torch.save(module, file)
    file.seek(0)
    again = torch.load(file, weights_only=False)
    inputs = one_or_all([v.float() if v.is_floating_point() else v for v in given_of(problem)])
    for other in (again, copy.deepcopy(module)):
        torch.testing.assert_close(other(inputs), module(inputs))
    again.load_state_dict(module_of(problem).state_dict())
    torch.testing.assert_close(again(inputs), module_of(problem)(inputs))
    on_meta = copy.deepcopy(module).to("meta")(
        tuple(v.to("meta") for v in inputs) if isinstance(inputs, tuple) else inputs.to("meta")
    )
    assert on_meta[0].shape == (3, 6, UNITS)
    with torch.autocast("cpu", torch.bfloat16):
        assert module(inputs)[0].dtype == torch.bfloat16


def test_noise_dropout_and_zoneout() -> None:
    @stepfold.cell
    def noisy(word: int, h, *, E: "vocabulary units", U):  # noqa: F722
        return tanh(dropout(E[word], 0.5) + U @ h)

    module = Recurrent(noisy, 9, 8, recurrent_dropout=0.2, zoneout=0.1)
    ids = torch.randint(9, (6, 4))
    assert not torch.equal(module(ids)[0], module(ids)[0])
    module.eval()
    torch.testing.assert_close(module(ids), module(ids))


@every
def test_as_a_model(cell: Cell) -> None:
    problem = LookupProblem(cell, "float32")
    module, inputs = module_of(problem), given_of(problem)
    model = to_model(module, example=one_or_all(inputs))
    columns = [v if v.ndim == 3 else v[..., None] for v in problem.inputs]
    found = model.run(np.concatenate(columns, -1).astype(np.float32))
    np.testing.assert_allclose(found, module(one_or_all(inputs))[0].detach(), rtol=1e-4, atol=1e-5)


def test_what_does_not_fit() -> None:
    problem = LookupProblem(by_day)
    module = module_of(problem)
    x, day, gap, week = given_of(problem)
    with pytest.raises(
        TypeError, match=r"Recurrent: input day should be a tensor of integers, int32 or int64.*64"
    ):
        module((x, day.double(), gap, week))
    with pytest.raises(
        ValueError, match=r"input day has shape \(3, 6, 1\), expected \(3, 6\), beside an input x"
    ):
        module((x, day[..., None], gap, week))
    for outside in (day + 4, day - 4):
        with pytest.raises(
            IndexError, match=r"chooses D\[day\] is -?\d, but D, of shape \(4, 5\), has the rows 0…3"
        ):
            module((x, outside, gap, week))
    words = module_of(LookupProblem(by_word))
    with pytest.raises(TypeError, match="input word should be a tensor of integers"):
        words(torch.zeros(3, 6, 7))
    with pytest.raises(ValueError, match="Expected input to be 2D or 3D, got 4D"):
        words(torch.zeros(3, 6, 7, dtype=torch.int64))
    with pytest.raises(
        ValueError, match="one of the 9 rows of the axis vocabulary; give an input_size of 9, not 7"
    ):
        Recurrent(by_word, 7, UNITS, embed=3, vocabulary=9)
    with pytest.raises(ValueError, match="by_day needs the size of days; give days=…"):
        Recurrent(by_day, 3, UNITS)


@every
@pytest.mark.slow
def test_compiled_and_exported(cell: Cell) -> None:
    problem, lengths = LookupProblem(cell), torch.tensor([6, 0, 3])
    module, inputs = module_of(problem), one_or_all(given_of(problem))
    torch._dynamo.reset()
    compiled = torch.compile(module, fullgraph=True, dynamic=True, backend="aot_eager")
    gradients = []
    for of in (compiled, module):
        module.zero_grad()
        outputs, _ = of(inputs, None, lengths)
        outputs.sin().sum().backward()
        gradients.append([outputs.detach(), *(p.grad for p in module.parameters())])
    torch.testing.assert_close(*gradients)
    program = torch.export.export(module, (inputs,))
    torch.testing.assert_close(program.module()(inputs)[0], module(inputs)[0])

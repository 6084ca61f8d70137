"""Token ids in place of vectors: torch.nn's numbers and gradients, and proof of which path ran."""

from __future__ import annotations

import copy
import io
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch_helpers import as_hx, assert_same, initial, twins
from torch_tokens import (
    BATCH,
    FEATURES,
    IDS,
    LENGTHS,
    NAMES,
    UNITS,
    VOCABULARY,
    compare,
    embeddings,
    packed,
    paths,
    results,
)

import stepfold.torch
from stepfold import cells
from stepfold._runtime import Recipe
from stepfold.torch import Embedding, Tokens, _operator, run


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [torch.int32, torch.int64])
@pytest.mark.parametrize(
    "options", [{"batch_first": True}, {"num_layers": 2, "bidirectional": True}], ids=str
)
def test_an_embedding_hands_on_its_ids(name: str, dtype: torch.dtype, options: dict[str, Any]) -> None:
    theirs, ours = twins(name, FEATURES, UNITS, **options)
    one, other = embeddings()
    ids = IDS.to(dtype)
    reference = results(one, theirs, lambda: theirs(one(ids)))
    with paths() as ran:
        found = results(other, ours, lambda: ours(other(ids)))
    # a second layer gets the first one's outputs
    assert ran == ({True} if "num_layers" not in options else {True, False})
    assert_same(found, reference)


@pytest.mark.parametrize("name", NAMES)
def test_with_states_lengths_unbatched_and_projected(name: str) -> None:
    options = {"proj_size": 2} if name == "LSTM" else {}
    theirs, ours = twins(name, FEATURES, UNITS, batch_first=True, **options)
    one, other = embeddings()
    both = (one, theirs), (other, ours)
    hx = as_hx(theirs, tuple(initial(theirs, BATCH)))
    compare(lambda: theirs(one(IDS), hx), lambda: ours(other(IDS), hx), both, tokens=True)
    compare(lambda: theirs(one(IDS[1])), lambda: ours(other(IDS[1])), both, tokens=True)
    compare(
        lambda: stepfold.torch.LSTM.forward(ours, one(IDS), lengths=LENGTHS),  # the dense path of ours
        lambda: ours(other(IDS), lengths=LENGTHS),
        ((one, ours), (other, ours)),
        tokens=True,
    )


@pytest.mark.parametrize("name", NAMES)
def test_packed_ids(name: str) -> None:
    theirs, ours = twins(name, FEATURES, UNITS, bidirectional=True)
    one, other = embeddings()
    both = (one, theirs), (other, ours)
    ids = packed(IDS)

    def expected() -> Any:
        return theirs(packed(one(IDS)))

    compare(expected, lambda: ours(other(ids)), both, tokens=True)
    compare(expected, lambda: ours(ids._replace(data=other(ids.data))), both, tokens=True)
    compare(expected, lambda: ours(other.tokens(ids)), both, tokens=True)
    compare(expected, lambda: ours(packed(other(IDS))), both, tokens=False)


def test_tokens_in_place_of_vectors() -> None:
    theirs, ours = twins("GRU", FEATURES, UNITS)
    one, other = embeddings()
    both = (one, theirs), (other, ours)
    compare(lambda: theirs(one(IDS)), lambda: ours(other.tokens(IDS)), both, tokens=True)
    compare(lambda: theirs(one(IDS)), lambda: ours(Tokens(IDS.int(), other.weight)), both, tokens=True)
    cell = stepfold.torch.Recurrent(cells.gru, FEATURES, UNITS, dtype=torch.float64)
    with paths() as ran:
        found = results(other, cell, lambda: cell(other.tokens(IDS)))
    assert ran == {True}
    assert_same(found, results(one, cell, lambda: cell(one(IDS))))


def test_a_function_of_tokens() -> None:
    one, other = embeddings()
    cell = cells.simple_rnn
    random = torch.Generator().manual_seed(4)
    params = {
        name: torch.randn(shape, generator=random, dtype=torch.float64)
        for name, shape in cell.parameter_shapes(features=FEATURES, units=UNITS).items()
    }
    with paths() as ran:
        found = run(cell, other(IDS), params, lengths=LENGTHS)
    assert ran == {True}
    assert_same([found[0]], [run(cell, one(IDS), params, lengths=LENGTHS)[0]])
    assert torch.autograd.gradcheck(
        lambda table: run(cell, Tokens(IDS, table), params)[0], (other.weight.detach().requires_grad_(),)
    )


def test_an_empty_batch_gives_its_table_a_gradient_of_zeros() -> None:
    table = torch.ones(3, 2, requires_grad=True)
    cell = cells.by_name("simple_rnn")
    params = {name: torch.ones(shape) for name, shape in cell.parameter_shapes(features=2, units=4).items()}
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)  # memory that nothing was written to is NaN
    try:
        outputs, _ = run(cell, Tokens(torch.zeros(0, 5, dtype=torch.int64), table), params)
        outputs.sum().backward()
    finally:
        torch.use_deterministic_algorithms(before)
    assert table.grad is not None
    assert table.grad.tolist() == [[0.0, 0.0]] * 3


@pytest.mark.filterwarnings("ignore::stepfold.torch.SlowPathWarning")
def test_second_derivatives() -> None:
    cell = cells.simple_rnn
    random = torch.Generator().manual_seed(4)
    params = {
        name: torch.randn(shape, generator=random, dtype=torch.float64)
        for name, shape in cell.parameter_shapes(features=FEATURES, units=2).items()
    }
    table = torch.randn(3, FEATURES, generator=random, dtype=torch.float64).requires_grad_()
    ids = torch.tensor([[0, 1, 0]])
    assert torch.autograd.gradgradcheck(lambda t: run(cell, Tokens(ids, t), params)[0], (table,))


def test_the_padding_s_row_gets_no_gradient() -> None:
    theirs, ours = twins("LSTM", FEATURES, UNITS)
    one, other = embeddings(padding_idx=2)
    both = (one, theirs), (other, ours)
    compare(lambda: theirs(one(IDS)), lambda: ours(other(IDS)), both, tokens=True)
    assert other.weight.grad is not None
    assert not other.weight.grad[2].any()
    assert other.weight.grad.any()


def test_norms_are_kept_below_max_norm() -> None:
    theirs, ours = twins("LSTM", FEATURES, UNITS)
    one, other = embeddings(max_norm=0.5)
    compare(lambda: theirs(one(IDS)), lambda: ours(other(IDS)), ((one, theirs), (other, ours)), tokens=True)
    assert_same([other.weight.detach()], [one.weight.detach()])


@pytest.mark.parametrize(
    "between",
    [
        lambda v: v * 2,
        lambda v: v.mul_(2),
        lambda v: nn.functional.layer_norm(v, (FEATURES,)),
        lambda v: v.detach(),
        lambda v: v.clone(),
        lambda v: (v.retain_grad(), v)[1],
        lambda v: (v.register_hook(lambda g: 2 * g), v)[1],
        copy.copy,
    ],
)
def test_anything_in_between_works_on_the_vectors(between: Any) -> None:
    theirs, ours = twins("GRU", FEATURES, UNITS)
    one, other = embeddings()
    with paths() as ran:
        found = ours(between(other(IDS)))[0]
    assert ran == {False}
    expected = theirs(between(one(IDS)))[0]
    assert_same([found.detach()], [expected.detach()])
    found.sum().backward()
    expected.sum().backward()
    assert (one.weight.grad is None) == (other.weight.grad is None)
    if one.weight.grad is not None:
        assert_same([other.weight.grad], [one.weight.grad])  # type: ignore[list-item]


@pytest.mark.parametrize("options", [{"sparse": True}, {"scale_grad_by_freq": True}], ids=str)
def test_gradients_of_other_kinds_come_from_the_vectors(options: dict[str, bool]) -> None:
    theirs, ours = twins("GRU", FEATURES, UNITS)
    one, other = embeddings(**options)
    modules = (one, theirs), (other, ours)
    compare(lambda: theirs(one(IDS)), lambda: ours(other(IDS)), modules, tokens=False)
    with pytest.raises(ValueError, match=f"an embedding with {next(iter(options))} has only vectors"):
        other.tokens(IDS)


def test_a_table_that_has_changed_since() -> None:
    theirs, ours = twins("GRU", FEATURES, UNITS)
    one, other = embeddings()
    vectors, expected = other(IDS), theirs(one(IDS))[0]
    with torch.no_grad():
        other.weight += 1
    assert_same([ours(vectors)[0].detach()], [expected.detach()])


def test_without_gradients() -> None:
    theirs, ours = twins("GRU", FEATURES, UNITS)
    one, other = embeddings()
    for mode in (torch.no_grad, torch.inference_mode):
        with mode(), paths() as ran:
            found = ours(other(IDS))[0]
        assert ran == {True}
        assert_same([found.clone()], [theirs(one(IDS))[0].detach()])
    with torch.no_grad():
        vectors = other(IDS)
    ours(vectors)[0].sum().backward()
    assert other.weight.grad is None  # as with torch's own


def test_nothing_of_a_note_is_saved() -> None:
    _, other = embeddings()
    file = io.BytesIO()
    torch.save(other(IDS).detach(), file)
    torch.save(other(IDS), file)
    file.seek(0)
    torch.load(file, weights_only=True)
    assert type(copy.deepcopy(other)) is Embedding


@pytest.mark.parametrize("bad", [-1, VOCABULARY])
def test_ids_outside_the_vocabulary_are_an_error(bad: int) -> None:
    _, ours = twins("GRU", FEATURES, UNITS)
    _, other = embeddings()
    ids = IDS.clone()
    ids[1, 1] = bad
    with pytest.raises(IndexError, match="index out of range in self"):  # torch's own gather
        ours(other(ids))
    with pytest.raises(IndexError, match="token ids must lie in 0…12, for the embedding has 13 rows"):
        ours(other.tokens(ids))


def test_what_modules_refuse() -> None:
    _, ours = twins("LSTM", FEATURES, UNITS)
    _, other = embeddings()
    with pytest.raises(TypeError, match="LSTM: token ids should be a tensor of int32 or int64, got torch"):
        ours(other.tokens(IDS.float()))
    with pytest.raises(TypeError, match="got list"):
        ours(Tokens([[1]] * BATCH, other.weight))  # type: ignore[arg-type]
    with pytest.raises(RuntimeError, match="Expected 3, got 2"):
        ours(Tokens(IDS, other.weight[:, :2]))
    with pytest.raises(ValueError, match="Expected input to be 2D or 3D, got 4D"):
        ours(other.tokens(IDS[None]))
    with pytest.raises(ValueError, match=r"RNN input dtype \(torch\.float32\) does not match weight dtype"):
        ours(Tokens(IDS, other.weight.float()))


def test_half_precision_and_autocast() -> None:
    ours = stepfold.torch.LSTM(FEATURES, UNITS)
    embedding = Embedding(VOCABULARY, FEATURES)
    expected = ours(embedding(IDS))[0]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert_same([ours(embedding(IDS))[0]], [expected.bfloat16()], rtol=0, atol=0)
    half = stepfold.torch.LSTM(FEATURES, UNITS, dtype=torch.bfloat16)
    half.load_state_dict(ours.state_dict())
    with paths() as ran:
        found = half(embedding.to(torch.bfloat16).tokens(IDS))[0]
    assert ran == {True}
    assert_same([found.float()], [expected], rtol=0.05, atol=0.05)


def test_opcheck_with_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    # opcheck compares residuals, too, where the padding is never written
    monkeypatch.setattr(_operator, "residual_memory", lambda size: torch.zeros(size, dtype=torch.uint8))
    for kind, ids, active in (
        ("all", IDS, None),
        ("packed", packed(IDS).data, packed(IDS).batch_sizes),
    ):
        random = torch.Generator().manual_seed(4)
        side = torch.randn(*ids.shape, 2, generator=random, dtype=torch.float64).requires_grad_()
        cell = cells.gru
        recipe = Recipe.of(cell.step, UNITS).but(
            tokens=True, side=True, active=kind, padding="repeat", initial=kind == "packed"
        )
        shapes = cell.parameter_shapes(features=FEATURES + 2, units=UNITS).values()
        weights = [torch.randn(s, generator=random, dtype=torch.float64).requires_grad_() for s in shapes]
        states = [torch.zeros(BATCH, UNITS, dtype=torch.float64)] if kind == "packed" else []
        table = torch.randn(VOCABULARY, FEATURES, generator=random, dtype=torch.float64).requires_grad_()
        call = (table, weights, states, [], active, ids, side, [], recipe.text, True, True)
        torch.library.opcheck(torch.ops.stepfold.scan.default, call)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # torch's own compiler's
@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.slow)])
def test_compiled(backend: str) -> None:
    theirs, ours = twins("LSTM", FEATURES, UNITS, batch_first=True)
    one, other = embeddings()

    def with_tokens(ids: Tensor) -> Any:
        return ours(other.tokens(ids))[0]

    def with_vectors(ids: Tensor) -> Any:
        return ours(other(ids))[0]

    def changed_in_place(ids: Tensor) -> Any:
        vectors = other(ids)
        vectors.mul_(2)
        return ours(vectors)[0]

    expected = theirs(one(IDS))[0].detach()
    for function, tokens in ((with_tokens, True), (with_vectors, False)):
        other.zero_grad()
        with paths() as ran:
            found = torch.compile(function, fullgraph=True, backend=backend)(IDS)
            found.sum().backward()
        assert ran == {tokens}
        assert_same([found.detach()], [expected])
        one.zero_grad()
        theirs(one(IDS))[0].sum().backward()
        assert_same([other.weight.grad], [one.weight.grad])  # type: ignore[list-item]
    found = torch.compile(changed_in_place, fullgraph=True, backend=backend)(IDS)
    assert_same([found.detach()], [theirs(2 * one(IDS))[0].detach()])

"""Token ids with two embeddings of the same numbers, torch.nn's and ours, and proof of which path ran."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence
from torch_helpers import assert_same, flat

from stepfold._runtime import programs
from stepfold.torch import Embedding

VOCABULARY, FEATURES, UNITS, BATCH, TIME = 13, 3, 5, 4, 9
IDS = torch.randint(0, VOCABULARY, (BATCH, TIME), generator=torch.Generator().manual_seed(0))
IDS[:, 4] = 2  # a token that comes often: its gradients add up
LENGTHS = torch.tensor([5, 9, 1, 3])
NAMES = ("RNN", "LSTM", "GRU")


def embeddings(**options: Any) -> tuple[nn.Embedding, Embedding]:
    options.setdefault("dtype", torch.float64)
    theirs, ours = nn.Embedding(VOCABULARY, FEATURES, **options), Embedding(VOCABULARY, FEATURES, **options)
    ours.load_state_dict(theirs.state_dict())
    return theirs, ours


@contextmanager
def paths() -> Iterator[set[bool]]:
    """Whether the programs that ran inside had tokens."""
    before = {key: program.runs for key, program in programs.items()}
    ran: set[bool] = set()
    yield ran
    ran |= {
        key.recipe.tokens  # type: ignore[attr-defined]
        for key, program in programs.items()
        if program.runs != before.get(key, 0)
    }


def results(embedding: nn.Module, module: nn.Module, function: Callable[[], Any]) -> list[Tensor]:
    """What a call gives, and the gradients of all parameters under random cotangents."""
    embedding.zero_grad()
    module.zero_grad()
    found = flat(function())
    random = torch.Generator().manual_seed(3)
    torch.autograd.backward(found, [torch.randn(v.shape, generator=random, dtype=v.dtype) for v in found])
    gradients = [p.grad for p in (*embedding.parameters(), *module.parameters())]
    assert all(g is not None for g in gradients)
    return [v.detach() for v in found] + [g.clone() for g in gradients if g is not None]


def compare(expected: Callable[[], Any], found: Callable[[], Any], modules: Any, *, tokens: bool) -> None:
    (their_embedding, theirs), (embedding, ours) = modules
    reference = results(their_embedding, theirs, expected)
    with paths() as ran:
        mine = results(embedding, ours, found)
    assert ran == {tokens}
    assert_same(mine, reference)


def packed(ids: Tensor) -> PackedSequence:
    return pack_padded_sequence(ids, LENGTHS, batch_first=True, enforce_sorted=False)

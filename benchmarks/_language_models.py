"""Language models of the training texts, one a direction, with one table of words (Dai & Le 2015)."""

import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from stepfold.torch import LSTM, Tokens

Ids = NDArray[np.int64]
BOUNDARY, UNKNOWN = 0, 1


@dataclass(frozen=True)
class LanguageSettings:
    """The settings of the language models and of their training.

    Attributes:
        vocabulary_size: every id is below it.
        embedding: values a word.
        units: of each direction's LSTM.
        epochs: passes over the texts.
        rows: streams that are read side by side.
        steps: timesteps between which gradients flow; states go on.
        learning_rate: the highest; it rises over 200 steps and falls to a tenth.
        unknown: the share of words that become unknown.
        common: how many of the commonest words are in every partition function.
        sampled: how many of the others are drawn for a step, for all of its timesteps.
        seed: of the weights, the order and what is drawn.
    """

    vocabulary_size: int = 20000
    embedding: int = 128
    units: int = 128
    epochs: int = 2
    rows: int = 64
    steps: int = 64
    learning_rate: float = 3e-3
    unknown: float = 0.05
    common: int = 192
    sampled: int = 320
    seed: int = 0


class Pretrained(NamedTuple):
    """The table of words (vocabulary_size, embedding), and the LSTM that reads forward and the one that reads
    backward."""

    table: Tensor
    readers: tuple[nn.Module, nn.Module]


def forget_by_one(lstm: Any) -> None:
    """Let an LSTM begin with biases of zero, and of one in its forget gates."""
    with torch.no_grad():
        for name, values in lstm.named_parameters():
            if name.startswith("bias"):
                values.zero_()
            if name.startswith("bias_ih"):
                values[lstm.hidden_size : 2 * lstm.hidden_size] = 1.0


class _Sampler:
    """Chooses the words of a step's partition function: all common ones, and a sample of the others.

    A sampled word counts for as many as it stands for: one over the probability that it is in the sample.
    """

    def __init__(self, counts: NDArray[np.int64], settings: LanguageSettings) -> None:
        rank = np.argsort(-counts, kind="stable")
        self._common = torch.from_numpy(rank[: settings.common].copy())
        self._others, self._many = rank[settings.common :], settings.sampled
        share = (counts[self._others] + 0.5) ** 0.75
        self._share = share / share.sum()
        self._upto = np.cumsum(self._share)
        self.common, self._place = len(self._common), torch.zeros(len(counts), dtype=torch.int64)

    def draw(self, ids: Tensor, random: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Return the words that a step needs: those of the partition function, then what else `ids` holds;
        the corrections (words of the partition function,); the place of each id among the words (size,)."""
        drawn = np.searchsorted(self._upto, random.random(self._many))
        drawn = np.unique(np.minimum(drawn, len(self._others) - 1))
        found = -np.expm1(self._many * np.log1p(-self._share[drawn]))
        words = torch.cat((self._common, torch.from_numpy(self._others[drawn])))
        corrections = torch.zeros(len(words))
        corrections[self.common :] = -torch.from_numpy(np.log(found))
        missing = torch.zeros(len(self._place), dtype=torch.bool)
        missing[ids] = True
        missing[words] = False
        used = torch.cat((words, missing.nonzero()[:, 0]))
        self._place[used] = torch.arange(len(used))
        return used, corrections, self._place


def _loss(
    outputs: Tensor, wanted: Tensor, table: Tensor, bias: Tensor, corrections: Tensor, common: int
) -> Tensor:
    """The mean negative log probability of the wanted words.

    Args:
        outputs: (N, embedding).
        wanted: (N,) places in the table.
        table: (words, embedding), those of the partition function first.
        bias: (words,).
        corrections: (words of the partition function,).
        common: how many of these are there at every step.
    """
    many = len(corrections)
    scores = torch.addmm(bias[:many] + corrections, outputs, table[:many].t())  # (N, many)
    own = (outputs * functional.embedding(wanted, table)).sum(1) + bias[wanted]
    drawn = ((wanted >= common) & (wanted < many)).nonzero()[:, 0]  # these count once, as `own`
    scores = scores.index_put((drawn, wanted[drawn]), torch.tensor(-1e9))
    total = torch.logaddexp(scores.logsumexp(1), own.masked_fill(wanted < common, -1e9))
    return (total - own).mean()


def _streams(
    texts: Sequence[Ids], settings: LanguageSettings, random: np.random.Generator
) -> Iterator[list[tuple[Tensor, Tensor]]]:
    """Yield (words, next words), each (steps, rows), of both directions; one epoch."""
    boundary = np.zeros(1, np.int64)
    parts = [part for k in random.permutation(len(texts)) for part in (boundary, texts[k])]
    stream = np.concatenate([*parts, boundary])
    length = (len(stream) - 1) // settings.rows

    def in_rows(one: Ids) -> Tensor:
        return torch.from_numpy(one[: length * settings.rows].reshape(settings.rows, length).T.copy())

    both = [(in_rows(one), in_rows(one[1:])) for one in (stream, stream[::-1])]
    for start in range(0, length - settings.steps + 1, settings.steps):
        part = slice(start, start + settings.steps)
        yield [(words[part], following[part]) for words, following in both]


def language_models(texts: Sequence[Ids], settings: LanguageSettings) -> Pretrained:
    """Learn to tell the next word, and the one before, of texts of ids below the vocabulary's size."""
    torch.manual_seed(settings.seed)
    random = np.random.default_rng(settings.seed)
    counts = np.bincount(np.concatenate(texts), minlength=settings.vocabulary_size)
    counts[BOUNDARY] += len(texts)
    sampler = _Sampler(counts, settings)
    table = nn.Parameter(0.1 * torch.randn(settings.vocabulary_size, settings.embedding))
    bias = nn.Parameter(torch.from_numpy(np.log((counts + 0.5) / counts.sum())).float())
    readers = (LSTM(settings.embedding, settings.units), LSTM(settings.embedding, settings.units))
    heads = [nn.Linear(settings.units, settings.embedding) for _ in readers]
    for reader in readers:
        forget_by_one(reader)
    parameters = [table, bias, *(p for each in (*readers, *heads) for p in each.parameters())]
    optimizer = torch.optim.Adam(parameters, lr=settings.learning_rate, betas=(0.9, 0.99), fused=True)
    words = sum(map(len, texts)) + len(texts) + 1
    steps = settings.epochs * ((words - 1) // settings.rows // settings.steps)
    rate = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(1.0, (step + 1) / 200) * (1 - 0.9 * step / steps)
    )
    states: list[Any] = [None, None]
    began = time.perf_counter()
    for epoch in range(settings.epochs):
        losses = []
        for both in _streams(texts, settings, random):
            read = [x.masked_fill(torch.rand(x.shape) < settings.unknown, UNKNOWN) for x, _ in both]
            needed = torch.cat([ids.flatten() for ids in (*read, *(y for _, y in both))])
            used, corrections, place = sampler.draw(needed, random)
            vectors, biases = table.index_select(0, used), bias.index_select(0, used)
            outputs, wanted = [], []
            for way, (x, (_, y)) in enumerate(zip(read, both, strict=True)):
                found, state = readers[way](Tokens(place[x], vectors), states[way])
                states[way] = tuple(value.detach() for value in state)
                outputs.append(heads[way](found).flatten(0, 1))
                wanted.append(place[y].flatten())
            loss = _loss(torch.cat(outputs), torch.cat(wanted), vectors, biases, corrections, sampler.common)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            rate.step()
            losses.append(loss.item())
        line = f"language models: epoch {epoch + 1}, loss {np.mean(losses):.4f}"
        print(f"{line}, {time.perf_counter() - began:.0f} s", file=sys.stderr, flush=True)
    return Pretrained(table.detach(), readers)

"""A plain recurrent network, which reads words alone, taught by what n-grams say of every word.

python -m benchmarks.plain --splits b2 b4 [--cell lstm] [--teaching joint] [--out runs/plain.json]
python -m benchmarks.plain --test more_reviews.jsonl      # trained on all 25,000

Two recurrent layers, one above the other, from the training reviews alone. The first reads words and learns
to tell, at every word, what the n-grams that end there speak for. An n-gram regression knows it, and is
cross-fitted: what it says of a review it has learnt from others. The second layer reads words and what the
first tells, and learns the reviews' labels; in training it is given what the n-grams said themselves (teacher
forcing, Williams & Zipser 1989), for the first layer has seen these reviews and would tell it too much. No
n-gram is left when training ends. The first layer's cell is written here: the input multiplies the state,
which suits n-grams.

Blocks of films are held out as in `benchmarks.reviews`; the regression, too, reads the other films only. A
command that is interrupted or given again computes only what is missing in its file.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from stepfold import Cell, cell, sigmoid, tanh
from stepfold.cells import by_name
from stepfold.data import imdb_texts, open_table
from stepfold.estimators._ensemble._evidence import NgramEvidence
from stepfold.estimators._ensemble._tokens import EncodedTexts, ReviewVocabulary
from stepfold.torch import GRU, Recurrent

from .reviews import held_out

os.environ.setdefault("KERAS_BACKEND", "torch")

Ids = NDArray[np.int64]
Values = NDArray[np.float32]
TEACHING = ("forced", "joint", "none")
BOUNDARY, UNKNOWN = 0, 1


@cell
def multiplicative_gru(x, h, *, W_m, U_m, W_z, U_z, b_z, W_h, U_h, b_h):  # type: ignore[no-untyped-def]
    """GRU whose input multiplies the state, after the LSTM of Krause et al. (2016, arXiv:1609.07959)."""
    m = (W_m @ x) * (U_m @ h)
    z = sigmoid(W_z @ x + U_z @ h + b_z)
    return (1 - z) * h + z * tanh(W_h @ x + U_h @ m + b_h)


@dataclass(frozen=True)
class Settings:
    """The settings of the network and of its training.

    Attributes:
        cell: of the first layer.
        embedding: values a word that the first layer reads.
        units: of each direction of the first layer.
        second_vocabulary: the second layer knows so many words, the commonest.
        second_embedding: values a word that the second layer reads.
        second_units: of each direction of the second layer.
        teaching: "forced", "joint" where the second layer is given what the first tells in training too, or
            "none" where labels alone teach both.
        epochs: passes over the texts.
        batch_size: texts a step.
        length: of longer training texts the first third and the last two thirds of so many words are read.
        rates: the highest learning rates of the first layer and its words, of what tells the scores, and of
            the rest; they rise over 200 steps and fall to a tenth.
        word_dropout: the shares of words that become unknown to the first layer and to the second.
        embedding_dropout: the shares of the vectors' values that are dropped, the same in the whole text.
        state_dropout: of the states that tell the scores.
        dropout: of the pooled values.
        averaging: the share of training, its last part, over which weights are averaged.
        seed: of the weights, the order and dropout.
    """

    cell: Cell = multiplicative_gru
    embedding: int = 256
    units: int = 128
    second_vocabulary: int = 4000
    second_embedding: int = 64
    second_units: int = 64
    teaching: str = "forced"
    epochs: int = 4
    batch_size: int = 32
    length: int = 600
    rates: tuple[float, float, float] = (1e-2, 3e-3, 2e-3)
    word_dropout: tuple[float, float] = (0.05, 0.2)
    embedding_dropout: tuple[float, float] = (0.05, 0.5)
    state_dropout: float = 0.1
    dropout: float = 0.5
    averaging: float = 0.6
    seed: int = 0


class Reviews(NamedTuple):
    """Texts, and their labels, (texts,) 0 or 1."""

    texts: Sequence[str]
    labels: Ids


class Examples:
    """Training texts, their labels, and the n-grams' scores of every word in standard deviations.

    Args:
        texts: ids.
        labels: (texts,) 0 or 1.
        scores: (words, channels) of all texts, one after another; every second channel is a part of the
            regression's logit.
        length: of longer texts the first third and the last two thirds of so many words are kept.

    Attributes:
        lengths: (texts,) the words that are kept.
        deviations: (channels,) standard deviations of the scores.
        deviation: of what the scores add to the logit.
    """

    def __init__(self, texts: Sequence[Ids], labels: Ids, scores: Values, length: int) -> None:
        self._texts = [_shortened(text, length) for text in texts]
        self._labels = labels.astype(np.float32)
        self.deviations, self.deviation = scores.std(axis=0), float(scores[:, 1::2].sum(axis=1).std())
        each = np.split(scores / self.deviations, np.cumsum([len(text) for text in texts])[:-1])
        self._scores = [_shortened(one, length) for one in each]
        self.lengths = np.array([len(text) for text in self._texts])

    def __len__(self) -> int:
        return len(self._texts)

    def texts(self, rows: Ids) -> list[Ids]:
        """Return the texts of rows, shortened."""
        return [self._texts[row] for row in rows]

    def labels(self, rows: Ids) -> Tensor:
        """Return the labels of rows, 0 or 1."""
        return torch.from_numpy(self._labels[rows])

    def scores(self, rows: Ids) -> Tensor:
        """Return the scores of the words of rows, zeros beside the boundaries: (time, batch, channels)."""
        found = np.zeros((int(self.lengths[rows].max()) + 2, len(rows), len(self.deviations)), np.float32)
        for column, row in enumerate(rows):
            found[1 : self.lengths[row] + 1, column] = self._scores[row]
        return torch.from_numpy(found)


class Classifier(nn.Module):  # type: ignore[misc]  # torch has no types here
    """Words → a layer in two directions → scores; words and scores → another → maximum and mean over time,
    and the scores' sums → one logit.

    Args:
        vocabulary_size: every id is below it.
        deviations: (channels,) of the n-grams' scores; the first layer tells them in these.
        settings: the choices.
    """

    def __init__(self, vocabulary_size: int, deviations: Values, settings: Settings) -> None:
        super().__init__()
        self._settings = settings
        channels, read = len(deviations), settings.second_embedding
        self.register_buffer("deviations", torch.from_numpy(deviations))
        self.first_table = nn.Parameter(0.1 * torch.randn(vocabulary_size, settings.embedding))
        self.first = Recurrent(settings.cell, settings.embedding, settings.units, bidirectional=True)
        self.score_head = nn.Linear(2 * settings.units, channels)
        self.second_table = nn.Parameter(
            0.1 * torch.randn(min(settings.second_vocabulary, vocabulary_size), read)
        )
        self.second = GRU(read + channels, settings.second_units, bidirectional=True)
        self.output = nn.Linear(4 * settings.second_units + channels, 1)

    def scores(self, ids: Tensor, lengths: Tensor) -> Tensor:
        """Return what the first layer tells of words, (time, batch) → (time, batch, channels), in standard
        deviations."""
        states, _ = self.first(self._vectors(self.first_table, ids, 0), lengths=lengths)
        return self.score_head(functional.dropout(states, self._settings.state_dropout, self.training))

    def logits(self, ids: Tensor, lengths: Tensor, scores: Tensor) -> Tensor:
        """Return logits (batch,) of texts padded at their end, from words and scores of words."""
        inside = _inside(ids, lengths)
        scores = scores * self.deviations * inside
        vectors = self._vectors(self.second_table, ids.masked_fill(ids >= len(self.second_table), UNKNOWN), 1)
        states, _ = self.second(torch.cat((vectors, scores), 2), lengths=lengths)
        pooled = torch.cat((states.masked_fill(~inside, -1.0).amax(0), states.sum(0) / lengths[:, None]), 1)
        dropped = functional.dropout(pooled, self._settings.dropout, self.training)
        return self.output(torch.cat((dropped, 0.1 * scores.sum(0)), 1))[:, 0]

    def forward(self, ids: Tensor, lengths: Tensor) -> Tensor:
        """Return logits (batch,) of texts padded at their end, (time, batch)."""
        return self.logits(ids, lengths, self.scores(ids, lengths))

    def _vectors(self, table: Tensor, ids: Tensor, layer: int) -> Tensor:
        """Return the vectors of words, some dropped in training: (time, batch) → (time, batch, values)."""
        if not self.training:
            return functional.embedding(ids, table)
        unknown = (torch.rand(ids.shape) < self._settings.word_dropout[layer]) & (ids != BOUNDARY)
        found = functional.embedding(ids.masked_fill(unknown, UNKNOWN), table)
        whole = torch.ones(1, ids.shape[1], table.shape[1])
        return found * functional.dropout(whole, self._settings.embedding_dropout[layer])


def _inside(ids: Tensor, lengths: Tensor) -> Tensor:
    """Return where padded texts have words or boundaries, (time, batch, 1)."""
    return torch.arange(len(ids))[:, None, None] < lengths[None, :, None]


def padded(texts: Sequence[Ids]) -> tuple[Tensor, Tensor]:
    """Return ids (time, batch) with boundaries around each text, and lengths (batch,)."""
    lengths = [len(text) + 2 for text in texts]
    ids = np.full((max(lengths), len(texts)), BOUNDARY)
    for column, text in enumerate(texts):
        ids[1 : len(text) + 1, column] = text
    return torch.from_numpy(ids), torch.tensor(lengths)


def predict(model: Classifier, texts: Sequence[Ids]) -> Values:
    """Return the logits of texts, (texts,)."""
    model.eval()
    found, order = np.zeros(len(texts), np.float32), np.argsort([len(text) for text in texts])
    with torch.no_grad():
        for start in range(0, len(order), 64):
            rows = order[start : start + 64]
            found[rows] = model(*padded([texts[row] for row in rows])).numpy()
    model.train()
    return found


def train(model: Classifier, examples: Examples, settings: Settings) -> None:
    """Train; the model ends with averaged weights, and a bias that fits the labels without dropout."""
    from stepfold.estimators._ensemble._training import best_shift  # imports Keras

    random = np.random.default_rng(settings.seed)
    parts = [
        [model.first_table, *model.first.parameters()],
        [*model.score_head.parameters()],
        [model.second_table, *model.second.parameters(), *model.output.parameters()],
    ]
    optimizer = torch.optim.Adam(
        [{"params": part, "lr": rate} for part, rate in zip(parts, settings.rates, strict=True)],
        betas=(0.9, 0.99),
        fused=True,
    )
    many = len(examples) // settings.batch_size
    steps = settings.epochs * many
    rates = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(1.0, (step + 1) / 200) * (1 - 0.9 * step / steps)
    )
    average = torch.optim.swa_utils.AveragedModel(model)
    step, began = 0, time.perf_counter()
    for epoch in range(settings.epochs):
        losses = errors = 0.0
        for rows in _dealt(examples.lengths, settings.batch_size, random):
            ids, lengths = padded(examples.texts(rows))
            predicted, known = model.scores(ids, lengths), examples.scores(rows)
            logits = model.logits(ids, lengths, known if settings.teaching == "forced" else predicted)
            loss = functional.binary_cross_entropy_with_logits(logits, examples.labels(rows))
            missed = (predicted - known) * _inside(ids, lengths)
            of_logit = (missed * model.deviations)[..., 1::2].sum(2) / examples.deviation
            error = (missed.square().mean(2) + of_logit.square()).sum() / lengths.sum()
            optimizer.zero_grad()
            (loss if settings.teaching == "none" else loss + error).backward()
            for part in (parts[0] + parts[1], parts[2]):
                nn.utils.clip_grad_norm_(part, 1.0)
            optimizer.step()
            rates.step()
            step, losses, errors = step + 1, losses + loss.item(), errors + error.item()
            if step > steps * (1 - settings.averaging) and step % 5 == 0:
                average.update_parameters(model)
        line = f"epoch {epoch + 1}, loss {losses / many:.4f}, n-grams {errors / many:.4f}"
        print(f"{line}, {time.perf_counter() - began:.0f} s", file=sys.stderr, flush=True)
    if average.n_averaged > 0:
        model.load_state_dict(average.module.state_dict())
    sample = random.permutation(len(examples))[:4000]
    found = predict(model, examples.texts(sample))
    shift = best_shift(found[:, None], examples.labels(sample).numpy() > 0.5)
    with torch.no_grad():
        model.output.bias += torch.from_numpy(shift)


def _dealt(lengths: Ids, size: int, random: np.random.Generator) -> Iterator[Ids]:
    """Yield the rows of one epoch's batches, each of texts of like length, in a random order."""
    rows = random.permutation(len(lengths))[: len(lengths) // size * size]
    order = np.argsort(lengths[rows] * random.uniform(0.9, 1.1, len(rows)))
    batches = rows[order].reshape(-1, size)
    random.shuffle(batches)
    yield from batches


def _shortened(text: Any, length: int) -> Any:
    if len(text) <= length:
        return text
    return np.concatenate((text[: length // 3], text[length // 3 - length :]))


def measure(reviews: Reviews, tests: Reviews, settings: Settings) -> dict[str, Any]:
    """Return the accuracy on other reviews than those that are learnt, and the seconds."""
    began = time.perf_counter()
    vocabulary, encoded = ReviewVocabulary.learn(reviews.texts)
    scores = NgramEvidence(vocabulary).fit_transform(encoded, reviews.labels, 2).channels
    examples = Examples(_ids(encoded), reviews.labels, scores, settings.length)
    torch.manual_seed(settings.seed)
    model = Classifier(vocabulary.size, examples.deviations, settings)
    train(model, examples, settings)
    seconds = time.perf_counter() - began
    found = predict(model, _ids(vocabulary.encode(tests.texts))) > 0
    return {"accuracy": float(np.mean(found == (tests.labels == 1))), "seconds": round(seconds, 1)}


def _ids(encoded: EncodedTexts) -> list[Ids]:
    return np.split(encoded.ids.astype(np.int64), encoded.offsets[1:-1])


def _divided(split: str) -> tuple[Reviews, Reviews]:
    """Return the training reviews without a fifth, and the fifth."""
    every = imdb_texts()
    labels = every.labels.astype(np.int64)
    out = held_out(labels, int(split.removeprefix("b")))
    texts = np.array(every.texts, object)
    return Reviews(texts[~out].tolist(), labels[~out]), Reviews(texts[out].tolist(), labels[out])


def _and_another(path: Path) -> tuple[Reviews, Reviews]:
    """Return all training reviews, and those of a file of texts and labels."""
    every = imdb_texts()
    table = open_table(path, classes=every.classes)
    return (
        Reviews(list(every.texts), every.labels.astype(np.int64)),
        Reviews(list(table.texts), table.labels.astype(np.int64)),
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.plain", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--splits", nargs="+", choices=[f"b{k}" for k in range(5)], default=["b2", "b4"])
    parser.add_argument("--test", type=Path, metavar="FILE", help="learn all reviews, judge those of a file")
    parser.add_argument("--cell", metavar="NAME", help="a built-in cell for the first layer")
    parser.add_argument("--teaching", choices=TEACHING, default="forced")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("plain.json"))
    options = parser.parse_args()
    chosen = multiplicative_gru if options.cell is None else by_name(options.cell)
    settings = Settings(cell=chosen, teaching=options.teaching, seed=options.seed)
    results = json.loads(options.out.read_text()) if options.out.exists() else {}
    accuracies = []
    for split in [str(options.test)] if options.test else options.splits:
        key = f"{options.cell or 'multiplicative_gru'}, {options.teaching}|{split}|{options.seed}"
        if key not in results:
            learnt, tests = _and_another(options.test) if options.test else _divided(split)
            results[key] = measure(learnt, tests, settings)
            options.out.parent.mkdir(parents=True, exist_ok=True)
            new = options.out.with_suffix(".new")
            new.write_text(json.dumps(results, indent=1) + "\n")
            new.replace(options.out)
        print(key, results[key], flush=True)
        accuracies.append(results[key]["accuracy"])
    print(f"mean {np.mean(accuracies):.4f}")


if __name__ == "__main__":
    main()

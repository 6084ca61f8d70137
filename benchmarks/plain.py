"""A plain recurrent network, which reads words alone, taught by what n-grams say of every word.

python -m benchmarks.plain --splits b2 b4 [--without pretraining evidence soft] [--out runs/plain.json]

Three steps, from the training reviews alone. Language models learn to tell the next word and the one before
(Dai & Le 2015). An n-gram regression, cross-fitted, says of every word of a training review what the n-grams
that end there speak for. The classifier begins with the language models' weights, and learns the labels and,
as a second task at every word, the n-grams' evidence; what computes the second task is thrown away. A
review is judged by the words' vectors, an LSTM in two directions, maximum and mean over time, and one logit.

Blocks of films are held out as in `benchmarks.reviews`; language models and regression, too, read the other
films only. A command that is interrupted or given again computes only what is missing in its file.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from stepfold.data import imdb_texts
from stepfold.estimators._ensemble._evidence import NgramEvidence
from stepfold.estimators._ensemble._tokens import EncodedTexts, ReviewVocabulary
from stepfold.torch import LSTM

from ._language_models import (
    BOUNDARY,
    UNKNOWN,
    Ids,
    LanguageSettings,
    Pretrained,
    forget_by_one,
    language_models,
)
from .reviews import held_out

os.environ.setdefault("KERAS_BACKEND", "torch")

Values = NDArray[np.float32]
PARTS = ("pretraining", "evidence", "soft")


@dataclass(frozen=True)
class Settings:
    """The settings of the classifier and of its training.

    Attributes:
        units: of each direction.
        epochs: passes over the texts.
        batch_size: texts a step.
        length: of longer training texts the first third and the last two thirds of so many words are read.
        rates: the highest learning rates of the table, the recurrent layer, the output and the second task;
            they rise over 200 steps and fall to a tenth.
        frozen: the first steps, in which what was pretrained stays as it is.
        evidence: the weight of the second task, the mean squared error of the n-grams' scores, each divided
            by its standard deviation.
        soft: the share of the n-gram regression's probability in the labels.
        word_dropout: the share of words that become unknown.
        embedding_dropout: the share of the vectors' values that are dropped, the same in the whole text.
        state_dropout: of the states that the second task reads.
        dropout: of the pooled values.
        averaging: the share of training, its last part, over which weights are averaged.
        seed: of the weights, the order and dropout.
    """

    units: int = 128
    epochs: int = 4
    batch_size: int = 32
    length: int = 600
    rates: tuple[float, float, float, float] = (2e-3, 2e-3, 5e-3, 3e-3)
    frozen: int = 30
    evidence: float = 1.5
    soft: float = 0.6
    word_dropout: float = 0.2
    embedding_dropout: float = 0.3
    state_dropout: float = 0.1
    dropout: float = 0.5
    averaging: float = 0.5
    seed: int = 0


class Examples:
    """Training texts, their labels from 0 to 1, and the n-grams' scores of every word."""

    def __init__(self, texts: Sequence[Ids], labels: Values, scores: Sequence[Values], length: int) -> None:
        self._texts = [_shortened(text, length) for text in texts]
        self._labels = labels
        self._scores = [_shortened(each, length) for each in scores]
        self.lengths = np.array([len(text) for text in self._texts])
        self.channels = self._scores[0].shape[1]

    def __len__(self) -> int:
        return len(self._texts)

    def texts(self, rows: Ids) -> list[Ids]:
        """Return the texts of rows, shortened."""
        return [self._texts[row] for row in rows]

    def labels(self, rows: Ids) -> Values:
        """Return the labels of rows."""
        return self._labels[rows]

    def scores(self, rows: Ids) -> Tensor:
        """Return the scores of the words of rows, zeros beside the boundaries: (time, batch, channels)."""
        found = np.zeros((int(self.lengths[rows].max()) + 2, len(rows), self.channels), np.float32)
        for column, row in enumerate(rows):
            found[1 : self.lengths[row] + 1, column] = self._scores[row]
        return torch.from_numpy(found)


class Classifier(nn.Module):  # type: ignore[misc]  # torch has no types here
    """Words → LSTM in two directions → maximum and mean over time → one logit."""

    def __init__(self, vocabulary_size: int, embedding: int, settings: Settings) -> None:
        super().__init__()
        self._settings = settings
        self.table = nn.Parameter(0.1 * torch.randn(vocabulary_size, embedding))
        self.recurrent = LSTM(embedding, settings.units, bidirectional=True)
        self.output = nn.Linear(4 * settings.units, 1)
        forget_by_one(self.recurrent)

    def begin_with(self, pretrained: Pretrained) -> None:
        """Take the weights of language models."""
        with torch.no_grad():
            self.table.copy_(pretrained.table)
            for reader, suffix in zip(pretrained.readers, ("", "_reverse"), strict=True):
                for name, values in reader.named_parameters():
                    getattr(self.recurrent, name + suffix).copy_(values)

    def vectors(self, ids: Tensor) -> Tensor:
        """Return the vectors of words, some dropped in training: (time, batch) → (time, batch, embedding)."""
        if not self.training:
            return functional.embedding(ids, self.table)
        unknown = (torch.rand(ids.shape) < self._settings.word_dropout) & (ids != BOUNDARY)
        found = functional.embedding(ids.masked_fill(unknown, UNKNOWN), self.table)
        whole = torch.ones(1, ids.shape[1], self.table.shape[1])
        return found * functional.dropout(whole, self._settings.embedding_dropout)

    def forward(self, ids: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits (batch,) of texts padded at their end, (time, batch), and the states of both
        directions, zeros behind the end: (time, batch, 2 * units)."""
        states, _ = self.recurrent(self.vectors(ids), lengths=lengths)
        behind = torch.arange(len(ids))[:, None, None] >= lengths[None, :, None]
        pooled = torch.cat((states.masked_fill(behind, -1.0).amax(0), states.sum(0) / lengths[:, None]), 1)
        dropped = functional.dropout(pooled, self._settings.dropout, self.training)
        return self.output(dropped)[:, 0], states


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
            logits, _ = model(*padded([texts[row] for row in rows]))
            found[rows] = logits.numpy()
    model.train()
    return found


def train(model: Classifier, examples: Examples, settings: Settings, frozen: int) -> None:
    """Train; the model ends with averaged weights, and a bias that fits the labels without dropout.

    Args:
        model: with its first weights.
        examples: what it learns.
        settings: the choices.
        frozen: the first steps, in which the output and the second task alone learn.
    """
    from stepfold.estimators._ensemble._training import best_shift  # imports Keras

    random = np.random.default_rng(settings.seed)
    second = nn.Linear(2 * settings.units, examples.channels)
    parts = [[model.table], *([*part.parameters()] for part in (model.recurrent, model.output, second))]
    optimizer = torch.optim.Adam(
        [{"params": part, "lr": rate} for part, rate in zip(parts, settings.rates, strict=True)],
        betas=(0.9, 0.99),
        fused=True,
    )
    steps = settings.epochs * (len(examples) // settings.batch_size)

    def rate(step: int) -> float:
        return min(1.0, (step + 1) / 200) * (1 - 0.9 * step / steps)

    def rate_of_pretrained(step: int) -> float:
        return rate(step) if step >= frozen else 0.0

    rates = torch.optim.lr_scheduler.LambdaLR(optimizer, [*[rate_of_pretrained] * 2, *[rate] * 2])
    average = torch.optim.swa_utils.AveragedModel(model)
    step, began = 0, time.perf_counter()
    for epoch in range(settings.epochs):
        total = missed = 0.0
        for rows in _dealt(examples.lengths, settings.batch_size, random):
            ids, lengths = padded(examples.texts(rows))
            logits, states = model(ids, lengths)
            wanted = torch.from_numpy(examples.labels(rows))
            loss = functional.binary_cross_entropy_with_logits(logits, wanted)
            error = loss.new_zeros(())
            if settings.evidence:
                found = second(functional.dropout(states, settings.state_dropout))
                inside = torch.arange(len(ids))[:, None, None] < lengths[None, :, None]
                error = ((found - examples.scores(rows)).square() * inside).sum()
                error = error / (lengths.sum() * examples.channels)
            optimizer.zero_grad()
            (loss + settings.evidence * error).backward()
            nn.utils.clip_grad_norm_([p for part in parts for p in part], 1.0)
            optimizer.step()
            rates.step()
            step, total, missed = step + 1, total + loss.item(), missed + error.item()
            if step > steps * (1 - settings.averaging) and step % 5 == 0:
                average.update_parameters(model)
        many = len(examples) // settings.batch_size
        line = f"classifier: epoch {epoch + 1}, loss {total / many:.4f}, evidence {missed / many:.4f}"
        print(f"{line}, {time.perf_counter() - began:.0f} s", file=sys.stderr, flush=True)
    if average.n_averaged > 0:
        model.load_state_dict(average.module.state_dict())
    sample = random.permutation(len(examples))[:4000]
    found = predict(model, examples.texts(sample))
    shift = best_shift(found[:, None], examples.labels(sample) > 0.5)
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


def _texts(encoded: EncodedTexts, vocabulary_size: int) -> list[Ids]:
    ids = np.where(encoded.ids < vocabulary_size, encoded.ids, UNKNOWN).astype(np.int64)
    return np.split(ids, encoded.offsets[1:-1])


def measure(fifth: int, language: LanguageSettings | None, settings: Settings) -> dict[str, Any]:
    """Return the accuracy on a fifth of the films, trained on the others, and the seconds."""
    reviews = imdb_texts()
    labels = reviews.labels.astype(np.int64)
    out = held_out(labels, fifth)
    began = time.perf_counter()
    vocabulary, encoded = ReviewVocabulary.learn(
        text for text, held in zip(reviews.texts, out, strict=True) if not held
    )
    shape = language or LanguageSettings()
    size = min(shape.vocabulary_size, vocabulary.size)
    texts = _texts(encoded, size)
    evidence = NgramEvidence(vocabulary).fit_transform(encoded, labels[~out], 2)
    scores = np.clip(evidence.channels / evidence.channels.std(axis=0), -5, 5)
    likely = 1 / (1 + np.exp(-evidence.logits[:, 0]))
    wanted = ((1 - settings.soft) * labels[~out] + settings.soft * likely).astype(np.float32)
    examples = Examples(texts, wanted, np.split(scores, encoded.offsets[1:-1]), settings.length)
    torch.manual_seed(settings.seed)
    model = Classifier(size, shape.embedding, settings)
    if language is not None:
        model.begin_with(language_models(texts, replace(language, vocabulary_size=size)))
    train(model, examples, settings, settings.frozen if language else 0)
    seconds = time.perf_counter() - began
    test = vocabulary.encode(text for text, held in zip(reviews.texts, out, strict=True) if held)
    found = predict(model, _texts(test, size)) > 0
    return {"accuracy": float(np.mean(found == (labels[out] == 1))), "seconds": round(seconds, 1)}


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.plain", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--splits", nargs="+", choices=[f"b{k}" for k in range(5)], default=["b2", "b4"])
    parser.add_argument("--without", nargs="+", choices=PARTS, default=[], metavar="PART")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("plain.json"))
    options = parser.parse_args()
    left_out: dict[str, Any] = {part: 0.0 for part in options.without if part != "pretraining"}
    settings = Settings(seed=options.seed, **left_out)
    language = None if "pretraining" in options.without else LanguageSettings(seed=options.seed)
    results = json.loads(options.out.read_text()) if options.out.exists() else {}
    row = "plain" + "".join(f", without {part}" for part in sorted(set(options.without)))
    for split in options.splits:
        key = f"{row}|{split}|{options.seed}"
        if key not in results:
            results[key] = measure(int(split.removeprefix("b")), language, settings)
            options.out.parent.mkdir(parents=True, exist_ok=True)
            new = options.out.with_suffix(".new")
            new.write_text(json.dumps(results, indent=1) + "\n")
            new.replace(options.out)
        print(key, results[key], flush=True)
    found = [results[f"{row}|{split}|{options.seed}"]["accuracy"] for split in options.splits]
    print(f"mean {np.mean(found):.4f}")


if __name__ == "__main__":
    main()

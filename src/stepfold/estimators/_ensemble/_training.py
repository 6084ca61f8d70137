"""Trains one network of the preset `best`: batches of like length, the schedule, averaged weights."""

import math
import sys
import time
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from .._average import WeightAverage
from .._parent import has_parent
from .._seeds import seeded
from ._examples import PREDICTED, Member, Tagger, TextsWithEvidence, batches
from ._network import evidence_network

_CALIBRATED = 6000
"""How many texts decide the shift of the logits."""
_FARTHEST = 3.0
"""The greatest shift: where a network makes no mistake on them, the best one is infinite."""


@keras.saving.register_keras_serializable(package="stepfold")
class LinearSchedule(keras.optimizers.schedules.LearningRateSchedule):  # type: ignore[misc]
    """A learning rate that rises linearly, then falls linearly to a share of its highest value."""

    def __init__(self, rate: float, warm_up: int, steps: int, last: float) -> None:
        self.rate, self.warm_up, self.steps, self.last = rate, warm_up, steps, last

    def __call__(self, step: Any) -> Any:
        """Return the rate of a step, counted from 0."""
        step = keras.ops.cast(step, "float32") + 1.0
        fall = (1.0 - self.last) * (step - self.warm_up) / max(self.steps - self.warm_up, 1)
        return self.rate * keras.ops.minimum(step / max(self.warm_up, 1), 1.0 - keras.ops.maximum(fall, 0.0))

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {"rate": self.rate, "warm_up": self.warm_up, "steps": self.steps, "last": self.last}


class LikeLength(keras.utils.PyDataset):  # type: ignore[misc]  # keras has no types
    """Batches of texts of like length, in a new random order each epoch.

    Args:
        examples: the texts.
        labels: (texts,) integers.
        batch_size: texts a batch.
        seed: decides the orders.
    """

    def __init__(self, examples: TextsWithEvidence, labels: NDArray[Any], batch_size: int, seed: int) -> None:
        super().__init__()
        self._examples, self._batch_size = examples, min(batch_size, len(labels))
        self._labels = labels.astype(np.float32)[:, None]
        self._random = np.random.default_rng(seed)
        self.on_epoch_end()

    def on_epoch_end(self) -> None:
        """Deal the batches anew; the texts that do not fill a batch wait for another epoch."""
        lengths = np.diff(self._examples.offsets)
        rows = self._random.permutation(len(lengths))[: len(lengths) // self._batch_size * self._batch_size]
        noise = self._random.uniform(0.95, 1.05, len(rows))
        dealt = batches(lengths[rows], self._batch_size, key=lengths[rows] * noise)
        self._batches = [(rows[of_batch], width) for of_batch, width in dealt]
        self._random.shuffle(self._batches)

    def __len__(self) -> int:
        return len(self._batches)

    def __getitem__(self, index: int) -> tuple[Any, NDArray[np.float32]]:
        rows, width = self._batches[index]
        return self._examples.padded(rows, width), self._labels[rows]


class EpochLines(keras.callbacks.Callback):  # type: ignore[misc]  # keras has no types
    """Writes a line to standard error after each epoch; ends the process when its parent has ended.

    Args:
        name: what the line begins with; "" for no lines.
        parent: the parent's process id, None for a training that has no process of its own.
    """

    def __init__(self, name: str, parent: int | None = None) -> None:
        super().__init__()
        self._name, self._parent, self._began = name, parent, time.perf_counter()
        self.seconds: list[float] = []

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """End the process if nobody waits for it."""
        if self._parent is not None and not has_parent(self._parent):
            sys.exit(1)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Write the line."""
        seconds = time.perf_counter() - self._began
        if logs is not None:
            logs["seconds"] = seconds - sum(self.seconds)
            self.seconds.append(logs["seconds"])
        loss = (logs or {}).get("loss", math.nan)
        if self._name:
            line = f"{self._name}: epoch {epoch + 1}, loss {loss:.4f}, {seconds:.0f} s"
            print(line, file=sys.stderr, flush=True)


def weights_of(model: Any) -> list[NDArray[np.float32]]:
    """Return copies of a model's weights."""
    return [np.array(keras.ops.convert_to_numpy(weight.value)) for weight in model.weights]


def make_network(member: Member, vocabulary_size: int, channels: int, scores: int) -> Any:
    """Return the network of a member, not compiled."""
    with seeded(member.seed):
        return evidence_network(
            vocabulary_size,
            channels if member.evidence else 0,
            scores,
            embedding=member.embedding,
            units=member.units,
            cell=member.cell,
            word_dropout=member.word_dropout,
            embedding_dropout=member.embedding_dropout,
            seed=member.seed,
        )


def fit(model: Any, data: Any, member: Member | Tagger, loss: Any, name: str, parent: int | None) -> None:
    """Train a network on a data set, with the schedule of its settings; it ends with averaged weights.

    ``name`` and ``parent`` are those of `EpochLines`.
    """
    steps = len(data) * member.epochs
    schedule = LinearSchedule(member.learning_rate, min(member.warm_up, steps // 4), steps, member.last_rate)
    model.compile(optimizer=keras.optimizers.Adam(schedule, beta_2=0.99, global_clipnorm=1.0), loss=loss)
    average = WeightAverage(max(int(steps * (1 - member.weight_averaging)) - 1, 0))
    callbacks = [average, EpochLines(name, parent)]
    model.fit(data, epochs=member.epochs, verbose=0, shuffle=False, callbacks=callbacks)
    average.keep()


def train_member(
    member: Member,
    examples: TextsWithEvidence,
    labels: NDArray[Any],
    vocabulary_size: int,
    scores: int,
    name: str = "network",
    parent: int | None = None,
) -> Any:
    """Return a network, trained.

    Args:
        member: the settings.
        examples: the texts.
        labels: (texts,) integers.
        vocabulary_size: ids from it on count as unknown.
        scores: the number of logits.
        name: for the lines of progress; "" for none.
        parent: see `EpochLines`.
    """
    examples = examples.known(vocabulary_size)
    if not member.evidence:
        examples = examples._replace(channels=examples.channels[:, :0])
    if not member.add_logit:
        examples = examples._replace(logits=np.zeros_like(examples.logits))
    model = make_network(member, vocabulary_size, examples.channels.shape[1], scores)
    data = LikeLength(examples, labels, member.batch_size, member.seed)
    if scores == 1:
        loss = keras.losses.BinaryCrossentropy(from_logits=True)
    else:
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    fit(model, data, member, loss, name, parent)
    sample = np.random.default_rng(member.seed).permutation(len(labels))[:_CALIBRATED]
    output = model.get_layer("output")
    shift = best_shift(predict_logits(model, examples.take(sample), member), labels[sample])
    output.bias.assign(output.bias + shift)
    return model


def best_shift(logits: NDArray[np.float32], labels: NDArray[Any]) -> NDArray[np.float32]:
    """Return what to add to logits (texts, scores) so that they fit the labels best, (scores,).

    Dropout shifts what a maximum over time sees, so a network trained with it favours a class without it.
    """
    from scipy.optimize import minimize

    scores = logits.shape[1]
    known = labels[:, None] == (np.ones(1) if scores == 1 else np.arange(scores))
    share = known.mean(axis=0)

    def loss(shift: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        values = logits + shift
        if scores == 1:
            total = np.logaddexp(0, values).mean()
            probabilities = np.exp(-np.logaddexp(0, -values))
        else:
            norm = np.logaddexp.reduce(values, axis=1, keepdims=True)
            total = norm.mean()
            probabilities = np.exp(values - norm)
        return float(total - (known * values).sum(axis=1).mean()), probabilities.mean(axis=0) - share

    found = minimize(loss, np.zeros(scores), jac=True, bounds=[(-_FARTHEST, _FARTHEST)] * scores)
    return np.asarray(found.x, np.float32)


def predict_logits(
    model: Any, examples: TextsWithEvidence, member: Member, batch_size: int = 64
) -> NDArray[np.float32]:
    """Return the logits of texts, (texts, scores)."""
    if not member.evidence:
        examples = examples._replace(channels=examples.channels[:, :0])
    if not member.add_logit:
        examples = examples._replace(logits=np.zeros_like(examples.logits))
    found = np.zeros_like(examples.logits)
    for rows, width in batches(np.diff(examples.offsets), batch_size, widths=PREDICTED):
        whole = np.resize(rows, batch_size)  # a batch of another size would be compiled anew
        found[rows] = np.asarray(model.predict_on_batch(examples.padded(whole, width)))[: len(rows)]
    return found

"""A recurrent network that says of words what the n-grams that end there say."""

from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from ...keras import WordDropout
from ...model.ngrams import PADDING, UNKNOWN
from .._network import recurrent_layer
from .._seeds import seeded
from ._examples import Tagger, TextsWithEvidence
from ._training import LikeLength, fit


class _Tagged(LikeLength):
    """Batches of ids, and of each token's channels in standard deviations, (batch, time, channels)."""

    def __init__(self, examples: TextsWithEvidence, deviations: NDArray[Any], size: int, seed: int) -> None:
        super().__init__(examples, np.zeros(len(examples.offsets) - 1), size, seed)
        self._deviations = deviations

    def __getitem__(self, index: int) -> tuple[Any, NDArray[np.float32]]:
        (ids, channels, _), _ = super().__getitem__(index)
        return ids, channels / self._deviations


def make_tagger(tagger: Tagger, vocabulary_size: int, channels: int) -> Any:
    """Return the network, not trained: ids (batch, time), 0 for padding, to (batch, time, channels)."""
    seed = tagger.seed
    with seeded(seed):
        ids = keras.Input((None,), dtype="int32", name="ids")
        words = WordDropout(tagger.word_dropout, UNKNOWN, keep=(PADDING,), seed=seed)(ids)
        vectors = keras.layers.Embedding(
            vocabulary_size,
            tagger.embedding,
            embeddings_initializer=keras.initializers.RandomNormal(stddev=0.1, seed=seed),
            mask_zero=True,
            name="embedding",
        )(words)
        vectors = keras.layers.SpatialDropout1D(tagger.embedding_dropout, seed=seed + 1)(vectors)
        layer = recurrent_layer(tagger.cell, tagger.units, return_sequences=True)
        states = keras.layers.Bidirectional(layer, name="recurrent")(vectors)
        states = keras.layers.Dropout(tagger.dropout, seed=seed + 2)(states)
        return keras.Model(ids, keras.layers.Dense(channels, name="channels")(states), name="tagger")


def train_tagger(
    tagger: Tagger,
    examples: TextsWithEvidence,
    vocabulary_size: int,
    scores: int,
    name: str = "tagger",
    parent: int | None = None,
) -> Any:
    """Return the network, trained to give the channels of the examples' tokens.

    Args:
        tagger: the settings.
        examples: the texts; their channels are cross-fitted.
        vocabulary_size: every id is below it.
        scores: the number of logits that the n-grams' regression has.
        name, parent: see `EpochLines`.
    """
    examples = examples.shortened(tagger.length)
    deviations = examples.channels.std(axis=0)
    deviations = np.where(deviations > 0, deviations, np.float32(1))
    model = make_tagger(tagger, vocabulary_size, examples.channels.shape[1])
    data = _Tagged(examples, deviations, tagger.batch_size, tagger.seed)
    added = examples.channels.reshape(len(examples.channels), -1, 2, scores)[:, :, 1].sum(axis=1)
    fit(model, data, tagger, _loss(deviations, added.std(axis=0), scores), name, parent)
    output = model.get_layer("channels")
    output.kernel.assign(output.kernel * deviations)
    output.bias.assign(output.bias * deviations)
    return model


def _loss(deviations: NDArray[np.float32], of_logit: NDArray[np.float32], scores: int) -> Any:
    """Return the loss of each timestep: the mean squared error of the channels, and that of what they add to
    the regression's logits together, all in standard deviations."""
    scale = (deviations / np.tile(np.maximum(of_logit, 1e-6), len(deviations) // scores)).astype(np.float32)

    def loss(known: Any, told: Any) -> Any:
        missed = told - known
        each = ops.reshape(
            missed * scale, (*ops.shape(missed)[:-1], len(deviations) // (2 * scores), 2, scores)
        )
        added = ops.sum(each[..., 1, :], axis=-2)
        return ops.mean(ops.square(missed), axis=-1) + ops.mean(ops.square(added), axis=-1)

    return loss

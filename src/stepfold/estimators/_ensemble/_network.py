"""The network of the preset `best`: embedded words and n-gram evidence, a recurrent layer, pooling."""

from typing import Any

import keras
from keras import ops

from ...keras import GRU, LSTM, MaskedPooling1D, WordDropout
from ...model.ngrams import PADDING, UNKNOWN

_CELLS = {"gru": GRU, "lstm": LSTM}
SUMMED = 0.1
"""What sums of channels are multiplied with, which are greater than means."""
_register = keras.saving.register_keras_serializable(package="stepfold")


@_register
class SummedEvidence(keras.layers.Layer):  # type: ignore[misc]  # keras has no types
    """The sums over time of side channels (batch, time, channels), times `scale`: (batch, channels).

    Channels of padded timesteps are zeros, so no mask is needed, and none is passed on.
    """

    def __init__(self, scale: float = SUMMED, **options: Any) -> None:
        super().__init__(**options)
        self.scale = scale

    def call(self, channels: Any) -> Any:
        """Return the scaled sums."""
        return self.scale * ops.sum(channels, axis=1)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {**super().get_config(), "scale": self.scale}


@_register
class ScaledLogit(keras.layers.Layer):  # type: ignore[misc]  # keras has no types
    """A logit from elsewhere times one learnt number that begins at 1."""

    def build(self, input_shape: Any) -> None:
        """Make the number."""
        self.scale = self.add_weight(shape=(), initializer="ones", name="scale")
        super().build(input_shape)

    def call(self, logits: Any) -> Any:
        """Return the scaled logits."""
        return self.scale * logits


def evidence_network(
    vocabulary_size: int,
    channels: int,
    scores: int,
    *,
    embedding: int = 64,
    units: int = 64,
    cell: str | None = "lstm",
    word_dropout: float = 0.2,
    embedding_dropout: float = 0.5,
    dropout: float = 0.5,
    seed: int = 0,
) -> Any:
    """Return the model.

    Its inputs are ``ids`` (batch, time) int32 below `vocabulary_size`, 0 for padding; ``channels`` (batch,
    time, channels) float32; ``logits`` (batch, scores), those of the n-grams, or zeros. It returns logits
    (batch, scores).

    Args:
        vocabulary_size: the number of distinct ids.
        channels: side channels a token; 0 for a network of words alone.
        scores: the number of logits.
        embedding: values a word.
        units: of each direction of the recurrent layer.
        cell: "lstm" or "gru"; None for the same without a recurrent layer.
        word_dropout: the share of words that become unknown in training.
        embedding_dropout: the share of the embedding's values that are dropped, the same ones in the whole
            text.
        dropout: of the pooled values.
        seed: for dropout and the embedding; other weights come from Python's `random`, see `seeded`.
    """
    ids = keras.Input((None,), dtype="int32", name="ids")
    side = keras.Input((None, channels), name="channels")
    logits = keras.Input((scores,), name="logits")
    words = WordDropout(word_dropout, UNKNOWN, keep=(PADDING,), seed=seed)(ids)
    table = keras.layers.Embedding(
        vocabulary_size,
        embedding,
        embeddings_initializer=keras.initializers.RandomNormal(stddev=0.1, seed=seed),
        mask_zero=True,
        name="embedding",
    )
    embedded = table(words)
    mask = table.compute_mask(words)
    embedded = keras.layers.SpatialDropout1D(embedding_dropout, seed=seed + 1)(embedded)
    both = keras.layers.Concatenate()([embedded, side]) if channels else embedded
    if cell is not None:
        layer = _CELLS[cell](units, return_sequences=True, name=cell)
        both = keras.layers.Bidirectional(layer, name="recurrent")(both, mask=mask)
    pooled = MaskedPooling1D("max_mean")(both, mask=mask)
    pooled = keras.layers.Dropout(dropout, seed=seed + 2)(pooled)
    if channels:
        pooled = keras.layers.Concatenate()([pooled, SummedEvidence()(side)])
    own = keras.layers.Dense(scores, name="output")(pooled)
    return keras.Model([ids, side, logits], own + ScaledLogit(name="scaled")(logits), name="evidence_network")

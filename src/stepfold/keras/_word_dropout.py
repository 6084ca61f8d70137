"""Dropout of whole words, on ids."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="stepfold")
class WordDropout(keras.layers.Layer):  # type: ignore[misc]
    """Put the unknown word in the place of each word with the same probability, in training only.

    Input token ids of any shape, mostly (batch, time); output ids of the same shape and dtype. Each place is
    drawn on its own (Dai & Le 2015, arXiv:1511.01432; Iyyer et al. 2015). It stands before the embedding,
    whose layer behind it still sees ids.

    Args:
        rate: the probability, 0…1. unknown: the id of the unknown word. keep: ids that always stay, as
        padding and the start of a text. seed: for the draws. Others (name, …): as in `keras.layers.Layer`.

    Raises ValueError for a rate or an id that is none.
    """

    def __init__(
        self,
        rate: float,
        unknown: int = 2,
        *,
        keep: Sequence[int] = (0, 1),
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if not 0 <= rate <= 1:
            raise ValueError(f"rate must lie in 0…1, not {rate!r}")
        for name, value in (("unknown", unknown), *(("keep", value) for value in keep)):
            if not isinstance(value, int) or isinstance(value, bool) or value < 0:
                raise ValueError(f"{name} must be an id, an integer of at least 0, not {value!r}")
        self.rate, self.unknown, self.keep, self.seed = rate, unknown, tuple(keep), seed
        self.seed_generator = keras.random.SeedGenerator(seed)
        self.supports_masking = True
        self.autocast = False  # half precision would round ids that come as floats

    def call(self, inputs: Any, training: bool = False) -> Any:
        """Return the ids, some of them unknown in training."""
        if not training or not self.rate:
            return inputs
        chance = keras.random.uniform(ops.shape(inputs), dtype="float32", seed=self.seed_generator)
        dropped = chance < self.rate
        for kept in self.keep:
            dropped = ops.logical_and(dropped, inputs != kept)
        return ops.where(dropped, ops.full_like(inputs, self.unknown), inputs)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Return the shape of the ids."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        config = {"rate": self.rate, "unknown": self.unknown, "keep": list(self.keep), "seed": self.seed}
        return {**super().get_config(), **config}

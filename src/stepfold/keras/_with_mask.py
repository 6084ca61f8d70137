"""A mask given as an input of its own."""

from __future__ import annotations

from typing import Any

import keras


@keras.saving.register_keras_serializable(package="stepfold")
class WithMask(keras.layers.Layer):  # type: ignore[misc]  # keras has no types
    """Attaches a mask (batch, time) to sequences (batch, time, features), and clears what it hides."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.supports_masking = True

    def call(self, inputs: Any) -> Any:
        """Return the sequences, 0 where the mask is False."""
        sequences, mask = inputs
        return keras.ops.where(mask[:, :, None], sequences, 0.0)

    def compute_mask(self, inputs: Any, previous_mask: Any = None) -> Any:
        """Return the mask."""
        return inputs[1]

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Return the shape of the sequences."""
        return input_shape[0]

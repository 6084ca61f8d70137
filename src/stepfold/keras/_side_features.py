"""Features of each timestep appended to embedded tokens, without leaving the token path."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from .._notes import note_of, remember
from ._tokens import Tokens


@keras.saving.register_keras_serializable(package="stepfold")
class SideFeatures(keras.layers.Layer):  # type: ignore[misc]
    """Append features of each timestep to the vectors of an embedding.

    Call it with a list of two: vectors (batch, time, features), as a `stepfold.keras.Embedding` gives them,
    and side features (batch, time, side). Output (batch, time, features + side), the same as Keras's
    Concatenate gives. A stepfold layer that gets it as it is projects each token once, and for each step only
    the side features; gradients reach the table and the side features. The mask is that of the vectors, where
    Concatenate would count every timestep, for the side features have no mask.

    Raises ValueError for what is not such a pair.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.supports_masking = True

    def call(self, inputs: Any) -> Any:
        """Return the vectors with the side features behind them."""
        vectors, side = self._pair(inputs)
        shapes = tuple(vectors.shape), tuple(side.shape)
        if len(shapes[0]) != 3 or len(shapes[1]) != 3 or shapes[0][:2] != shapes[1][:2]:
            raise ValueError(
                f"{self.name!r} got vectors of shape {shapes[0]} and side features of shape {shapes[1]}, "
                "expected (batch, time, features) and (batch, time, side) with the same batch and time"
            )
        both = ops.concatenate([vectors, ops.cast(side, vectors.dtype)], axis=-1)
        tokens = note_of(vectors, Tokens)
        if tokens is not None and tokens.side is None:
            remember(both, tokens._replace(side=side))
        return both

    def compute_mask(self, inputs: Any, previous_mask: Any = None) -> Any:
        """Return the mask of the vectors."""
        return None if previous_mask is None else previous_mask[0]

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        """Return (batch, time, features + side)."""
        vectors, side = self._pair(input_shape)
        known = vectors[-1] is not None and side[-1] is not None
        return *vectors[:-1], vectors[-1] + side[-1] if known else None

    def _pair(self, inputs: Any) -> tuple[Any, Any]:
        if not isinstance(inputs, (list, tuple)) or len(inputs) != 2:
            raise ValueError(f"{self.name!r} takes a list of two, [vectors, side_features]")
        return inputs[0], inputs[1]

"""Pooling over time that leaves masked timesteps out."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

_KINDS = ("max", "mean", "sum", "max_mean")


@keras.saving.register_keras_serializable(package="stepfold")
class MaskedPooling1D(keras.layers.Layer):  # type: ignore[misc]
    """The maximum, the mean or the sum of each feature over the timesteps that are not masked.

    Input (batch, time, features), mask (batch, time) of booleans, None if every timestep counts; output
    (batch, features), for "max_mean" (batch, 2 · features), the maxima first. A row whose timesteps are all
    masked gives zeros. Sums are made in float32 at least. The mask ends here.

    Keras's GlobalMaxPooling1D knows no mask, so that padding may win; its GlobalAveragePooling1D divides by
    zero where a row is masked throughout; neither gives both in one layer.

    Args:
        kind: "max", "mean", "sum" or "max_mean". Others (name, dtype): as in `keras.layers.Layer`.

    Raises ValueError for another kind and for an input that is not (batch, time, features).
    """

    def __init__(self, kind: str = "max_mean", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if kind not in _KINDS:
            raise ValueError(f"kind must be one of {', '.join(map(repr, _KINDS))}, not {kind!r}")
        self.kind = kind
        self.input_spec = keras.layers.InputSpec(ndim=3)
        self.supports_masking = True

    def call(self, inputs: Any, mask: Any = None) -> Any:
        """Return the pooled features (batch, features or 2 · features) of inputs (batch, time, features)."""
        active = None
        if mask is not None:
            if len(mask.shape) != 2:
                raise ValueError(
                    f"the mask of {self.name!r} has shape {tuple(mask.shape)}, expected (batch, time) "
                    f"for inputs {tuple(inputs.shape)}"
                )
            active = ops.cast(mask, "bool")[:, :, None]  # (B, T, 1)
        found = [getattr(self, f"_{kind}")(inputs, active) for kind in self.kind.split("_")]
        return found[0] if len(found) == 1 else ops.concatenate(found, axis=-1)

    def _max(self, inputs: Any, active: Any) -> Any:
        if 0 in inputs.shape:  # there is no maximum of nothing
            return ops.sum(inputs, axis=1)
        if active is None:
            return ops.max(inputs, axis=1)
        lowest = ops.full_like(inputs, float("-inf"))
        found = ops.max(ops.where(active, inputs, lowest), axis=1)
        return ops.where(ops.any(active, axis=1), found, ops.zeros_like(found))

    def _mean(self, inputs: Any, active: Any) -> Any:
        total, exact = self._total(inputs, active), _exact(inputs)
        if active is None:
            count = ops.cast(ops.maximum(ops.shape(inputs)[1], 1), exact)
        else:
            count = ops.maximum(ops.sum(ops.cast(active, exact), axis=1), 1)  # (B, 1)
        return ops.cast(total / count, keras.backend.standardize_dtype(inputs.dtype))

    def _sum(self, inputs: Any, active: Any) -> Any:
        return ops.cast(self._total(inputs, active), keras.backend.standardize_dtype(inputs.dtype))

    def _total(self, inputs: Any, active: Any) -> Any:
        """Return the sum over the active timesteps, float32 or float64."""
        values = ops.cast(inputs, _exact(inputs))
        if active is not None:
            # where, not a product: what stands at a masked timestep need not be a number
            values = ops.where(active, values, ops.zeros_like(values))
        return ops.sum(values, axis=1)

    def compute_mask(self, inputs: Any, previous_mask: Any = None) -> None:
        """Return None: there is no time left to mask."""

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, int | None]:
        """Return (batch, features), for "max_mean" (batch, 2 · features)."""
        batch, _, features = input_shape
        return batch, features if features is None else features * len(self.kind.split("_"))

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {**super().get_config(), "kind": self.kind}


def _exact(inputs: Any) -> str:
    """Return the dtype in which to sum."""
    return "float64" if keras.backend.standardize_dtype(inputs.dtype) == "float64" else "float32"

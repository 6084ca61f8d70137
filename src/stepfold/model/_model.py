"""A trained model: layers in a row, and how texts or sequences go in and labels or values come out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..data import Ragged, Vocabulary
from ._check import Label, checked_flow, checked_labels, checked_row
from ._layers import Array, EmbeddingLayer, Layer, PoolingLayer, Signal

_BATCH = 64
_LONGEST_NAME, _LONGEST = 1_000, 1_000_000


def _checked_integer(name: str, value: Any) -> None:
    """ValueError unless this is an integer from 1 to a million."""
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value <= _LONGEST:
        raise ValueError(f"{name} must be an integer from 1 to {_LONGEST:,}, not {value!r}")


@dataclass(frozen=True)
class Texts:
    """How texts become ids: of a longer text the last `length` ids are taken; a shorter one is padded with 0
    on the left, up to `length` where the model masks nothing."""

    vocabulary: Vocabulary
    length: int

    def __post_init__(self) -> None:
        if not isinstance(self.vocabulary, Vocabulary):
            raise TypeError(f"vocabulary must be one of stepfold.data, not {type(self.vocabulary).__name__}")
        _checked_integer("length", self.length)


@dataclass(frozen=True)
class Sequences:
    """How sequences go in: `features` of each timestep (None: ids); of a longer one the last `length` steps
    are taken (None: all)."""

    features: int | None
    length: int | None = None

    def __post_init__(self) -> None:
        for name, value in (("features", self.features), ("length", self.length)):
            if value is not None:
                _checked_integer(name, value)


@dataclass(frozen=True, eq=False)
class Model:
    """Layers in a row, with what goes in and comes out.

    Args:
        layers: each takes what the one before gives.
        inputs: `Texts`, or `Sequences`.
        labels: the classes in the order of the outputs; with two labels there may be one output, the
            probability of the second. None if the outputs are values.
        scale, shift: (outputs,) each, for values: `outputs * scale + shift` is what was asked for; None to
            leave them.
        name: what to call the model.
    """

    layers: tuple[Layer, ...]
    inputs: Texts | Sequences
    labels: tuple[Label, ...] | None = None
    scale: NDArray[np.float64] | None = None
    shift: NDArray[np.float64] | None = None
    name: str = "model"
    dtype: np.dtype[Any] = field(init=False, repr=False, default=np.dtype(np.float32))
    """Of all arrays of the layers, and of what comes out: float32 or float64."""

    def __post_init__(self) -> None:
        if not isinstance(self.inputs, (Texts, Sequences)):
            raise TypeError(f"inputs must be Texts or Sequences, not {type(self.inputs).__name__}")
        if not isinstance(self.name, str) or not self.name.isprintable() or len(self.name) > _LONGEST_NAME:
            raise ValueError(f"name must be a printable text of at most {_LONGEST_NAME:,} characters")
        object.__setattr__(self, "layers", tuple(self.layers))
        features = self.inputs.features if isinstance(self.inputs, Sequences) else None
        flow, dtype = checked_flow(self.layers, features)
        object.__setattr__(self, "dtype", dtype)
        first = self.layers[0]
        if isinstance(self.inputs, Texts) and isinstance(first, EmbeddingLayer):
            size = self.inputs.vocabulary.size
            if len(first.table) < size:
                raise ValueError(
                    f"the vocabulary has {size} ids, but the table of layer 0 (embedding) "
                    f"{len(first.table)} rows; give the vocabulary that the model was trained with"
                )
        if self.labels is not None:
            object.__setattr__(self, "labels", checked_labels(self.labels, flow))
            if self.scale is not None or self.shift is not None:
                raise ValueError("scale and shift are for values; a model with labels has none")
        for name in ("scale", "shift"):
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, checked_row(name, value, flow))

    @property
    def masks(self) -> bool:
        """Whether padding with the id 0 is masked, and no layer looks at what is masked."""
        blind = all(layer.masked for layer in self.layers if isinstance(layer, PoolingLayer))
        return blind and any(isinstance(layer, EmbeddingLayer) and layer.mask_zero for layer in self.layers)

    def run(self, values: Any, mask: Any = None) -> Array:
        """Return the last layer's output for one batch.

        Args:
            values: (batch, time) ids, or (batch, time, features).
            mask: (batch, time) booleans, True where a timestep is active; None if all are.
        """
        signal = Signal(np.asarray(values), mask)
        for layer in self.layers:
            signal = layer(signal)
        return signal.vectors()

    def outputs(self, inputs: Iterable[Any]) -> Array:
        """Return the network's outputs, (n, outputs), for texts, lists of ids, or arrays (time, features),
        of one feature (time,)."""
        rows = self._encoded(inputs)
        order = np.argsort(-rows.lengths, kind="stable")
        found: Array | None = None
        for start in range(0, len(order), _BATCH):
            chosen = order[start : start + _BATCH]
            part = self.run(*self._batch(rows, chosen))
            if found is None:
                found = np.empty((len(order), *part.shape[1:]), part.dtype)
            found[chosen] = part
        return np.zeros((0, 0), np.float32) if found is None else found

    def predict_proba(self, inputs: Iterable[Any]) -> Array:
        """Return the probability of each class, (n, classes)."""
        if self.labels is None:
            raise ValueError(f"{self.name} predicts values, not classes; use predict")
        found = self.outputs(inputs)
        if found.shape[-1:] == (1,) and len(self.labels) == 2:
            return np.concatenate((1 - found, found), axis=-1)
        return np.reshape(found, (len(found), len(self.labels)))

    def predict(self, inputs: Iterable[Any]) -> NDArray[Any]:
        """Return the likeliest label of each input, (n,), or the values, (n,) or (n, outputs)."""
        if self.labels is not None:
            likeliest: NDArray[Any] = np.asarray(self.labels)[self.predict_proba(inputs).argmax(axis=-1)]
            return likeliest
        found = self.outputs(inputs).astype(np.float64)
        if self.scale is not None:
            found = found * self.scale
        if self.shift is not None:
            found = found + self.shift
        return found[:, 0] if found.ndim == 2 and found.shape[1] == 1 else found

    def _encoded(self, inputs: Iterable[Any]) -> Ragged:
        if isinstance(self.inputs, Texts):
            if isinstance(inputs, str):
                raise TypeError("give a list of texts, not one text")
            return self.inputs.vocabulary.encode_all(inputs)
        given: Sequence[Any] = list(inputs)
        dtype = np.dtype(np.int64) if self.inputs.features is None else self.dtype
        arrays = [np.asarray(each, dtype) for each in given]
        if self.inputs.features == 1:  # (time,) will do
            arrays = [each[:, None] if each.ndim == 1 else each for each in arrays]
        return Ragged.from_sequences(arrays)

    def _batch(self, rows: Ragged, chosen: NDArray[np.int64]) -> tuple[Array, Array | None]:
        """Pad some sequences on the left: values (batch, time[, features]) and a mask, None for texts."""
        longest = max(int(rows.lengths[chosen].max(initial=1)), 1)
        most = self.inputs.length
        texts = isinstance(self.inputs, Texts)
        length = longest if most is None else most if texts and not self.masks else min(longest, most)
        values = rows.padded(chosen, length)
        if texts:
            return values, None
        active = np.minimum(rows.lengths[chosen], length)
        return values, np.arange(length) >= (length - active)[:, None]

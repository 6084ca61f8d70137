"""A trained model: layers in a row, and how texts or sequences go in and labels or values come out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..data import Ragged
from . import _explain
from ._arrays import Array
from ._batches import Sequences, Texts, batches, checked_mask, checked_values, encoded, padded
from ._check import Label, checked_flow, checked_labels, checked_row
from ._evidence_layers import EnsembleLayer, EvidenceLayer
from ._explain import Explanation
from ._layers import EmbeddingLayer, Layer, PoolingLayer
from ._signal import Signal
from ._stream import ModelStream
from ._walk import first_layers, named_layers, reads_backward

_BATCH = 128
_LONGEST_NAME = 1_000


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
    width: int = field(init=False, repr=False, default=0)
    """The number of outputs."""

    def __post_init__(self) -> None:
        if not isinstance(self.inputs, (Texts, Sequences)):
            raise TypeError(f"inputs must be Texts or Sequences, not {type(self.inputs).__name__}")
        if not isinstance(self.name, str) or not self.name.isprintable() or len(self.name) > _LONGEST_NAME:
            raise ValueError(f"name must be a printable text of at most {_LONGEST_NAME:,} characters")
        object.__setattr__(self, "layers", tuple(self.layers))
        features = self.inputs.features if isinstance(self.inputs, Sequences) else None
        flow, dtype = checked_flow(self.layers, features)
        object.__setattr__(self, "dtype", dtype)
        object.__setattr__(self, "width", flow.features)
        for where, first in first_layers(self.layers):
            if isinstance(self.inputs, Texts) and isinstance(first, EmbeddingLayer):
                size = self.inputs.vocabulary.size
                if len(first.table) < size:
                    raise ValueError(
                        f"the vocabulary has {size} ids, but the table of {where} (embedding) "
                        f"{len(first.table)} rows; give the vocabulary that the model was trained with"
                    )
            if isinstance(first, EvidenceLayer):
                self._check_words(first)
        if self.labels is not None:
            object.__setattr__(self, "labels", checked_labels(self.labels, flow))
            if self.scale is not None or self.shift is not None:
                raise ValueError("scale and shift are for values; a model with labels has none")
        for name in ("scale", "shift"):
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, checked_row(name, value, flow))

    def _check_words(self, first: EvidenceLayer) -> None:
        if not isinstance(self.inputs, Texts) or self.inputs.vocabulary.size != first.size:
            size = self.inputs.vocabulary.size if isinstance(self.inputs, Texts) else "no"
            raise ValueError(
                f"the inputs have {size} ids of words, but the n-grams of layer 0 (evidence) are of "
                f"{first.size}; give the vocabulary that the model was trained with"
            )

    @property
    def masks(self) -> bool:
        """Whether padding with the id 0 is masked, and no layer looks at what is masked."""
        masks = all(
            isinstance(first, EvidenceLayer) or (isinstance(first, EmbeddingLayer) and first.mask_zero)
            for _, first in first_layers(self.layers)
        )
        return masks and not self._pools_padding

    @property
    def pads(self) -> bool:
        """Whether the padding before a text, up to the full length, is read like any other timestep."""
        return isinstance(self.inputs, Texts) and not self.masks

    @property
    def reads_forward(self) -> bool:
        """Whether no timestep needs a later one, so that `stream` can read a sequence as it comes."""
        whole = (EvidenceLayer, EnsembleLayer)
        return not any(isinstance(each, whole) or reads_backward(each) for each in self.layers)

    @property
    def needs_equal_lengths(self) -> bool:
        """Whether padding would change what comes out, so that a batch must have sequences of one length."""
        return isinstance(self.inputs, Sequences) and self._pools_padding

    @property
    def _pools_padding(self) -> bool:
        return any(
            isinstance(layer, PoolingLayer) and not layer.masked and layer.kind != "last"
            for _, layer in named_layers(self.layers)
        )

    def run(self, values: Any, mask: Any = None) -> Array:
        """Return the last layer's output for one batch.

        Args:
            values: (batch, time) ids, or (batch, time, features).
            mask: (batch, time) booleans, True where a timestep is active; None if all are.

        Raises:
            TypeError, ValueError: something has another shape or dtype.
            IndexError: an id is outside the table.
        """
        array = checked_values(values, getattr(self.inputs, "features", None))
        signal = Signal(array, checked_mask(mask, array.shape[:2], "(batch, time)"))
        for layer in self.layers:
            signal = layer(signal)
        return signal.vectors()

    def outputs(self, inputs: Iterable[Any]) -> Array:
        """Return the network's outputs, (n, outputs), for texts, lists of ids, or arrays (time, features), of
        one feature (time,); ValueError if the last layer gives a value at every timestep."""
        rows = self.encoded(inputs)
        found = np.zeros((len(rows), self.width), self.dtype)
        for chosen in batches(rows.lengths, _BATCH, equal=self.needs_equal_lengths):
            part = self.run(*self.batch(rows, chosen, few=not self.needs_equal_lengths))
            if part.ndim > 2:
                raise ValueError(
                    f"{self.name} gives values at every timestep, {part.shape}; use run, or pool over time"
                )
            found[chosen] = part
        return found

    def predict_proba(self, inputs: Iterable[Any]) -> Array:
        """Return the probability of each class, (n, classes)."""
        if self.labels is None:
            raise ValueError(f"{self.name} predicts values, not classes; use predict")
        return self.answers(self.outputs(inputs))

    def predict(self, inputs: Iterable[Any]) -> NDArray[Any]:
        """Return the likeliest label of each input, (n,), or the values, (n,) or (n, outputs)."""
        found = self.answers(self.outputs(inputs))
        if self.labels is not None:
            names: NDArray[Any] = np.asarray(self.labels)
            likeliest: NDArray[Any] = names[found.argmax(axis=-1)]
            return likeliest
        return found[:, 0] if found.shape[1] == 1 else found

    def explain(self, given: Any, values: bool | Iterable[str] = False) -> Explanation:
        """Return what the model makes of one text or sequence after each token.

        Args:
            given: a text, a list of ids, or an array (time, features); of one longer than `most_explained`
                the last tokens are explained.
            values: True for every named value of the cells' maths beside the states, as `cell.show` names
                them (gates), or the names of some.

        Raises:
            ValueError: no layer has a value of this name; the message lists the names.
        """
        return _explain.explain(self, given, values)

    @property
    def most_explained(self) -> int | None:
        """How many of the last timesteps `explain` explains at most; None for all."""
        first = self.layers[0]
        return first.length if isinstance(first, EvidenceLayer) else self.inputs.length

    def equations(self) -> list[dict[str, str]]:
        """Return the equations of each recurrent layer: its "name" as in `explain`, its "cell", its "maths"
        as text, and as "latex"."""
        return _explain.equations(self)

    def stream(self, batch: int = 1, *, threads: int | None = None) -> ModelStream:
        """Return a stream of `batch` sequences that this model reads one timestep a call, each at its own
        time; ValueError if a layer reads backward. `threads` as `stepfold.Stream` takes it."""
        return ModelStream(self, batch, threads=threads)

    def encoded(self, inputs: Iterable[Any]) -> Ragged:
        """Return texts, or sequences, as the ids or numbers that go in, neither cut nor padded."""
        return encoded(self.inputs, inputs, self.dtype)

    def batch(
        self, rows: Ragged, chosen: NDArray[np.integer[Any]], *, few: bool = False
    ) -> tuple[Array, Array | None]:
        """Return some sequences padded on the left, (batch, time[, features]), and their mask, as `run` takes
        them; with `few` to one of few lengths. The mask is None for texts: there the padding is the id 0,
        which the embedding masks or not."""
        texts = isinstance(self.inputs, Texts)
        return padded(rows, chosen, self.inputs.length, whole=self.pads, mask=not texts, few=few)

    def answers(self, outputs: Array) -> NDArray[Any]:
        """Return what the network's outputs, (n, outputs), say: the probability of each class, (n, classes),
        or the values, (n, outputs), float64, scaled and shifted."""
        if self.labels is not None:
            both = outputs.shape[-1] == 1  # one output, the probability of the second of two
            return np.concatenate((1 - outputs, outputs), axis=-1) if both else outputs
        found = outputs.astype(np.float64)
        if self.scale is not None:
            found = found * self.scale
        return found if self.shift is None else found + self.shift

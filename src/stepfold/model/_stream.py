"""A model that reads its sequences one timestep a call: every layer goes on from where it was."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .._stream import Indices, Rows, Stream, Turn, read_state, written_state
from ..data import START
from ._arrays import Array
from ._batches import Texts, checked_mask
from ._check import Flow, flows, kind_of
from ._concatenate import ConcatenateLayer
from ._evidence_layers import EnsembleLayer, EvidenceLayer
from ._layers import Layer, PoolingLayer, RecurrentLayer
from ._pooled import SlotTable, pooled, pools, starting_values
from ._signal import Signal
from ._walk import named_layers, reads_backward

if TYPE_CHECKING:
    from ._model import Model


class ModelStream:
    """Sequences that a model reads one timestep a call, each at its own time; they join and leave.

    Every recurrent layer goes on as a `stepfold.Stream`, pooling over time as a running maximum and sum; a
    masked timestep keeps everything. After each step the outputs are those of `Model.run` on the whole
    sequence so far, within rounding. A sequence of a model of texts begins with the start mark, as the
    vocabulary encodes it. Where the model reads the padding before a text (`Model.pads`), a stream has none.

    Rows have numbers as those of `stepfold.Stream`: each is given once. A stream belongs to one thread at a
    time. Made by `Model.stream`.

    Raises:
        ValueError: a layer reads backward, or `batch` is no integer of at least 1.
    """

    def __init__(self, model: Model, batch: int = 1, *, threads: int | None = None) -> None:
        self.model = model
        for name, layer in named_layers(model.layers):
            if reads_backward(layer) and not name.startswith("network"):  # an ensemble is named as a whole
                raise ValueError(
                    f"{name} ({kind_of(layer)}) of {model.name} reads from the last timestep to the "
                    "first, so it cannot go on as timesteps come; use explain or predict, or a model "
                    "that reads forward"
                )
        for k, layer in enumerate(model.layers):
            if isinstance(layer, (EvidenceLayer, EnsembleLayer)):
                raise ValueError(
                    f"layer {k} ({kind_of(layer)}) of {model.name} reads whole texts, so it cannot go on as "
                    "timesteps come; use explain or predict"
                )
        # by where each layer is: "1", in a branch "1.0.2"
        features = None if isinstance(model.inputs, Texts) else model.inputs.features
        layers = list(flows(model.layers, Flow(features)))
        self._streams = {
            k: Stream(layer.cell, layer.params, batch, threads=threads)
            for k, layer, _ in layers
            if isinstance(layer, RecurrentLayer)
        }
        if not isinstance(batch, int) or isinstance(batch, bool) or batch < 1:
            raise ValueError(f"batch must be an integer of at least 1, not {batch!r}")
        self._turn, self._rows = Turn(), Rows(batch)
        self._table = SlotTable(self._rows.capacity, starting_values(model, layers))
        self._begin(self._rows.numbers)

    # ---- timesteps ----------------------------------------------------------------------------------------

    def step(self, values: Any, rows: Any = None, mask: Any = None) -> Array:
        """Read the next timestep of all sequences, in the order of their numbers, or of the chosen ones.

        Args:
            values: (n,) ids, or (n, features).
            rows: (n,) numbers of rows, each at most once; None for all.
            mask: (n,) booleans, False where nothing is read; None if all are active.

        Returns:
            The network's outputs, (n, outputs), as `Model.run` gives them; `Model.answers` makes
            probabilities of them.

        Raises:
            TypeError, ValueError: something has another shape or dtype.
            IndexError: a row has left or never was, or an id is outside the table.
        """
        with self._turn.taken():
            slots = self._rows.slots if rows is None else self._rows.slots_of(rows)
            numbers = self._rows.numbers if rows is None else np.asarray(rows, np.int64).reshape(-1)
            checked = self._checked_values(values, len(slots))
            active = checked_mask(mask, (len(slots),), "(n,)")
            return self._step(checked, numbers, slots, active, rows is None)

    def read(self, text: str, rows: Any = None) -> Iterator[tuple[str, Array]]:
        """Read a piece of text, the same for all rows or for the chosen ones; yield each token and the
        outputs after it, (n, outputs). A word must not be cut: its parts would be two words.

        Raises:
            TypeError: the model reads no texts, or `text` is no string.
        """
        inputs = self.model.inputs
        if not isinstance(inputs, Texts):
            raise TypeError(f"{self.model.name} reads sequences, not texts; use step")
        if not isinstance(text, str):
            raise TypeError(f"text must be a string, not {type(text).__name__}")
        tokens, ids = inputs.vocabulary.tokens(text), inputs.vocabulary.encode(text)[1:]
        count = len(self._rows) if rows is None else len(self._rows.slots_of(rows))
        for token, id_ in zip(tokens, ids, strict=True):
            yield token, self.step(np.full(count, id_), rows)

    def outputs_of(self, rows: Any = None) -> Array:
        """Return the outputs after the last step of all rows, or of the chosen ones, (n, outputs); NaN for a
        row that has read nothing yet (a text has read the start mark)."""
        with self._turn.taken():
            slots = self._rows.slots if rows is None else self._rows.slots_of(rows)
            return self._table.arrays["outputs"][slots]

    def _step(
        self, values: Array, numbers: Indices, slots: Indices, mask: NDArray[np.bool_] | None, every: bool
    ) -> Array:
        signal = Signal(values[:, None], None if mask is None else mask[:, None])  # (n, 1[, features])
        found = self._passed(self.model.layers, "", signal, numbers, slots, every).vectors()
        found = found[:, 0] if found.ndim == 3 else found
        self._table.arrays["outputs"][slots] = found
        return found

    def _passed(
        self,
        layers: tuple[Layer, ...],
        of: str,
        signal: Signal,
        numbers: Indices,
        slots: Indices,
        every: bool,
    ) -> Signal:
        """Take one timestep through layers whose places begin with `of`."""
        for k, layer in enumerate(layers):
            place = f"{of}{k}"
            if isinstance(layer, RecurrentLayer):
                signal = self._recurrent(place, layer, signal, numbers, slots, every)
            elif isinstance(layer, PoolingLayer) and pools(layer):
                signal = Signal(pooled(layer, self._table.of(place), signal, slots))
            elif isinstance(layer, ConcatenateLayer):
                signal = layer.joined(
                    [
                        self._passed(branch, f"{place}.{b}.", signal, numbers, slots, every)
                        for b, branch in enumerate(layer.branches)
                    ]
                )
            else:
                signal = layer(signal)
        return signal

    def _recurrent(
        self,
        k: str,
        layer: RecurrentLayer,
        signal: Signal,
        numbers: Indices,
        slots: Indices,
        every: bool,
    ) -> Signal:
        stream = self._streams[k]
        inputs, split = signal.vectors()[:, 0].astype(self.model.dtype, copy=False), layer.sizes.split
        held = self._table.arrays.get(f"{k} output")  # of an output that is no state
        if signal.mask is None or signal.mask.all():
            output = stream.step(split(inputs), None if every else numbers).copy()
            if held is not None:
                held[slots] = output
        else:  # where nothing is read the output is still the first state
            active = signal.mask[:, 0]
            found = stream.step(split(inputs[active]), numbers[active])
            if held is not None:
                held[slots[active]] = found
            output = stream.state_of(numbers)[0] if held is None else held[slots]
        return Signal(output[:, None], signal.mask) if layer.return_sequences else Signal(output)

    def _checked_values(self, values: Any, count: int) -> Array:
        inputs = self.model.inputs
        features = None if isinstance(inputs, Texts) else inputs.features
        if isinstance(values, np.ma.MaskedArray):
            raise TypeError("values are a masked array; give mask, and fill them with .filled(value)")
        found = np.asarray(values)
        expected = (count,) if features is None else (count, features)
        what = "(n,)" if features is None else "(n, features)"
        if found.dtype.kind not in ("iu" if features is None else "fiub") and found.size:
            kind = "ids, which are integers" if features is None else "numbers"
            raise TypeError(f"values are {found.dtype.name}, expected {kind}")
        if found.shape != expected:
            raise ValueError(f"values have shape {found.shape}, expected {what} = {expected}")
        if found.dtype == np.uint64 and features is None:
            found = np.minimum(found, np.uint64(2**63 - 1))  # outside every table
        return found.astype(np.int64 if features is None else self.model.dtype)

    # ---- rows ---------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        """How many rows there are."""
        return len(self._rows)

    @property
    def rows(self) -> Indices:
        """The numbers of the rows that are there, (n,) int64, ascending."""
        return self._rows.numbers

    def join(self, n: int = 1) -> Indices:
        """Add `n` sequences; return their numbers, (n,) int64. Texts read the start mark at once."""
        if not isinstance(n, int) or isinstance(n, bool) or n < 0:
            raise ValueError(f"n must be an integer of at least 0, not {n!r}")
        with self._turn.taken():
            capacity = self._rows.capacity_for(n)
            if capacity > self._rows.capacity:
                self._table.resize(capacity)
                self._rows.grow(capacity)
            for stream in self._streams.values():
                stream.join(n)
            numbers, _ = self._rows.join(n)
            self._begin(numbers)
            return numbers

    def leave(self, rows: Any) -> None:
        """Take sequences away, by their numbers (n,); IndexError names one that is not there."""
        with self._turn.taken():
            self._rows.leave(rows)
            for stream in self._streams.values():
                stream.leave(rows)
            capacity = self._rows.less()
            if capacity is not None:
                kept = self._rows.slots
                self._rows.shrink(capacity)
                self._table.resize(capacity, kept)

    def reset(self, rows: Any = None) -> None:
        """Begin anew with all rows, or with the chosen ones."""
        with self._turn.taken():
            numbers = self._rows.numbers
            if rows is not None:
                self._rows.slots_of(rows)
                numbers = np.asarray(rows, np.int64).reshape(-1)
            for stream in self._streams.values():
                stream.reset(numbers)
            self._begin(numbers)

    def _begin(self, numbers: Indices) -> None:
        slots = self._rows.slots_of(numbers)
        self._table.clear(slots)
        if isinstance(self.model.inputs, Texts) and len(numbers):
            every = len(numbers) == len(self._rows)
            self._step(np.full(len(numbers), START), numbers, slots, None, every)

    # ---- states -------------------------------------------------------------------------------------------

    def save_state(self) -> bytes:
        """Return the rows' numbers and all that the layers hold as bytes. A stream of the same model, here or
        in another process, goes on from them bit for bit with `load_state`."""
        with self._turn.taken():
            return self._saved()

    def _saved(self) -> bytes:
        slots = self._rows.slots
        arrays = {name: array[slots] for name, array in self._table.arrays.items()}
        for k, stream in self._streams.items():
            arrays[f"layer {k}"] = np.frombuffer(stream.save_state(), np.uint8)
        of = self._described() | {"following": self._rows.following}
        return written_state(of, {"numbers": self._rows.numbers, **arrays})

    def _described(self) -> dict[str, Any]:
        kinds = [kind_of(layer) for _, layer in named_layers(self.model.layers)]
        return {"layers": kinds, "outputs": self.model.width}

    def load_state(self, data: bytes) -> None:
        """Go on where `save_state` was called: with its rows, under their numbers, and with all they hold.

        Raises:
            TypeError: `data` is not of bytes.
            ValueError: it is no state, it is damaged, or it is of another model; the stream is as before.
        """
        stored = read_state(data, self._described())
        with self._turn.taken():
            before = self._saved()
            try:
                self._load(stored.arrays, stored.of.get("following"))
            except ValueError:
                kept = read_state(before, {})
                self._load(kept.arrays, kept.of["following"])
                raise

    def _load(self, arrays: dict[str, Array], following: Any) -> None:
        wrong = ValueError("the arrays in this state of a model do not fit; save the state again")
        numbers = arrays.get("numbers")
        blobs = {k: arrays.get(f"layer {k}") for k in self._streams}
        if (
            numbers is None
            or numbers.dtype != np.int64
            or numbers.ndim != 1
            or not isinstance(following, int)
        ):
            raise wrong
        if not Rows.fits(numbers, following) or not self._table.fits(arrays, len(numbers)):
            raise wrong
        for k, stream in self._streams.items():
            blob = blobs[k]
            if blob is None:
                raise wrong
            stream.load_state(blob.tobytes())
            if not np.array_equal(stream.rows, numbers) or stream.following != following:
                raise wrong
        self._rows.restore(numbers, following)
        self._table.restore({name: arrays[name] for name in self._table.arrays}, self._rows.capacity)

"""A model's JSON data read back, every part checked; nothing of it is run."""

from __future__ import annotations

import json
import reprlib
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .._cell import Cell
from ..data import vocabulary_from_json
from ._arrays import Array
from ._batches import Sequences, Texts
from ._check import KINDS
from ._concatenate import ConcatenateLayer
from ._evidence_layers import OFFSET, EnsembleLayer, EvidenceLayer, JoinEvidenceLayer
from ._header import FORMAT
from ._layers import (
    ActivationLayer,
    AffineLayer,
    BidirectionalLayer,
    DenseLayer,
    EmbeddingLayer,
    Layer,
    MaskingLayer,
    PoolingLayer,
    RecurrentLayer,
)
from ._model import Model
from .ngrams import NgramScores

_MOST_LAYERS = 1_000
_MOST_NODES = 20_000
"""Of all cells together."""
_MOST_LISTS = 400_000
_Take = Callable[[str], Array]
_Entry = Mapping[str, Any]


def parsed(text: str | bytes) -> Any:
    """Return the data of a JSON text; ValueError if it is none, is nested too deep, or repeats an entry."""
    if isinstance(text, str):
        lists = text.count("[") + text.count("{")
    else:
        lists = text.count(b"[") + text.count(b"{")
    if lists > _MOST_LISTS:
        raise ValueError(f"its JSON holds more than {_MOST_LISTS:,} lists")
    try:
        return json.loads(text, object_pairs_hook=_object)
    except RecursionError:
        raise ValueError("its JSON is nested too deep") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"its JSON is damaged ({error})") from None
    except UnicodeDecodeError:
        raise ValueError("its JSON is not UTF-8") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice, _ = Counter(name for name, _ in pairs).most_common(1)[0]
        raise ValueError(f"its JSON has the entry {reprlib.repr(twice)} twice")
    return found


@dataclass(frozen=True)
class Stored:
    """What `described` returned, read and checked as far as it can be without the arrays."""

    name: str
    dtype: str
    inputs: Texts | Sequences
    labels: tuple[Any, ...] | None
    scale: list[Any] | None
    shift: list[Any] | None
    cells: list[Cell]
    layers: list[Any]

    @classmethod
    def read(cls, data: Any) -> Stored:
        """Check the parts of data that came from anywhere; ValueError or TypeError for what is wrong."""
        if not isinstance(data, dict) or type(data.get("format")) is not int:
            raise ValueError("it has no number 'format'")
        if data["format"] != FORMAT:
            raise ValueError(
                f"its format is {reprlib.repr(data['format'])}, this version of stepfold reads {FORMAT}"
            )
        entries = _entries(data, "the model", _PARTS)
        if entries["dtype"] not in ("float32", "float64"):
            raise ValueError(f"its dtype is {reprlib.repr(entries['dtype'])}, expected float32 or float64")
        for name in ("cells", "layers"):
            count = sum(map(_members, entries[name]))
            if count > _MOST_LAYERS:
                raise ValueError(f"it has {count:,} {name}, more than {_MOST_LAYERS:,}")
        nodes = [cell.get("nodes") for cell in entries["cells"] if isinstance(cell, dict)]
        count = sum(len(each) for each in nodes if isinstance(each, list))
        if count > _MOST_NODES:
            raise ValueError(f"its cells have {count:,} nodes, more than {_MOST_NODES:,}")
        for name in ("scale", "shift"):
            if not all(type(each) in (int, float) for each in entries[name] or ()):
                raise ValueError(f"{name} is no list of numbers")
        labels = entries["labels"]
        return cls(
            entries["name"],
            entries["dtype"],
            _inputs(entries["inputs"]),
            None if labels is None else tuple(labels),
            entries["scale"],
            entries["shift"],
            [Cell.from_json(json.dumps(cell)) for cell in entries["cells"]],
            entries["layers"],
        )

    def model(self, take: _Take) -> Model:
        """Return the model, its arrays from `take`; ValueError or TypeError if there can be none."""
        layers = tuple(self.layer(entry, f"layers.{k}", take) for k, entry in enumerate(self.layers))
        scale, shift = (
            None if row is None else np.array(row, np.float64) for row in (self.scale, self.shift)
        )
        model = Model(layers, self.inputs, self.labels, scale, shift, self.name)
        if model.dtype.name != self.dtype:
            raise ValueError(f"its dtype is {self.dtype}, but its arrays are {model.dtype}")
        return model

    def layer(self, entry: Any, name: str, take: _Take) -> Layer:
        """Return the layer of an entry, its arrays from `take` under names that begin with `name`."""
        kind = entry.get("kind") if isinstance(entry, dict) else None
        if not isinstance(kind, str) or kind not in _READERS:
            raise ValueError(f"{name} is no layer; its kind must be one of {', '.join(_READERS)}")
        kinds, make = _READERS[kind]
        try:
            return make(
                self, _entries(entry, name, {"kind": str, **kinds}), lambda each: take(f"{name}.{each}")
            )
        except (ValueError, TypeError) as error:
            text = str(error)
            raise ValueError(text if name in text else f"{name}: {text}") from None

    def recurrent(self, index: int, take: _Take, *, reverse: bool, sequences: bool) -> RecurrentLayer:
        """Return a recurrent layer with the cell of this index."""
        if not 0 <= index < len(self.cells):
            raise ValueError(f"there is no cell {index}, there are {len(self.cells)}")
        cell = self.cells[index]
        return RecurrentLayer(cell, {each: take(each) for each in cell.step.parameters}, reverse, sequences)


_PARTS: dict[str, Any] = {
    "format": int,
    "version": str,
    "name": str,
    "dtype": str,
    "inputs": dict,
    "labels": (list, type(None)),
    "scale": (list, type(None)),
    "shift": (list, type(None)),
    "cells": list,
    "layers": list,
}
"""The entries of a model, and their types."""


def _members(entry: Any, depth: int = 0) -> int:
    """Return how many layers an entry stands for, those of an ensemble's networks or of branches with it;
    ValueError where they lie too deep in one another."""
    if not isinstance(entry, dict):
        return 1
    chains = [each for name in ("members", "branches") for each in _lists(entry.get(name))]
    if chains and depth > ConcatenateLayer.most_nested:
        raise ValueError(f"its layers lie more than {ConcatenateLayer.most_nested} deep within one another")
    # a branch of no layer counts as one
    return 1 + sum(max(sum(_members(each, depth + 1) for each in chain), 1) for chain in chains)


def _lists(value: Any) -> list[list[Any]]:
    return [each for each in value if isinstance(each, list)] if isinstance(value, list) else []


def _inputs(data: dict[str, Any]) -> Texts | Sequences:
    if data.get("kind") == "texts":
        entries = _entries(data, "inputs", {"kind": str, "length": int, "vocabulary": dict})
        return Texts(
            vocabulary_from_json(json.dumps(entries["vocabulary"]), "'vocabulary'"), entries["length"]
        )
    integer = (int, type(None))
    entries = _entries(data, "inputs", {"kind": str, "length": integer, "features": integer})
    if entries["kind"] != "sequences":
        raise ValueError("inputs: its kind must be texts or sequences")
    return Sequences(entries["features"], entries["length"])


def _entries(data: Any, where: str, kinds: Mapping[str, Any]) -> dict[str, Any]:
    """Return an object's entries; ValueError unless it has these, of these types, and no others."""
    for name, kind in kinds.items():
        if name not in data:
            raise ValueError(f"{where} has no entry {name!r}")
        types = kind if isinstance(kind, tuple) else (kind,)
        if type(data[name]) not in types:
            expected = " or ".join(_TYPES[each] for each in types)
            raise ValueError(f"{where}: {name!r} is {reprlib.repr(data[name])}, expected {expected}")
    extra = sorted(data.keys() - kinds.keys())
    if extra:
        raise ValueError(f"{where} has an unknown entry {reprlib.repr(extra[0])}")
    return dict(data)


_TYPES = {
    int: "an integer",
    float: "a number",
    str: "a text",
    bool: "true or false",
    dict: "an object",
    list: "a list",
    type(None): "null",
}


def _embedding(_: Stored, entry: _Entry, take: _Take) -> Layer:
    return EmbeddingLayer(take("table"), entry["mask_zero"])


def _masking(_: Stored, entry: _Entry, take: _Take) -> Layer:
    return MaskingLayer(float(entry["value"]))


def _affine(_: Stored, entry: _Entry, take: _Take) -> Layer:
    return AffineLayer(take("scale"), take("shift"))


def _recurrent(stored: Stored, entry: _Entry, take: _Take) -> Layer:
    sequences = entry["return_sequences"]
    return stored.recurrent(entry["cell"], take, reverse=entry["reverse"], sequences=sequences)


def _bidirectional(stored: Stored, entry: _Entry, take: _Take) -> Layer:
    forward, backward = (
        stored.recurrent(
            entry[direction],
            lambda each, direction=direction: take(f"{direction}.{each}"),  # type: ignore[misc]
            reverse=direction == "backward",
            sequences=entry["return_sequences"],
        )
        for direction in ("forward", "backward")
    )
    return BidirectionalLayer(forward, backward, entry["merge"])


def _pooling(_: Stored, entry: _Entry, take: _Take) -> Layer:
    return PoolingLayer(entry["pool"], entry["masked"])


def _dense(_: Stored, entry: _Entry, take: _Take) -> Layer:
    return DenseLayer(take("kernel"), take("bias") if entry["bias"] else None, entry["activation"])


def _activation(_: Stored, entry: _Entry, take: _Take) -> Layer:
    return ActivationLayer(entry["activation"])


def _concatenate(stored: Stored, entry: _Entry, take: _Take) -> Layer:
    branches = []
    for b, branch in enumerate(entry["branches"]):
        if not isinstance(branch, list):
            raise ValueError(f"branch {b} is no list of layers")
        branches.append(tuple(stored.layer(each, f"{b}.{k}", take) for k, each in enumerate(branch)))
    return ConcatenateLayer(tuple(branches))


def _evidence(stored: Stored, entry: _Entry, take: _Take) -> Layer:
    if not isinstance(stored.inputs, Texts):
        raise ValueError("n-grams are of texts, and the inputs are sequences")
    keys = {}
    for name in ("words", "marked"):
        if not 0 < entry[name] < 100:
            raise ValueError(f"{name!r} is {reprlib.repr(entry[name])}, expected the length of n-grams")
        keys[name] = tuple(take(f"{name}.{n + 1}") for n in range(entry[name]))
    ngrams = NgramScores(
        stored.inputs.vocabulary.size - OFFSET,
        negations=take("negations"),
        stops=take("stops"),
        **keys,
        ratios=take("ratios"),
        weights=take("weights"),
        bias=take("bias"),
    )
    return EvidenceLayer(ngrams, entry["embedded"], entry["length"])


def _join_evidence(_: Stored, entry: _Entry, take: _Take) -> Layer:
    return JoinEvidenceLayer()


def _ensemble(stored: Stored, entry: _Entry, take: _Take) -> Layer:
    members = []
    for m, member in enumerate(entry["members"]):
        if not isinstance(member, list):
            raise ValueError(f"member {m} is no list of layers")
        if any(isinstance(each, dict) and each.get("kind") == "ensemble" for each in member):
            raise ValueError("a network of an ensemble cannot hold another ensemble")
        members.append(tuple(stored.layer(each, f"{m}.{k}", take) for k, each in enumerate(member)))
    return EnsembleLayer(tuple(members))


_READERS: dict[str, tuple[dict[str, Any], Callable[[Stored, _Entry, _Take], Layer]]] = {
    "embedding": ({"mask_zero": bool}, _embedding),
    "masking": ({"value": (int, float)}, _masking),
    "affine": ({}, _affine),
    "recurrent": ({"cell": int, "reverse": bool, "return_sequences": bool}, _recurrent),
    "bidirectional": (
        {"forward": int, "backward": int, "return_sequences": bool, "merge": str},
        _bidirectional,
    ),
    "pooling": ({"pool": str, "masked": bool}, _pooling),
    "dense": ({"bias": bool, "activation": str}, _dense),
    "activation": ({"activation": str}, _activation),
    "concatenate": ({"branches": list}, _concatenate),
    "evidence": ({"embedded": int, "length": int, "words": int, "marked": int}, _evidence),
    "join_evidence": ({}, _join_evidence),
    "ensemble": ({"members": list}, _ensemble),
}
"""For each kind of layer, its entries' types and how it is made of them."""

assert _READERS.keys() == set(KINDS.values())

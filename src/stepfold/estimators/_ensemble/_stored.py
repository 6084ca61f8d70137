"""Reads the files of a saved ensemble; what is damaged is a ValueError that names the file and the damage."""

import dataclasses
import json
import types
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._stored_values import UNREADABLE
from ._evidence import NgramEvidence
from ._examples import Member
from ._tokens import ReviewVocabulary

FORMAT = "stepfold evidence ensemble 2"
SETTINGS, WORDS, EVIDENCE = "ensemble.json", "words.json", "evidence.npz"


def network_file(folder: Path, k: int) -> Path:
    """Return the file of a network, counted from 0."""
    return folder / f"network{k + 1}.keras"


def read_settings(folder: Path) -> tuple[list[Member], int, int]:
    """Return the members, the size of the vocabulary of ids that are embedded, and the length."""
    file = folder / SETTINGS
    stored = _json(file)
    if not isinstance(stored, dict) or stored.get("format") != FORMAT:
        raise ValueError(f"{file} is no ensemble of this version; take the folder that save wrote")
    sizes = []
    for name in ("vocabulary_size", "length"):
        value = stored.get(name)
        if not isinstance(value, int) or isinstance(value, bool) or not 0 < value < 2**31:
            raise ValueError(f"{file} is damaged: {name!r} is {_short(value)}, not a positive integer")
        sizes.append(value)
    members = stored.get("members")
    if not isinstance(members, list) or not members:
        raise ValueError(f"{file} is damaged: 'members' is {_short(members)}, not a list of settings")
    return [_member(file, k, member) for k, member in enumerate(members, 1)], sizes[0], sizes[1]


def _member(file: Path, k: int, stored: Any) -> Member:
    kinds: dict[str, Any] = {field.name: field.type for field in dataclasses.fields(Member)}
    if not isinstance(stored, dict) or stored.keys() != kinds.keys():
        raise ValueError(f"{file} is damaged: network {k} has other settings than {', '.join(kinds)}")
    for name, kind in kinds.items():
        value = stored[name]
        expected = {float: float | int}.get(kind, kind)
        if not isinstance(value, expected) or (isinstance(value, bool) and kind is not bool):
            kind_name = str(kind) if isinstance(kind, types.UnionType) else kind.__name__
            raise ValueError(
                f"{file} is damaged: {name!r} of network {k} is {_short(value)}, not {kind_name}"
            )
    return Member(**stored)


def read_vocabulary(folder: Path) -> ReviewVocabulary:
    """Return the vocabulary."""
    file = folder / WORDS
    words = _json(file)
    if not isinstance(words, list) or not all(isinstance(word, str) and word for word in words):
        raise ValueError(f"{file} is damaged: it is no list of words")
    if len(set(words)) < len(words):
        raise ValueError(f"{file} is damaged: a word is in it twice")
    return ReviewVocabulary(words)


def read_evidence(folder: Path, vocabulary: ReviewVocabulary) -> NgramEvidence:
    """Return what was learnt of n-grams, which must agree with the vocabulary."""
    file = folder / EVIDENCE
    _check_archive(file)
    try:
        with np.load(file, allow_pickle=False) as stored:
            arrays: dict[str, NDArray[Any]] = dict(stored)
    except UNREADABLE as error:
        raise ValueError(f"{file} is damaged ({_line(error)})") from None
    if reason := NgramEvidence.misfit(vocabulary, arrays):
        raise ValueError(f"{file} is damaged: {reason}")
    return NgramEvidence.from_arrays(vocabulary, arrays)


def read_network(file: Path, vocabulary_size: int, channels: int, scores: int) -> Any:
    """Return a network, which must take so many ids and channels and give so many scores."""
    import keras

    from . import _network  # noqa: F401  # registers its layers

    _check_archive(file)
    try:
        network = keras.saving.load_model(file)
        found = [shape[-1] for shape in network.input_shape[1:]]
        size = network.get_layer("embedding").input_dim
    except (*UNREADABLE, AttributeError, IndexError) as error:
        raise ValueError(f"{file} cannot be loaded ({_line(error)})") from None
    for name, value, expected in (
        ("ids below", size, vocabulary_size),
        ("channels", found[0], channels),
        ("scores", found[1], scores),
    ):
        if value != expected:
            raise ValueError(
                f"{file} does not belong to the other files of its folder: "
                f"it has {name} {value}, they have {expected}"
            )
    return network


def _json(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"{file} is missing") from None
    except OSError as error:
        raise ValueError(f"{file} cannot be read ({_line(error)})") from None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file} is damaged or cut short ({_line(error)})") from None


def _check_archive(file: Path) -> None:
    """Refuse a file that is missing, cut short, or whose parts do not match their checksums."""
    try:
        with zipfile.ZipFile(file) as archive:
            bad = archive.testzip()
    except FileNotFoundError:
        raise ValueError(f"{file} is missing") from None
    except UNREADABLE as error:
        raise ValueError(f"{file} is damaged or cut short ({_line(error)})") from None
    if bad is not None:
        raise ValueError(f"{file} is damaged: its part {bad} does not match its checksum")


def _line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).partition("\n")[0][:200]


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."

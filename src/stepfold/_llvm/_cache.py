"""Kernels compiled once for each user: loaded from the cache folder, or compiled and written to it."""

from __future__ import annotations

import errno
import functools
import hashlib
import warnings
from collections.abc import Callable
from pathlib import Path

import llvmlite

from ._cache_entry import pack, unpack
from ._cache_folder import (
    FOLDER_VARIABLE,
    UntrustedError,
    cache_folder,
    check_folder,
    read_file,
    write_file,
)
from ._compile import Library, compile_text
from ._layout import Kernel
from ._target import Target, triple

_LONG = 2_000_000
"""Characters of a kernel's text, about as many as are compiled in a second."""
_EVERY_PROCESS = "every process compiles its kernels again, some 0.1 s each"


@functools.cache
def _sources() -> str:
    """Return a digest of every file of source code that decides what a kernel's text is."""
    package = Path(__file__).parent.parent
    digest = hashlib.sha256()
    for path in sorted([*package.glob("_*.py"), *package.glob("_llvm/*.py"), *package.glob("_plan/*.py")]):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def load(what: str, target: Target, make: Callable[[], Kernel]) -> tuple[Kernel, Library, bool]:
    """Return a kernel, its machine code, and whether they came from the cache.

    `what` names the kernel: the step's key, units, dtype, kind. `make` writes its text, which a kernel from
    the cache does not have. Whatever is wrong with the cache, the kernel is compiled; a warning says so once
    where it needs the user.
    """
    key = _key(what, target)
    folder = _folder()
    if folder is not None:
        found = _read(folder, key)
        if found is not None:
            return *found, True
    kernel = make()
    if len(kernel.text) > _LONG:
        import logging  # only here: it is as long to import as much of this package

        logging.getLogger("stepfold").warning(
            "compiling the kernel %s of a long step, which takes some %.0f seconds, once: it is kept in %s",
            kernel.name,
            len(kernel.text) / _LONG,
            folder or "memory alone",
        )
    code = compile_text(kernel.text, target)
    if folder is not None:
        _write(folder, key, kernel, code)
    return kernel, Library(code, [kernel.name, *kernel.exports]), False


def _key(what: str, target: Target) -> str:
    """Return a digest of everything that decides what a kernel's machine code is."""
    on = triple(), target.cpu, target.features, str(target.width), str(target.registers)
    return hashlib.sha256("\n".join([what, _sources(), *on, llvmlite.__version__]).encode()).hexdigest()


def _folder() -> Path | None:
    """Return the folder of the cache; None, and a warning, if there is none that can be trusted."""
    try:
        folder = cache_folder()
    except RuntimeError as error:
        _warn_not_kept("the home folder", str(error).rstrip("."))
        return None
    try:
        check_folder(folder)
    except UntrustedError as error:
        _warn_untrusted(folder, str(error))
        return None
    return folder


def _path(folder: Path, key: str) -> Path:
    return folder / f"{key}.kernel"


def _read(folder: Path, key: str) -> tuple[Kernel, Library] | None:
    """Return a kernel from its entry, None if there is no entry or no valid one."""
    path = _path(folder, key)
    try:
        data = read_file(path)
    except UntrustedError as error:
        _warn_entry(folder, path, str(error))
        return None
    found = None if data is None else unpack(key, data)
    if found is None:
        return None
    kernel, code = found
    try:
        return kernel, Library(code, [kernel.name, *kernel.exports])
    except RuntimeError:  # this is no object file, or it does not have the function
        return None


def _write(folder: Path, key: str, kernel: Kernel, code: bytes) -> None:
    """Write an entry; a warning says why that fails."""
    try:
        write_file(_path(folder, key), pack(key, kernel, code))
    except UntrustedError as error:
        _warn_untrusted(folder, str(error))
    except OSError as error:
        # Windows does not replace a file that another process reads. Where that process has found a valid
        # entry, nothing is lost.
        if not (isinstance(error, PermissionError) and _read(folder, key)):
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            _warn_not_kept(str(folder), error.strerror or str(error), full=full)


_warned: set[tuple[str, str]] = set()


def _warn_not_kept(where: str, reason: str, *, full: bool = False) -> None:
    more = "free some space there, or " if full else ""
    _warn_once(
        (where, reason),
        f"compiled kernels cannot be kept in {where} ({reason}), so {_EVERY_PROCESS}: {more}let "
        f"{FOLDER_VARIABLE} name a folder that can be written",
    )


def _warn_untrusted(folder: Path, reason: str) -> None:
    _warn_once(
        (str(folder), reason),
        f"the cache of compiled kernels {folder} is not used, because {reason} and what lies there would be "
        f"run; so {_EVERY_PROCESS}: let {FOLDER_VARIABLE} name a folder of your own, or delete this one; if "
        "you trust all that lies there, make it yours alone with 'chown -R' and 'chmod -R go-w'",
    )


def _warn_entry(folder: Path, path: Path, reason: str) -> None:
    _warn_once(
        (str(folder), "entry"),
        f"the compiled kernel {path} is not used, because {reason}; it is compiled again and replaced, as "
        "is every other entry like it: find out who writes to this folder",
    )


def _warn_once(topic: tuple[str, str], message: str) -> None:
    if topic not in _warned:
        warnings.warn(message, RuntimeWarning, stacklevel=2)
        _warned.add(topic)

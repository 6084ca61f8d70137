"""Kernels on disk: compiled once a user, shared by processes, never trusted when damaged."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import sys
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import llvmlite

from ._compile import Library, Target, compile_text
from ._layout import Kernel
from ._stage import Panel

_MAGIC = b"stepfold kernel 1\n"


def folder() -> Path:
    """The cache folder of this user."""
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "stepfold"


@functools.cache
def _sources() -> str:
    """A digest of everything that decides what a kernel's text is."""
    package = Path(__file__).parent.parent
    digest = hashlib.sha256()
    for path in sorted([*package.glob("_*.py"), *package.glob("_llvm/*.py"), *package.glob("_plan/*.py")]):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def load(what: str, target: Target, make: Callable[[], Kernel]) -> tuple[Kernel, Library, bool]:
    """Return a kernel (without its text) and its machine code, and whether they came from the cache.

    `what` names the kernel: the step's key, units, dtype, kind.
    """
    parts = [what, _sources(), target.cpu, target.features, str(target.width), llvmlite.__version__]
    key = hashlib.sha256("\n".join(parts).encode()).hexdigest()
    path = _path(key)
    found = None if path is None else _read(path)
    if found is not None:
        kernel, code = found
        return kernel, Library(code, [kernel.name, *kernel.exports]), True
    kernel = make()
    code = compile_text(kernel.text, target)
    if path is not None:
        _write(path, kernel, code)
    return kernel, Library(code, [kernel.name, *kernel.exports]), False


def _path(key: str) -> Path | None:
    """Where an entry lies; None, and a warning, for a user who has no home folder."""
    try:
        return folder() / key[:2] / f"{key}.kernel"
    except RuntimeError as error:
        _tell("the home folder", str(error).rstrip("."))
        return None


def _read(path: Path) -> tuple[Kernel, bytes] | None:
    """A kernel from its file, None if there is none or it is damaged."""
    try:
        data = path.read_bytes()
    except OSError:
        return None
    head, rest = data[: len(_MAGIC)], data[len(_MAGIC) :]
    if head != _MAGIC or hashlib.sha256(rest[32:]).digest() != rest[:32]:
        return None
    size = int.from_bytes(rest[32:40], "little")
    about = json.loads(rest[40 : 40 + size])
    panels = tuple(_panel(panel) for panel in about["panels"])
    return Kernel(
        "", about["name"], tuple(about["arguments"]), panels, about["panel_size"], about["scratch"],
        tuple(about["exports"]),
    ), rest[40 + size :]


def _panel(data: dict[str, Any]) -> Panel:
    parts = tuple(
        tuple((str(matrix), bool(transposed)) for matrix, transposed in part) for part in data["parts"]
    )
    return Panel(data["offset"], data["groups"], data["length"], data["blocks"], parts)


def _write(path: Path, kernel: Kernel, code: bytes) -> None:
    about = asdict(kernel)
    del about["text"]
    text = json.dumps(about).encode()
    body = len(text).to_bytes(8, "little") + text + code
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, suffix=".part")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(_MAGIC + hashlib.sha256(body).digest() + body)
            os.replace(name, path)
        except BaseException:
            os.unlink(name)
            raise
    except OSError as error:
        _tell(str(path.parent.parent), error.strerror or str(error))


@functools.cache
def _tell(where: str, reason: str) -> None:
    warnings.warn(
        f"compiled kernels cannot be kept in {where} ({reason}): every process will compile them again, "
        "some 0.1 s each; free some space there or point XDG_CACHE_HOME at a folder that can be written",
        RuntimeWarning,
        stacklevel=2,
    )

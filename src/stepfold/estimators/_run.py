"""The folder of a run: what an estimator saves, and what training writes."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .._files import FULL, not_written

FORMAT = "stepfold run 1"
_LONGEST_CONFIG = 64 * 2**20


class RunError(Exception):
    """A run that cannot be begun, continued or used; the message says how to correct it."""


class RunFolder:
    """One run's files. Each is written under a temporary name first, then renamed.

    Attributes:
        path: the folder.
        model: the network, a ``.keras`` file.
        vocabulary: the words, in the order of their ids.
        config: the estimator's parameters, its classes, and what else loading and ``resume`` read.
        history: a line an epoch.
        checkpoint: the state of training, for ``resume``.
        report: the page to look at.
        members: the networks of an ensemble, a folder.
        evaluations: the reports of how the model does on other data, a folder.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.model = self.path / "model.keras"
        self.vocabulary = self.path / "vocabulary.json"
        self.config = self.path / "config.json"
        self.history = self.path / "history.csv"
        self.checkpoint = self.path / "checkpoint.npz"
        self.report = self.path / "report.html"
        self.members = self.path / "members"
        self.evaluations = self.path / "evaluations"

    @property
    def files(self) -> tuple[Path, ...]:
        """Everything that a run may write."""
        return (
            self.model,
            self.vocabulary,
            self.config,
            self.history,
            self.checkpoint,
            self.report,
            self.members,
            self.evaluations,
        )

    def begin(self, *, overwrite: bool) -> None:
        """Check that a new run may be written here; no file of the folder changes, and none is made.

        Raises:
            RunError: it holds something (except a run with ``overwrite``), or cannot be written to.
        """
        made = self._make()
        try:
            self._check_contents({entry.name for entry in self.path.iterdir()}, overwrite)
            with tempfile.TemporaryFile(dir=self.path):  # whether anything can be written
                pass
        except OSError as error:
            raise self._unwritable(error) from None
        finally:
            self.remove_empty(made)

    def _check_contents(self, present: set[str], overwrite: bool) -> None:
        ours = {file.name for file in self.files}
        if strangers := sorted(name for name in present - ours if not _is_temporary(name, ours)):
            raise RunError(
                f"{self.path} holds files that are no run, such as {strangers[0]}; "
                "choose another folder (--out)"
            )
        if present and not overwrite:
            raise RunError(
                f"{self.path} already holds a run: continue it with resume=True (--resume), "
                "replace it with overwrite=True (--overwrite), or choose another folder (--out)"
            )

    def existing(self) -> Path:
        """Return the folder, or the nearest one above it that is there."""
        return next(path for path in (self.path, *self.path.absolute().parents) if path.is_dir())

    def clear(self) -> list[Path]:
        """Make the folder, and remove the files of the previous run, unfinished ones included.

        Returns:
            The folders that were not there, the deepest first, for ``remove_empty``.
        """
        made = self._make()
        ours = {file.name for file in self.files}
        for entry in list(self.path.iterdir()):
            if entry.name in ours or _is_temporary(entry.name, ours):
                try:
                    shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink(
                        missing_ok=True
                    )
                except OSError as error:
                    raise self._unwritable(error) from None
        return made

    def make(self) -> Path:
        """Make the folder if it is not there; return it."""
        self._make()
        return self.path

    def write(self, target: Path, fill: Callable[[Path], object]) -> None:
        """Let ``fill`` write a file under a temporary name, then rename it to ``target``.

        Raises:
            RunError: the file could not be written (a full disk); what was there before is kept.
        """
        # The suffix stays, since some writers choose the format by it.
        part = target.with_name(f".{target.stem}.{os.getpid()}{target.suffix}")
        try:
            fill(part)
            os.replace(part, target)
        except OSError as error:
            cure = "continue with resume=True (--resume)" if self.config.exists() else "begin again"
            first = "Make room" if error.errno in FULL else "Make the folder writable"
            raise RunError(f"{not_written(target, error)}. {first}, then {cure}") from None
        finally:
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)

    def write_text(self, target: Path, text: str) -> None:
        """Write a text as UTF-8 to ``target``."""
        # Half of a surrogate pair, which has no UTF-8, is written as JSON's escape.
        raw = text.encode("utf-8", "backslashreplace")
        self.write(target, lambda part: part.write_bytes(raw))

    def write_config(self, config: dict[str, Any]) -> None:
        """Write the configuration: anything that JSON can say."""
        text = json.dumps({"format": FORMAT, **config}, indent=2, ensure_ascii=False)
        self.write_text(self.config, text + "\n")

    def read_config(self) -> dict[str, Any]:
        """Return the configuration; ``RunError`` if the folder is no run, or the file is damaged."""
        try:
            if self.config.stat().st_size > _LONGEST_CONFIG:
                raise RunError(f"{self.config} is too long to be a configuration; train again (--overwrite)")
            stored = json.loads(self.config.read_text(encoding="utf-8"), parse_int=_number)
        except (FileNotFoundError, NotADirectoryError):
            raise RunError(
                f"{self.path} holds no run (there is no {self.config.name}); "
                "give the folder that save, fit or stepfold train wrote"
            ) from None
        except OSError as error:
            raise RunError(f"cannot read {self.config}: {error.strerror}") from None
        except (ValueError, RecursionError):
            stored = None
        if not isinstance(stored, dict) or stored.get("format") != FORMAT:
            raise RunError(f"{self.config} is damaged; train again (--overwrite)")
        for name, kind in _ENTRIES.items():
            if not isinstance(stored.get(name), kind):
                raise RunError(
                    f"{self.config} is damaged: {name!r} is {_short(stored.get(name))}; "
                    "train again (--overwrite)"
                )
        return stored

    def _make(self) -> list[Path]:
        """Make the folder and those above it; return the ones that were not there, the deepest first."""
        missing = [path for path in (self.path, *self.path.parents) if not path.exists()]
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._unwritable(error) from None
        return missing

    def remove_empty(self, folders: list[Path]) -> None:
        """Remove folders that are empty."""
        for folder in folders:
            with contextlib.suppress(OSError):
                folder.rmdir()

    def _unwritable(self, error: OSError) -> RunError:
        return RunError(f"cannot write to {self.path}: {error.strerror}; choose another folder (--out)")


class ReadFolder(RunFolder):
    """A run's files that another process writes: this one reads them, and what it would write is dropped."""

    def begin(self, *, overwrite: bool) -> None:
        """Check nothing: another process does."""

    def clear(self) -> list[Path]:
        """Leave the folder as it is."""
        return []

    def write(self, target: Path, fill: Callable[[Path], object]) -> None:
        """Write nothing."""


_ENTRIES: dict[str, Any] = {
    "estimator": str,
    "parameters": dict,
    "settings": dict,
    "classes": (list, type(None)),
}


def _is_temporary(name: str, ours: set[str]) -> bool:
    """Whether a file is what an interrupted ``write`` left."""
    stems = "|".join(re.escape(Path(file).stem) for file in sorted(ours))
    return re.fullmatch(rf"\.({stems})\.\d+(\.\w+)?", name) is not None


def _number(text: str) -> int | float:
    """Read an integer; one of absurd length as a float, which what checks numbers can compare."""
    return int(text) if len(text) <= 30 else float(text)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."

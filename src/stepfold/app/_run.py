"""The folder of a run: every file is written under a temporary name first, then renamed."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any


class RunError(Exception):
    """A run that cannot be begun, continued or used; the message says how to correct it."""


class RunFolder:
    """One run's files.

    Attributes:
        path: the folder.
        model: the best model so far, a ``.keras`` file.
        vocabulary: the words, in the order of their ids.
        config: settings, classes and what else ``predict`` and ``--resume`` read.
        history: a line an epoch.
        curves: a picture of the history.
        checkpoint: the state after the last complete epoch, for ``--resume``.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.model = self.path / "model.keras"
        self.vocabulary = self.path / "vocabulary.json"
        self.config = self.path / "config.json"
        self.history = self.path / "history.csv"
        self.curves = self.path / "curves.png"
        self.checkpoint = self.path / "checkpoint.npz"

    @property
    def files(self) -> tuple[Path, ...]:
        """Every file that a run may write."""
        return self.model, self.vocabulary, self.config, self.history, self.curves, self.checkpoint

    def begin(self, *, overwrite: bool) -> None:
        """Make the folder for a new run and check that it can be written to; no file in it changes.

        Raises:
            RunError: it holds something (except a run with ``overwrite``), or cannot be written to.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            present = {entry.name for entry in self.path.iterdir()}
            self.write(self.path / "probe", lambda part: part.write_bytes(b""))
            (self.path / "probe").unlink()
        except OSError as error:
            raise RunError(
                f"cannot write to {self.path}: {error.strerror}; choose another folder with --out"
            ) from None
        if self.config.name in present:
            if not overwrite:
                raise RunError(
                    f"{self.path} already holds a run: continue it with --resume, "
                    "replace it with --overwrite, or choose another --out"
                )
        elif present:
            raise RunError(f"{self.path} holds files that are no run; choose another --out")

    def clear(self) -> None:
        """Remove the files of the previous run."""
        for file in self.files:
            file.unlink(missing_ok=True)

    def write(self, target: Path, fill: Callable[[Path], object]) -> None:
        """Let ``fill`` write a file under a temporary name, then rename it to ``target``."""
        # The suffix stays, since some writers choose the format by it.
        part = target.with_name(f".{target.stem}.{os.getpid()}{target.suffix}")
        try:
            fill(part)
            os.replace(part, target)
        finally:
            part.unlink(missing_ok=True)

    def write_text(self, target: Path, text: str) -> None:
        """Write a text as UTF-8 to ``target``."""
        self.write(target, lambda part: part.write_text(text, encoding="utf-8"))

    def read_config(self) -> dict[str, Any]:
        """Return the configuration; ``RunError`` if the folder is no run."""
        try:
            stored = json.loads(self.config.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise RunError(
                f"{self.path} holds no run (there is no {self.config.name}); "
                "give the folder that stepfold train wrote with --out"
            ) from None
        except OSError as error:
            raise RunError(f"cannot read {self.config}: {error.strerror}") from None
        except ValueError:
            stored = None
        if not isinstance(stored, dict) or not {"settings", "classes", "digest", "size"} <= stored.keys():
            raise RunError(f"{self.config} is damaged; train again with --overwrite")
        return stored

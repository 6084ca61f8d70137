"""The folder of a comparison: its runs, each in a folder of its own, and what they were begun with."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from .._run import RunError, RunFolder
from ._plan import fingerprint

FORMAT = "stepfold comparison 1"


class ComparisonFolder:
    """One comparison's files.

    Attributes:
        path: the folder.
        record: what the runs were begun with, and which failed.
        report: the page to look at.
        runs: a folder with a folder for each run.
        failures: why each run failed that did, by the name of its folder.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.record = self.path / "comparison.json"
        self.report = self.path / "report.html"
        self.runs = self.path / "runs"
        self.failures: dict[str, str] = {}
        self._begun: dict[str, Any] = {}
        self._folders: dict[str, Path] = {}

    def begin(self, estimator: type[Any], digest: str, *, overwrite: bool) -> None:
        """Make the folder, or see what an earlier comparison of the same examples left in it.

        Raises:
            RunError: it holds something else, or runs with other examples.
        """
        present = {entry.name for entry in self.path.iterdir()} if self.path.is_dir() else set()
        ours = {self.record.name, self.report.name, self.runs.name}
        if strangers := sorted(name for name in present - ours if not name.startswith(".")):
            raise RunError(
                f"{self.path} holds files that are no comparison, such as {strangers[0]}; "
                "choose another folder (--out)"
            )
        if present & ours and not self.record.exists():
            raise RunError(
                f"{self.path} holds no comparison (there is no {self.record.name}); "
                "choose another folder (--out)"
            )
        if overwrite:
            self._clear()
        elif present & ours:
            self._continue(estimator, digest)
        try:
            self.runs.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunError(
                f"cannot write to {self.path}: {error.strerror}; choose another folder (--out)"
            ) from None
        self._begun = {"format": FORMAT, "estimator": estimator.__name__, "digest": digest}
        self._write()
        for folder in self._run_folders():
            with contextlib.suppress(RunError):
                config = RunFolder(folder).read_config()
                key = fingerprint(estimator, config["parameters"], config["parameters"].get("random_state"))
                self._folders[key or f"another version's {folder}"] = folder

    def place(self, key: str, name: str) -> tuple[Path, bool]:
        """Return the folder of a run, and whether a run of the same parameters is there.

        If not, the folder is a new one of that name, with a number if the name is taken.
        """
        known = key in self._folders
        if not known:
            taken = set(self._folders.values())
            numbers = ("", *(f"_{k}" for k in range(2, len(taken) + 3)))
            stem, _, seed = name.rpartition("-")
            names = (f"{stem}{number}-{seed}" for number in numbers)
            self._folders[key] = next(self.runs / each for each in names if self.runs / each not in taken)
        return self._folders[key], known

    def note(self, folder: Path, failure: str) -> None:
        """Remember why a run failed; "" if it did not."""
        if failure:
            self.failures[folder.name] = failure
        elif self.failures.pop(folder.name, None) is None:
            return
        self._write()

    def _continue(self, estimator: type[Any], digest: str) -> None:
        try:
            stored = json.loads(self.record.read_text(encoding="utf-8"))
        except (ValueError, RecursionError):
            stored = None
        except OSError as error:
            raise RunError(f"cannot read {self.record}: {error.strerror}") from None
        failed = stored.get("failed") if isinstance(stored, dict) and stored.get("format") == FORMAT else None
        if not isinstance(failed, dict):
            raise RunError(f"{self.record} is damaged; begin again with overwrite=True (--overwrite)")
        if (stored.get("estimator"), stored.get("digest")) != (estimator.__name__, digest):
            raise RunError(
                f"the examples differ from those that {self.path} was begun with; give the same data, "
                "begin again with overwrite=True (--overwrite), or choose another folder (--out)"
            )
        self.failures = {str(name): str(reason) for name, reason in failed.items()}

    def _clear(self) -> None:
        """Remove all runs, unless there are other files among them."""
        folders = self._run_folders()
        for folder in folders:
            RunFolder(folder).begin(overwrite=True)
        for folder in folders:
            RunFolder(folder).clear()
            folder.rmdir()
        self.report.unlink(missing_ok=True)

    def _run_folders(self) -> list[Path]:
        return sorted(self.runs.iterdir()) if self.runs.is_dir() else []

    def _write(self) -> None:
        text = json.dumps({**self._begun, "failed": self.failures}, indent=2, ensure_ascii=False)
        RunFolder(self.path).write_text(self.record, text + "\n")


def digest_of(*data: Any) -> str:
    """Return a digest of inputs and targets: equal for equal examples."""
    state = hashlib.blake2b(digest_size=16)
    for part in data:
        for example in (part,) if hasattr(part, "__array__") else _examples(part):
            if isinstance(example, str):
                content = example.encode("utf-8", "surrogatepass")
            else:
                array = np.asarray(example)
                text = array.dtype.kind in "OUS"
                content = "\0".join(map(str, array.ravel())).encode("utf-8", "surrogatepass") if text else (
                    np.ascontiguousarray(array).tobytes()
                )  # fmt: skip
                state.update(f"{array.shape}{'text' if text else array.dtype.str}".encode())
            state.update(len(content).to_bytes(8, "little"))
            state.update(content)
        state.update(b"end")
    return state.hexdigest()


def _examples(part: Any) -> Iterable[Any]:
    """Return the examples one by one; None stands for a part that is not there."""
    return part if isinstance(part, Iterable) else (str(part),)

"""Trains networks side by side, a process each (see ``_worker``)."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .._one_thread import ONE_THREAD
from ._examples import Member, Tagger, TextsWithEvidence


class Trained(NamedTuple):
    """A network's weights, and for each epoch its loss and the seconds it took."""

    weights: list[NDArray[np.float32]]
    losses: NDArray[np.float64]
    seconds: NDArray[np.float64]

    @classmethod
    def of(cls, model: Any) -> "Trained":
        """Return what is kept of a model that ``train_member`` returned."""
        from ._training import weights_of

        history = model.history.history
        return cls(weights_of(model), np.array(history["loss"]), np.array(history["seconds"]))

    def save(self, path: Path) -> None:
        """Write to a ``.npz`` file, under another name first."""
        part = path.with_name(f"part-{path.name}")
        np.savez(part, *self.weights, losses=self.losses, seconds=self.seconds)
        os.replace(part, path)

    @classmethod
    def load(cls, path: Path) -> "Trained":
        """Read what ``save`` wrote."""
        with np.load(path, allow_pickle=False) as stored:
            weights = [stored[f"arr_{k}"] for k in range(len(stored.files) - 2)]
            return cls(weights, stored["losses"], stored["seconds"])


class Part(NamedTuple):
    """A network that is to be trained: its settings, and the number of ids that it tells apart."""

    settings: Member | Tagger
    vocabulary_size: int

    def train(
        self,
        examples: TextsWithEvidence,
        labels: NDArray[Any],
        scores: int,
        name: str,
        parent: int | None = None,
    ) -> Trained:
        """Return the network, trained; see `train_member`."""
        settings, size = self
        if isinstance(settings, Tagger):
            from ._tagger import train_tagger

            return Trained.of(train_tagger(settings, examples, size, scores, name, parent))
        from ._training import train_member

        return Trained.of(train_member(settings, examples, labels, size, scores, name, parent))

    def to_json(self) -> dict[str, Any]:
        """Return what `from_json` reads."""
        return {"kind": type(self.settings).__name__, "size": self.vocabulary_size, **asdict(self.settings)}

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> "Part":
        """Return the part that `to_json` wrote."""
        kind = {each.__name__: each for each in (Member, Tagger)}[stored.pop("kind")]
        size = stored.pop("size")
        return cls(kind(**stored), size)


def train_parts(
    parts: Sequence[Part],
    examples: TextsWithEvidence,
    labels: NDArray[Any],
    scores: int,
    jobs: int,
    keep: Path | None = None,
    verbose: int = 1,
) -> list[Trained]:
    """Return each network, trained `jobs` at a time.

    Networks that are in the folder `keep` are read from there; the others are left there as they are done.
    Lines of progress go to standard error unless `verbose` is 0. The processes end when this is interrupted.

    Raises:
        TrainingError: a process failed; what it says stands on standard error.
    """
    with tempfile.TemporaryDirectory(prefix="stepfold-") as path:
        folder = Path(path)
        files = [(keep or folder) / f"network{k}.npz" for k in range(1, len(parts) + 1)]
        missing = [k for k, file in enumerate(files) if not file.exists()]
        if jobs < 2 or len(missing) < 2:
            for k in missing:
                name = f"network {k + 1}" if verbose else ""
                parts[k].train(examples, labels, scores, name).save(files[k])
            return [Trained.load(file) for file in files]
        for key, array in {**examples._asdict(), "labels": labels}.items():
            np.save(folder / f"{key}.npy", array)
        shares = _shares([parts[k].settings for k in missing], jobs)
        for number, share in enumerate(shares):
            plan = {
                "parts": {str(files[missing[k]]): parts[missing[k]].to_json() for k in share},
                "scores": scores,
                "parent": os.getpid(),
                "verbose": verbose,
            }
            (folder / f"plan{number}.json").write_text(json.dumps(plan))
        _run(folder, len(shares))
        return [Trained.load(file) for file in files]


def _shares(members: Sequence[Member | Tagger], jobs: int) -> list[list[int]]:
    """Deal the members out, the longest trainings first, each to the process with the least to do."""
    shares: list[list[int]] = [[] for _ in range(min(jobs, len(members)))]
    for k in sorted(range(len(members)), key=lambda k: -members[k].epochs):
        min(shares, key=lambda share: sum(members[j].epochs for j in share)).append(k)
    return shares


def _run(folder: Path, number: int) -> None:
    import keras

    source = str(Path(__file__).parents[3])
    paths = [source, *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {
        **os.environ,
        **dict.fromkeys(ONE_THREAD, "1"),
        "KERAS_BACKEND": keras.backend.backend(),
        "PYTHONPATH": os.pathsep.join(paths),
        # networks of one kind are compiled once
        "JAX_COMPILATION_CACHE_DIR": str(folder / "compiled"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }
    processes: list[subprocess.Popen[bytes]] = []
    try:
        for k in range(number):
            command = [sys.executable, "-m", f"{__package__}._worker", str(folder), str(k)]
            process = subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C reaches this process, which ends that one
            )
            processes.append(process)
        while any(process.poll() is None for process in processes):
            time.sleep(0.05)
            failed = next((process for process in processes if process.poll()), None)
            if failed is not None:
                from .._callbacks import TrainingError

                raise TrainingError(
                    f"a process that trains networks ended with status {failed.returncode}; its error stands "
                    "above on standard error. OMP_NUM_THREADS=1 trains the networks in one process"
                )
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait()

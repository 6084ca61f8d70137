"""What a worker of a cluster does: it trains one run, in a process of its own.

There the seeds are nobody else's, and the memory is given back; the worker itself never imports Keras."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ._parent import has_parent
from ._run import RunError

Files = dict[str, bytes]
_ERRORS = {"ValueError": ValueError, "TypeError": TypeError, "RunError": RunError}


def work(
    estimator: str, parameters: dict[str, Any], data: tuple[Any, Any, Any], backend: str
) -> tuple[Files, dict[str, Any]]:
    """Train one run in a folder that does not stay.

    Args:
        estimator: the name of its class.
        parameters: all of them.
        data: inputs, targets, and both to validate with or None.
        backend: Keras's.

    Returns:
        The run's files by their names, and the fields of an `Outcome`.

    Raises:
        ValueError, TypeError, RunError: as the estimator's ``fit``.
        RuntimeError: the process ended otherwise; the message has its last words.
    """
    source = str(Path(__file__).parents[2])
    environment = {
        **os.environ,
        "KERAS_BACKEND": backend,
        "PYTHONPATH": os.pathsep.join([source, *filter(None, [os.environ.get("PYTHONPATH")])]),
    }
    with tempfile.TemporaryDirectory(prefix="stepfold-") as name:
        home, folder = Path(name), Path(name) / "run"
        with (home / "plan.pickle").open("wb") as file:
            pickle.dump((estimator, parameters, data), file)
        ended = subprocess.run(
            [sys.executable, "-m", __name__, name, str(os.getpid())],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            check=False,
        )
        if ended.returncode:
            last = ended.stderr.decode(errors="replace").strip()[-1000:]
            raise RuntimeError(f"a process that trains ended with status {ended.returncode}: {last}")
        found = json.loads((home / "outcome.json").read_text())
        if "error" in found:
            raise _ERRORS[found["error"]](found["message"])
        files = {
            path.relative_to(folder).as_posix(): path.read_bytes()
            for path in folder.rglob("*")
            if path.is_file()
        }
    return files, found


def _train(home: Path) -> None:
    from .. import estimators
    from ._comparison._run import Data, Order, train_run

    with (home / "plan.pickle").open("rb") as file:
        estimator, parameters, data = pickle.load(file)
    try:
        order = Order(getattr(estimators, estimator), parameters, home / "run", False)
        found = asdict(train_run(order, Data(*data)))
    except tuple(_ERRORS.values()) as error:
        kind = next(name for name, each in _ERRORS.items() if isinstance(error, each))
        found = {"error": kind, "message": str(error)}
    (home / "outcome.json").write_text(json.dumps(found))


def _end_with(parent: int) -> None:
    """End this process when the one that began it has ended."""

    def watch() -> None:
        while has_parent(parent):
            time.sleep(1.0)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    _end_with(int(sys.argv[2]))
    _train(Path(sys.argv[1]))

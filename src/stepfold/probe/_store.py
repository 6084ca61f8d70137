"""Results as lines of JSON in a folder."""

from __future__ import annotations

import hashlib
import json
from os import PathLike
from pathlib import Path
from typing import Any

from .._files import replacing

NAME = "probe.jsonl"


class Store:
    """Results by what they depend on; without a folder nothing is saved.

    A line that is damaged counts as not there. The file is written under a temporary name, then renamed.
    """

    def __init__(self, folder: str | PathLike[str] | None) -> None:
        self._path = None if folder is None else Path(folder) / NAME
        self._lines: dict[str, dict[str, Any]] = {}
        if self._path is not None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._read(self._path)

    def get(self, key: dict[str, Any]) -> dict[str, Any] | None:
        """Return the result of a key, or None."""
        return self._lines.get(_digest(key))

    def put(self, key: dict[str, Any], result: dict[str, Any]) -> None:
        """Save a result."""
        self._lines[_digest(key)] = result
        if self._path is None:
            return
        text = "".join(
            json.dumps({"key": key, "result": result}) + "\n" for key, result in self._lines.items()
        )
        with replacing(self._path) as part:
            part.write_text(text, encoding="utf-8")

    def _read(self, path: Path) -> None:
        try:
            text = path.read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return
        for line in text.splitlines():
            try:
                entry = json.loads(line)
                key, result = entry["key"], entry["result"]
            except (KeyError, TypeError, ValueError, RecursionError):
                continue
            if isinstance(key, str) and isinstance(result, dict):
                self._lines[key] = result


def _digest(key: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()

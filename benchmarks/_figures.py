"""Figures of the built-in cells that the documents show, kept in a file: machine, command, a row a cell."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def processor(machine: Mapping[str, str]) -> str:
    """Return the processor's name out of a report's description of the machine."""
    return machine["processor"].partition(",")[0].removeprefix("model name ")


def keep(path: Path, about: Mapping[str, Any], cells: Mapping[str, Any]) -> None:
    """Write the figures of some cells; those of others stay if all that is said about them is the same."""
    content: dict[str, Any] = {**about, "cells": {}}
    stored = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    if {**stored, "cells": {}} == content:  # measured in the same way, on such a machine
        content["cells"] = stored["cells"]
    content["cells"] = {**content["cells"], **cells}
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".new")
    temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    temporary.replace(path)

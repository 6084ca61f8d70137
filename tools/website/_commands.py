"""The page of the command line: the help of every command, as it prints it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

from ._markdown import fenced

_PROGRAM = [sys.executable, "-m", "stepfold.app.cli"]


def commands_page() -> str:
    """Return the page as Markdown."""
    help_text = _printed()
    names = re.findall(r"^    (\w+) ", help_text, re.MULTILINE)
    parts = [
        "# Commands\n",
        "What `stepfold COMMAND --help` prints.\n",
        fenced(help_text),
    ]
    with ThreadPoolExecutor(2) as pool:
        texts = list(pool.map(_printed, names))
    for name, text in zip(names, texts, strict=True):
        parts += [f"## stepfold {name}\n", fenced(text)]
    return "\n".join(parts)


def _printed(*command: str) -> str:
    done = subprocess.run(
        [*_PROGRAM, *command, "--help"],
        capture_output=True,
        text=True,
        env={**os.environ, "COLUMNS": "100"},
        check=True,
        timeout=120,
        stdin=subprocess.DEVNULL,
    )
    return done.stdout

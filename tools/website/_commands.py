"""The page of the command line: the help of every command, as it prints it."""

from __future__ import annotations

import contextlib
import io
import os
import re
from unittest import mock

from stepfold.app.cli import main

from ._markdown import fenced


def commands_page() -> str:
    """Return the page as Markdown."""
    help_text = _printed()
    names = re.findall(r"^    (\w+) ", help_text, re.MULTILINE)
    parts = ["# Commands\n", "What `stepfold COMMAND --help` prints.\n", fenced(help_text)]
    for name in names:
        parts += [f"## stepfold {name}\n", fenced(_printed(name))]
    return "\n".join(parts)


def _printed(*command: str) -> str:
    """Return what a command's `--help` prints on a wide terminal."""
    caught = io.StringIO()
    with mock.patch.dict(os.environ, COLUMNS="100"), contextlib.redirect_stdout(caught):
        try:
            main([*command, "--help"])
        except SystemExit as end:
            if end.code:
                raise
    return caught.getvalue()

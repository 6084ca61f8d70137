"""The command line: train a text classifier, predict with it, show the built-in cells."""

from ._run import RunError, RunFolder
from ._settings import Settings

__all__ = ["RunError", "RunFolder", "Settings"]

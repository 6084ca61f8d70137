"""The main job on the command line: train a classifier of texts, ask it, look at the cells."""

from ._run import RunError, RunFolder
from ._settings import Settings

__all__ = ["RunError", "RunFolder", "Settings"]

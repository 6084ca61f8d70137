"""The error for a file that is no model."""

from __future__ import annotations


class ModelError(ValueError):
    """A file that cannot be used as a model; the message names the file, what is wrong and the cure."""

"""Saying once what is not as fast as it could be, and why."""

from __future__ import annotations

import warnings

_said: set[str] = set()


class SlowPathWarning(UserWarning):
    """No fused kernel serves what was asked for; the result is right, but computed by slower operations."""


def warn_once(text: str) -> None:
    """Warn, the first time that this text comes up."""
    if text not in _said:
        _said.add(text)
        warnings.warn(text, SlowPathWarning, stacklevel=3)

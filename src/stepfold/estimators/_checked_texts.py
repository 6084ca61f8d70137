"""Texts as a user gives them, checked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np


class CheckedTexts:
    """Texts that can be iterated over again, each checked to be a string."""

    def __init__(self, texts: Any) -> None:
        if isinstance(texts, (str, bytes)):
            raise ValueError("X is one text; give a list of texts")
        if isinstance(texts, np.ndarray) and texts.ndim != 1:
            raise ValueError(f"X has the shape {texts.shape}; give a list of texts, or an array (texts,)")
        if iter(texts) is texts:
            texts = list(texts)
        self._texts: Iterable[Any] = texts

    def __iter__(self) -> Iterator[str]:
        for k, text in enumerate(self._texts):
            if not isinstance(text, str):
                raise ValueError(f"X[{k}] is a {type(text).__name__}, not a text: {str(text)[:40]!r}")
            yield text

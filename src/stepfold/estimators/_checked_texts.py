"""Texts as a user gives them, checked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Set
from typing import Any


class CheckedTexts:
    """Texts that can be iterated over again, each checked to be a string.

    Raises:
        ValueError: what is no list of texts; a text that is no string, while iterating.
    """

    def __init__(self, texts: Any) -> None:
        if isinstance(texts, (str, bytes)):
            raise ValueError("X is one text; give a list of texts")
        if getattr(texts, "ndim", 1) != 1:
            columns = getattr(texts, "columns", None)
            cure = "" if columns is None else f"; of a table take one column, such as X[{str(columns[0])!r}]"
            raise ValueError(
                f"X has the shape {texts.shape}; give a list of texts, or an array (texts,){cure}"
            )
        if isinstance(texts, (Mapping, Set)) or not isinstance(texts, Iterable):
            raise ValueError(f"X is a {type(texts).__name__}; give a list of texts")
        self._texts: Iterable[Any] = list(texts) if iter(texts) is texts else texts

    def __iter__(self) -> Iterator[str]:
        for k, text in enumerate(self._texts):
            if text is None or type(text).__name__ == "NAType" or (isinstance(text, float) and text != text):
                raise ValueError(f"X[{k}] is missing ({text}); fill it in, or leave the text out")
            if not isinstance(text, str):
                raise ValueError(f"X[{k}] is a {type(text).__name__}, not a text: {str(text)[:40]!r}")
            yield text

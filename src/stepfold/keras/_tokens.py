"""Which token ids an embedded sequence came from: remembered beside the tensor, as Keras remembers masks."""

from __future__ import annotations

import weakref
from typing import Any, NamedTuple

_ATTRIBUTE = "_stepfold_tokens"


class Tokens(NamedTuple):
    """The ids (batch, time) and the table (vocabulary_size, features) that a tensor is rows of."""

    ids: Any
    table: Any
    version: int | None


_beside: dict[int, Tokens] = {}


def remember(tensor: Any, ids: Any, table: Any) -> None:
    """Note that `tensor` is `table[ids]`; what is computed from it is another tensor, without the note."""
    tokens = Tokens(ids, table, _version(tensor))
    try:
        setattr(tensor, _ATTRIBUTE, tokens)
    except AttributeError:  # tensors with slots
        _beside[id(tensor)] = tokens
        weakref.finalize(tensor, _beside.pop, id(tensor), None)


def tokens_of(tensor: Any) -> Tokens | None:
    """Return what `remember` noted, None if nothing was or the tensor was changed in place since then."""
    found: Tokens | None = getattr(tensor, _ATTRIBUTE, None) or _beside.get(id(tensor))
    return found if found is not None and found.version == _version(tensor) else None


def _version(tensor: Any) -> int | None:
    """PyTorch counts changes in place; JAX's arrays never change."""
    return getattr(tensor, "_version", None)

"""What an embedded sequence came from."""

from __future__ import annotations

from typing import Any, NamedTuple


class Tokens(NamedTuple):
    """The ids (batch, time) and the table (vocabulary_size, features) that a tensor is rows of; to them side
    features (batch, time, side) are appended, if there are any."""

    ids: Any
    table: Any
    side: Any = None

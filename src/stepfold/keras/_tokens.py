"""What an embedded sequence came from, and what the scan of a backend is called with."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any, NamedTuple

is_training: ContextVar[bool] = ContextVar("is_training", default=False)
"""Whether the call under way is one of training, after which gradients are likely."""


class Tokens(NamedTuple):
    """The ids (batch, time) and the table (vocabulary_size, features) that a tensor is rows of; to them side
    features (batch, time, side) are appended, if there are any."""

    ids: Any
    table: Any
    side: Any = None


class Operands(NamedTuple):
    """What a recipe is run on; what is not there is None.

    `inputs` (batch, time, features), with `tokens` (batch, time) the table (vocabulary_size, features), to
    whose rows `side` (batch, time, side) is appended; `named` (batch, time, …) the inputs with a name; `mask`
    (batch, time) of booleans; `initial` one (batch, units), or as its axes say, a state; the `extra` leaves
    in the recipe's order; the layer's `weights`.
    """

    inputs: Any
    tokens: Any
    side: Any
    named: tuple[Any, ...]
    mask: Any
    initial: tuple[Any, ...]
    extra: tuple[Any, ...]
    weights: tuple[Any, ...]

    @property
    def by_step(self) -> Any:
        """An operand whose first axes are (batch, time)."""
        return next(value for value in (self.tokens, self.inputs, *self.named) if value is not None)

    @property
    def dtype(self) -> Any:
        """The dtype of all floating-point operands."""
        return next(value for value in (self.inputs, *self.named) if value is not None).dtype

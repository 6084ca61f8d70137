"""A row of the table of operations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ._graph import Dims, Node

Cotangents = tuple[Node | None, ...]
Rule = Callable[[Node, Node], Cotangents]


@dataclass(frozen=True)
class Operation:
    """A row of the table.

    `dims` returns the result's axes from the inputs' (ValueError where they do not fit), `numpy` is the NumPy
    implementation on arrays whose last axes are the value's, `derivative` returns the cotangents of the
    inputs from (node, cotangent), `llvm` is the LLVM lowering (None for products and reductions, which are
    loops over units rather than instructions), `onnx` is the ONNX lowering (from a builder and the names of
    the inputs to the name of the result), `text` and `latex` are the printed forms. `save`: the forward pass
    saves the value as a residual where the backward pass needs it; otherwise it is recomputed.
    """

    dims: Callable[..., Dims]
    numpy: Callable[..., Any]
    derivative: Rule
    llvm: Callable[..., Any] | None
    onnx: Callable[..., Any]
    text: str
    latex: str
    save: bool = False
    boolean: bool = False

    @property
    def arity(self) -> int:
        """The number of inputs."""
        return self.text.count("{}")

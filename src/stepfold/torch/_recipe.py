"""A cell as the operator takes it: one text that says which maths, how many units, and where each parameter
lies."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .._graph import UNITS
from .._scan import KEPT_FORM
from .._step import Step

Part = tuple[int, int | None]
"""A tensor's number and its block of `units` rows; None for the whole tensor."""


class Recipe:
    """A step, its number of units, and for each of its parameters the parts of tensors that are added up to
    it.

    A fused weight such as `weight_ih_l0` (4 * units, features) is four blocks, handed to the kernel as views;
    a bias that PyTorch keeps twice is a parameter with two parts; a bias that was switched off has none, and
    is zero. The layout covers every tensor whole. `text` says all of it, so that it can travel in a traced or
    exported graph.
    """

    def __init__(self, step: Step, units: int, layout: Mapping[str, Sequence[Part]]) -> None:
        self.step, self.units = step, units
        self.layout = {name: tuple(parts) for name, parts in layout.items()}
        # PyTorch's compiler keeps sizes on disk by this text, also those of what is kept for the way back
        told = {"units": units, "kept": KEPT_FORM, "layout": self.layout, "cell": json.loads(step.to_json())}
        self.text = json.dumps(told)
        self.extra = [("row_input", n) for n in step.leaves("row_input")]
        self.extra += [("step_input", n) for n in step.leaves("step_input")]

    @classmethod
    def of(cls, step: Step, units: int) -> Recipe:
        """Return the recipe whose tensors are the step's parameters themselves, in the step's order."""
        return _own_layout(step, units)

    @classmethod
    def from_text(cls, text: str) -> Recipe:
        """Return the recipe that `text` says; ValueError if it says none."""
        return _read(text)

    def __reduce__(self) -> tuple[Callable[[str], Recipe], tuple[str]]:
        return Recipe.from_text, (self.text,)

    def pieces(self, tensors: Sequence[Any], name: str) -> list[Any]:
        """The parts of one parameter, as views of tensors or arrays."""
        return [
            tensors[i] if block is None else tensors[i][block * self.units : (block + 1) * self.units]
            for i, block in self.layout[name]
        ]

    def parameters(self, tensors: Sequence[Any], zeros: Callable[[], Any]) -> dict[str, Any]:
        """Return name → value for every parameter; `zeros` makes the vector of one that was switched off."""
        values = {}
        for name, dims in self.step.parameters.items():
            pieces = self.pieces(tensors, name)
            if not pieces and dims != UNITS:
                raise ValueError(f"parameter {name!r} has no tensor")
            values[name] = functools.reduce(lambda a, b: a + b, pieces) if pieces else zeros()
        return values


@functools.lru_cache(maxsize=256)
def _own_layout(step: Step, units: int) -> Recipe:
    return Recipe(step, units, {name: [(i, None)] for i, name in enumerate(step.parameters)})


@functools.lru_cache(maxsize=256)
def _read(text: str) -> Recipe:
    data = json.loads(text)
    layout = {
        name: [(int(i), None if block is None else int(block)) for i, block in parts]
        for name, parts in data["layout"].items()
    }
    return Recipe(Step.from_json(json.dumps(data["cell"])), int(data["units"]), layout)

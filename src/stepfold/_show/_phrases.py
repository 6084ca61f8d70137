"""How a node is read aloud: as its own operation, or as a longer word (mean, layer_norm, silu, …)."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from .. import _words
from .._graph import SCALAR, UNITS, Node, in_order, leaf
from .._ops import TABLE
from .._trace import Traced


@dataclass(frozen=True)
class Reading:
    """How one node is printed: templates for text and LaTeX, and the nodes that stand in their places."""

    text: str
    latex: str
    inputs: tuple[Node, ...]
    phrase: Phrase | None = None


@dataclass(frozen=True, eq=False)
class Phrase:
    """A word that is no operation of the table: its templates, and the function that writes it."""

    text: str
    latex: str
    function: Callable[..., Any]
    explain: bool = True

    @property
    def word(self) -> str:
        """The word itself."""
        return self.text.partition("(")[0]

    @functools.cached_property
    def names(self) -> list[str]:
        """The names of the function's arguments."""
        names = list(inspect.signature(self.function).parameters)[: self.text.count("{}")]
        return ["v" if name == "x" else name for name in names]  # x is the input of the step

    @functools.cached_property
    def places(self) -> list[Node]:
        """The leaves that stand for the arguments in the pattern."""
        return [leaf("state", name) for name in self.names]

    @functools.cached_property
    def pattern(self) -> Node:
        """The graph of the word on its places."""
        written: Node = self.function(*map(Traced, self.places)).node
        return written

    def match(self, node: Node) -> tuple[Node, ...] | None:
        """Return what stands in the places if the node is this word, None if it is not."""
        found: dict[int, Node] = {}
        if _unify(self.pattern, node, {id(p) for p in self.places}, found):
            return tuple(found[id(p)] for p in self.places)
        return None


def _unify(pattern: Node, node: Node, places: set[int], found: dict[int, Node]) -> bool:
    if id(pattern) in places:
        return found.setdefault(id(pattern), node) is node
    if (pattern.op, pattern.attributes, len(pattern.inputs)) != (node.op, node.attributes, len(node.inputs)):
        return False
    return all(_unify(p, n, places, found) for p, n in zip(pattern.inputs, node.inputs, strict=True))


def _layer_norm(v: Any, gain: Any, bias: Any, epsilon: Any) -> Any:
    return _words.layer_norm(v, gain, bias, epsilon=epsilon)


def _layer_norm_without_bias(v: Any, gain: Any, epsilon: Any) -> Any:
    return _words.layer_norm(v, gain, epsilon=epsilon)


def _square(v: Any) -> Any:
    return v * v


def _function(name: str, latex: str = "", arguments: int = 1) -> Phrase:
    places = ", ".join(["{}"] * arguments)
    said = latex or rf"\text{{{{{name}}}}}"
    return Phrase(f"{name}({places})", f"{said}({places})".replace("_", r"\_"), getattr(_words, name))


PHRASES = (
    Phrase("layer_norm({}, {}, {}, {})", r"\text{{layer\_norm}}({}, {}, {}, {})", _layer_norm),
    Phrase("layer_norm({}, {}, 0, {})", r"\text{{layer\_norm}}({}, {}, 0, {})", _layer_norm_without_bias),
    _function("softmax"),
    _function("hard_sigmoid"),
    _function("gelu"),
    _function("silu"),
    _function("softsign"),
    _function("elu"),
    Phrase("clip({}, {}, {})", r"\text{{clip}}({}, {}, {})", _words.clip),
    Phrase("mean({})", r"\text{{mean}}({})", _words.mean, explain=False),
    Phrase("{}**2", "{}^2", _square, explain=False),
)


def _is_spread(node: Node) -> bool:
    """Whether this only makes a number a row into units, which needs no sign."""
    if node.op != "multiply":
        return False
    number, ones = node.inputs
    return number.dims == SCALAR and (ones.op, ones.attributes, ones.dims) == ("constant", (1.0,), UNITS)


class Reader:
    """Reads nodes, each once. `phrases` are the longer words that it looks for, the longest first."""

    def __init__(self, phrases: tuple[Phrase, ...] = PHRASES) -> None:
        self.phrases = phrases
        self._known: dict[int, tuple[Node, Reading]] = {}

    def read(self, node: Node) -> Reading:
        """Return how a node that is no leaf is printed."""
        if id(node) not in self._known:
            self._known[id(node)] = node, self._read(node)
        return self._known[id(node)][1]

    def _read(self, node: Node) -> Reading:
        if _is_spread(node) and node.inputs[0].inputs:
            return self.read(node.inputs[0])
        for phrase in self.phrases:
            inputs = phrase.match(node)
            if inputs is not None:
                return Reading(phrase.text, phrase.latex, inputs, phrase)
        row = TABLE[node.op]
        return Reading(row.text, row.latex, node.inputs)

    def inputs(self, node: Node) -> tuple[Node, ...]:
        """Return the nodes that are printed inside this one."""
        return self.read(node).inputs if node.inputs else ()

    def in_order(self, outputs: Iterable[Node]) -> list[Node]:
        """Return every node that is printed, each after those printed inside it."""
        return in_order(outputs, self.inputs)

"""How a node is printed: as its own operation, or as a function of several (mean, layer_norm, silu, …)."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from .. import _language
from .._axes import summed
from .._graph import SCALAR, Node, leaf, topological_order
from .._moves import BLOCKS, WINDOWS
from .._ops import TABLE
from .._trace import Traced


@dataclass(frozen=True)
class Form:
    """How one node is printed: templates for text and LaTeX, and the nodes that they are filled with."""

    text: str
    latex: str
    inputs: tuple[Node, ...]
    pattern: Pattern | None = None


@dataclass(frozen=True, eq=False)
class Pattern:
    """A function made of several operations: its templates, and the Python function to trace."""

    text: str
    latex: str
    function: Callable[..., Any]
    explain: bool = True

    @property
    def name(self) -> str:
        """The function's name."""
        return self.text.partition("(")[0]

    @functools.cached_property
    def arguments(self) -> list[Node]:
        """The leaves that are the arguments in the graph."""
        names = list(inspect.signature(self.function).parameters)[: self.text.count("{}")]
        return [leaf("state", "v" if name == "x" else name) for name in names]  # x is the input of the step

    @functools.cached_property
    def graph(self) -> Node:
        """The graph of the function applied to its arguments."""
        traced: Node = self.function(*map(Traced, self.arguments)).node
        return traced

    def match(self, node: Node) -> tuple[Node, ...] | None:
        """Return the arguments if the node is this function of them, else None."""
        found: dict[int, Node] = {}
        if _unify(self.graph, node, {id(a) for a in self.arguments}, found):
            return tuple(found[id(a)] for a in self.arguments)
        return None


def _unify(pattern: Node, node: Node, arguments: set[int], found: dict[int, Node]) -> bool:
    """Whether the node has the pattern's graph; recursive, but no deeper than the pattern."""
    if id(pattern) in arguments:
        return found.setdefault(id(pattern), node) is node
    if (pattern.op, pattern.attributes, len(pattern.inputs)) != (node.op, node.attributes, len(node.inputs)):
        return False
    return all(_unify(p, n, arguments, found) for p, n in zip(pattern.inputs, node.inputs, strict=True))


def _layer_norm(v: Any, gain: Any, bias: Any, epsilon: Any) -> Any:
    return _language.layer_norm(v, gain, bias, epsilon=epsilon)


def _layer_norm_without_bias(v: Any, gain: Any, epsilon: Any) -> Any:
    return _language.layer_norm(v, gain, epsilon=epsilon)


def _square(v: Any) -> Any:
    return v * v


def _function(name: str) -> Pattern:
    latex = rf"\text{{{{{name}}}}}({{}})".replace("_", r"\_")
    return Pattern(f"{name}({{}})", latex, getattr(_language, name))


PATTERNS = (
    Pattern("layer_norm({}, {}, {}, {})", r"\text{{layer\_norm}}({}, {}, {}, {})", _layer_norm),
    Pattern("layer_norm({}, {}, 0, {})", r"\text{{layer\_norm}}({}, {}, 0, {})", _layer_norm_without_bias),
    _function("softmax"),
    _function("hard_sigmoid"),
    _function("gelu"),
    _function("silu"),
    _function("softsign"),
    _function("elu"),
    Pattern("clip({}, {}, {})", r"\text{{clip}}({}, {}, {})", _language.clip),
    Pattern("mean({})", r"\text{{mean}}({})", _language.mean, explain=False),
    Pattern("{}**2", "{}^2", _square, explain=False),
)


def _is_broadcast(node: Node) -> bool:
    """Whether this only broadcasts a per-row scalar over the units, which is not printed."""
    if node.op != "multiply":
        return False
    scalar, ones = node.inputs
    return (
        scalar.dims == SCALAR and (ones.op, ones.attributes) == ("constant", (1.0,)) and ones.dims != SCALAR
    )


def _window(node: Node) -> Form:
    """A part as `part(v, begin:end)`; padding says where the vector lies, another axis its name."""
    vector, by = node.inputs
    if node.op in BLOCKS:
        called, many = node.op.replace("_", r"\_"), by.attributes[0]
        return Form(f"{node.op}({{}}, {many})", rf"\text{{{{{called}}}}}({{}}, {many})", (vector,))
    begin, axis = str(by.attributes[0]), node.dims[0]
    inner = axis if node.op == "part" else vector.dims[0]
    where = axis if node.op == "rename" else f"{begin}:{summed(begin, inner)}"
    return Form(
        f"{node.op}({{}}, {where})", rf"\text{{{{{node.op}}}}}({{}}, \text{{{{{where}}}}})", (vector,)
    )


class Matcher:
    """Finds the form of each node, once. `patterns`: the functions to look for, the largest first."""

    def __init__(self, patterns: tuple[Pattern, ...] = PATTERNS) -> None:
        self.patterns = patterns
        self._forms: dict[int, tuple[Node, Form]] = {}

    def form(self, node: Node) -> Form:
        """Return how a node that is not a leaf is printed."""
        if id(node) not in self._forms:
            self._forms[id(node)] = node, self._match(node)
        return self._forms[id(node)][1]

    def _match(self, node: Node) -> Form:
        if _is_broadcast(node) and node.inputs[0].inputs:
            return self.form(node.inputs[0])
        if node.op == "sum" and node.inputs[0].dims == ("1",):  # the one element of a vector
            return Form("{}", "{}", node.inputs)
        for pattern in self.patterns:
            inputs = pattern.match(node)
            if inputs is not None:
                return Form(pattern.text, pattern.latex, inputs, pattern)
        if node.op in WINDOWS:
            return _window(node)
        row = TABLE[node.op]
        return Form(row.text, row.latex, node.inputs)

    def inputs(self, node: Node) -> tuple[Node, ...]:
        """Return the nodes that are printed inside this one."""
        return self.form(node).inputs if node.inputs else ()

    def topological_order(self, outputs: Iterable[Node]) -> list[Node]:
        """Return every node that is printed, each after those printed inside it."""
        return topological_order(outputs, self.inputs)

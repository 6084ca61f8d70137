"""Nodes as text and as LaTeX, with no more parentheses than needed."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from .._graph import SCALAR, Node
from .._lookups import Lookup
from ._names import Names
from ._patterns import Matcher

Style = Literal["text", "latex"]

_COMPARISON, _OR, _AND, _SUM, _MINUS, _TIMES, _POWER, _ATOM = range(8)
_PRECEDENCE: dict[str, tuple[int, tuple[int, ...]]] = {
    "{} + {}": (_SUM, (_SUM, _SUM)),
    "{} - {}": (_SUM, (_SUM, _MINUS)),
    "-{}": (_MINUS, (_TIMES,)),
    "{} * {}": (_TIMES, (_TIMES, _TIMES)),
    "{} / {}": (_TIMES, (_TIMES, _POWER)),
    "{} @ {}": (_TIMES, (_ATOM, _ATOM)),
    "{}.T @ {}": (_TIMES, (_ATOM, _ATOM)),
    "{}**2": (_POWER, (_ATOM,)),
    "{} | {}": (_OR, (_OR, _AND)),
    "{} & {}": (_AND, (_AND, _SUM)),
    "~{}": (_MINUS, (_POWER,)),
    **{f"{{}} {symbol} {{}}": (_COMPARISON, (_SUM, _SUM)) for symbol in ("<", "<=", ">", ">=", "==", "!=")},
}
"""Operator precedence: that of an infix operation, and the least that each operand needs without parentheses.
A function call, f(…), needs no row: it is an atom with any operands."""


@dataclass(frozen=True)
class Printer:
    """Writes nodes; a node in `names` is written as its name. Recursive: `names` bounds the depth.

    `timed`: in LaTeX, values have their timestep as an index. `own`: what the input without a name is called.
    """

    matcher: Matcher
    names: Names
    style: Style = "text"
    timed: bool = True
    own: str = "x"

    def leaf(self, node: Node) -> str:
        """Write a leaf."""
        if node.op == "constant":
            return _number(float(node.attributes[0]), self.style)
        if node.op == "offset":
            return str(node.attributes[0])
        if node.op == "input":
            return self.name(str(node.attributes[0]) if node.attributes else self.own)
        if node.op == "noise":
            kind, value, _ = node.attributes
            return f"dropout({value:g})" if kind == "dropout" else f"normal({value:g})"
        name = str(node.attributes[0])
        if self.style == "latex":
            return latex_name(name, "t-1" if node.op == "state" and self.timed else "")
        return f"d_{name}'" if node.op == "cotangent" else name

    def name(self, name: str) -> str:
        """Write the name of a value."""
        if self.style == "text":
            return name
        time, row = "t" if self.timed else "", Lookup.read(name)
        if row is None:
            return latex_name(name, time)
        return f"{latex_name(row.table, '')}[{latex_name(row.integer, time)}]"

    def inside(self, node: Node) -> str:
        """Write a node's operation, even if the node has a name."""
        return self._operation(node)[0] if node.inputs else self.leaf(node)

    def __call__(self, node: Node) -> str:
        """Write a node."""
        return self._written(node)[0]

    def _written(self, node: Node) -> tuple[str, int]:
        if id(node) in self.names:
            return self.name(self.names[id(node)]), _ATOM
        if not node.inputs:
            text = self.leaf(node)
            return text, _MINUS if text.startswith("-") else _TIMES if r"\cdot" in text else _ATOM
        return self._operation(node)

    def _operation(self, node: Node) -> tuple[str, int]:
        form = self.matcher.form(node)
        precedence, needs = _PRECEDENCE.get(form.text, (_ATOM, ()))
        template = form.text if self.style == "text" else form.latex
        if self.style == "latex":
            if form.text == "{} * {}" and any(i.dims == SCALAR for i in form.inputs):
                template = r"{} \, {}"
            if template.startswith((r"\frac", r"\sqrt")):
                precedence, needs = _ATOM, ()
        parts = []
        for position, i in enumerate(form.inputs):
            text, own = self._written(i)
            need = needs[position] if needs else _COMPARISON
            # W @ h * r is legal, but hard to read
            product = (
                need == _TIMES
                and i.op.startswith("matmul")
                and id(i) not in self.names
                and self.style == "text"
            )
            parts.append(f"({text})" if own < need or product else text)
        return template.format(*parts), precedence


def _number(value: float, style: Style) -> str:
    text = f"{value:.6g}"
    digits, _, exponent = text.partition("e")
    if style == "text" or not exponent:
        return text
    power = f"10^{{{int(exponent)}}}"
    return f"{digits.removesuffix('1')}{power}" if digits in ("1", "-1") else rf"{digits} \cdot {power}"


_GREEK = {
    "alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "kappa", "lambda",
    "mu", "nu", "xi", "rho", "sigma", "tau", "phi", "chi", "psi", "omega",
}  # fmt: skip


def latex_name(name: str, time: str) -> str:
    """Write a name in LaTeX, the timestep below it: c~ → \\tilde{c}_t, W_i → W_i, i1 → i^{(1)}_t."""
    match = re.fullmatch(r"(\w*?[A-Za-z](?:_\d+)?)(\d*)(~?)('?)", name)
    if match is None:
        return rf"\text{{{name.replace('_', chr(92) + '_')}}}"
    word, digits, tilde, _ = match.groups()
    head, _, index = word.partition("_")
    head = rf"\{head}" if head in _GREEK else head if len(head) == 1 else rf"\text{{{head}}}"
    if tilde:
        head = rf"\tilde{{{head}}}"
    if digits:
        head += f"^{{({digits})}}"
    below = ", ".join(part for part in (index if len(index) < 2 else rf"\text{{{index}}}", time) if part)
    return f"{head}_{{{below}}}" if len(below) > 1 else f"{head}_{below}" if below else head

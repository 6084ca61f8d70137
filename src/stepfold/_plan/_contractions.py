"""Simpler walks over matrices: what is the same for a whole row or column of a matrix is multiplied with the
sum along it, not with each element."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

from .._graph import SCALAR, Node, node, topological_order
from .._ops import TABLE, apply
from ._lower import Place

CONTRACTIONS = ("matvec", "matvec_transposed")
"""Products of a row's own matrices with vectors."""

_SUMS = ("add", "subtract")
_DEEPEST = 8  # sums in sums, multiples of multiples

Targets = list[tuple[Node, Place]]


def contracted(targets: Sequence[tuple[Node, Place]], made_of: Mapping[Node, Node] | None = None) -> Targets:
    """Rewrite the products of matrices with vectors that targets need; `made_of`: of matrices in memory what
    they are made of, where products with that are to be taken."""
    nodes = topological_order(target for target, _ in targets)
    users = _users(nodes)
    stored = {n for n, _ in targets}
    known: dict[Node, Node] = {}
    order = {n: at for at, n in enumerate(nodes)}
    sums: dict[Node, list[Node]] = defaultdict(list)  # of a rewritten sum those that it stands for
    for n in nodes:
        inputs = tuple(known[i] for i in n.inputs)
        if n.op in CONTRACTIONS:
            matrix, vector = inputs

            def walked(new: Node, n: Node = n) -> bool:
                """Whether a sum is computed in a walk that need not come after the product."""
                return any(
                    m in stored or not all(_needs(user, n, order) for user in users[m])
                    for m in sums.get(new, ())
                )

            known[n] = _contracted(n.op, (made_of or {}).get(matrix, matrix), vector, walked)
        elif n.op == "multiply" and len(n.dims) == 2:
            known[n] = _multiplied(*inputs)
        else:
            known[n] = n if inputs == n.inputs else node(n.op, inputs, n.attributes, n.dims, n.boolean)
        if n.op in _SUMS and len(n.dims) == 2:
            sums[known[n]].append(n)
    return [(known[n], place) for n, place in targets]


def _users(nodes: Sequence[Node]) -> dict[Node, list[Node]]:
    """What takes each node's elements: not what takes the products of a matrix with a vector."""
    found: dict[Node, list[Node]] = {n: [] for n in nodes}
    for n in nodes:
        for at, i in enumerate(n.inputs):
            if n.op not in CONTRACTIONS or at:
                found[i].append(n)
    return found


def _needs(n: Node, value: Node, order: Mapping[Node, int]) -> bool:
    """Whether a value is needed before a node can be computed; `order`: each node behind its inputs."""
    seen: set[Node] = set()
    waiting = [n]
    while waiting:
        here = waiting.pop()
        if here is value:
            return True
        inputs = here.inputs[1:] if here.op in CONTRACTIONS else here.inputs
        new = {i for i in inputs if order[i] >= order[value]} - seen
        seen |= new
        waiting += new
    return False


def _contracted(op: str, matrix: Node, vector: Node, walked: Callable[[Node], bool], depth: int = 0) -> Node:
    """`(s * A) @ x` is `s * (A @ x)`, and `(outer(a, b) * A) @ x` is `a * (A @ (b * x))`; a sum's products
    are those of its terms, unless it is computed in a walk beside them anyway (`walked`)."""
    if depth == _DEEPEST:
        return apply(op, matrix, vector)
    if matrix.op == "multiply":
        for a, b in (matrix.inputs, matrix.inputs[::-1]):
            if b.dims == SCALAR:
                return apply("multiply", _contracted(op, a, vector, walked, depth + 1), b)
            if b.op == "outer" and len(a.dims) == 2:
                outside, inside = b.inputs if op == "matvec" else b.inputs[::-1]
                inner = _contracted(op, a, apply("multiply", inside, vector), walked, depth + 1)
                return apply("multiply", inner, outside)
    if matrix.op in _SUMS and not walked(matrix) and all(len(i.dims) == 2 for i in matrix.inputs):
        return apply(matrix.op, *(_contracted(op, i, vector, walked, depth + 1) for i in matrix.inputs))
    if matrix.op == "outer":
        outside, inside = matrix.inputs if op == "matvec" else matrix.inputs[::-1]
        return apply("multiply", outside, apply("sum", apply("multiply", inside, vector)))
    return apply(op, matrix, vector)


def _multiplied(a: Node, b: Node) -> Node:
    """`s * outer(a, b)` is `outer(s * a, b)`."""
    for matrix, scalar in ((a, b), (b, a)):
        if scalar.dims == SCALAR and matrix.op == "outer":
            left, right = matrix.inputs
            return apply("outer", apply("multiply", left, scalar), right)
    return apply("multiply", a, b)


def unfolded(targets: Sequence[tuple[Node, Place]], made_of: Mapping[Node, Node]) -> dict[Node, Node]:
    """Those of some matrices in memory, and what they are made of, that need not be read: products with
    vectors are all that targets take of them, and products with the parts are taken of matrices that are
    read anyway."""
    nodes = topological_order(n for n, _ in targets)
    uses = [(n, i) for n in nodes for at, i in enumerate(n.inputs) if not (n.op in CONTRACTIONS and at == 0)]
    read = {i for _, i in uses} | {n for n, _ in targets}
    whole = {n.inputs[0] for n in nodes if n.op in CONTRACTIONS} | read

    def parts(n: Node, depth: int = 0) -> bool:
        """Whether a matrix is a sum of outer products and of multiples of matrices that are read."""
        if n.op in (*_SUMS, "multiply") and depth < _DEEPEST:
            a, b = n.inputs
            if n.op in _SUMS:
                return parts(a, depth + 1) and parts(b, depth + 1)
            pairs = ((a, b), (b, a))
            return any((y.dims == SCALAR or y.op == "outer") and parts(x, depth + 1) for x, y in pairs)
        return n.op == "outer" or (n.op == "place" and len(n.dims) == 2 and n in whole)

    return {n: made for n, made in made_of.items() if n not in read and parts(made)}


def recomputable(n: Node, known: Callable[[Node], bool]) -> bool:
    """Whether a value can be computed again from those that are known, without products of parameters,
    reductions and transcendental functions."""

    def found(i: Node) -> bool:
        plain = bool(i.inputs) and i.op in TABLE and not TABLE[i.op].save
        return known(i) or i.op in ("constant", "size") or plain

    return all(map(found, topological_order([n], lambda i: () if known(i) else i.inputs)))

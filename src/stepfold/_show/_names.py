"""Names for the values of a step, from those of its parameters: W_i, U_i and b_i belong to the gate i."""

from __future__ import annotations

import heapq
import re
from collections import Counter
from collections.abc import Iterable, Sequence

from .._graph import Node, topological_order
from .._ops import PRODUCTS
from .._step import Step
from ._dominators import PostDominators
from ._patterns import Matcher

Names = dict[int, str]
_CONSTANT = ("constant", "size", "offset")
_MAX_SHARED = 12
"""The length, in operands and operators, from which a shared value gets a name."""
_MAX_DEPTH = 40
"""The depth of operations in one equation from which an inner value gets a name."""


def suffixes(parameters: Iterable[str]) -> dict[str, str]:
    """Return the gate in each parameter's name: `W_i` → i, `Wi` → i, `W` → "" (no gate)."""
    found = {}
    for name in parameters:
        head, _, rest = name.partition("_")
        camel = re.fullmatch(r"[A-Z]([a-z]\w*)", name)
        if rest:
            found[name] = rest
        elif camel:
            found[name] = camel[1]
        elif len(head) == 1:
            found[name] = ""
    gates = set(found.values())
    found.update({n: n[1:] for n in parameters if n not in found and n[1:] in gates})
    return found


def gates(step: Step, matcher: Matcher) -> dict[str, Node]:
    """Return the value of each gate, gate → node.

    It is the common post-dominator of the gate's parameters, extended by functions of it alone (its
    activation).
    """
    order = matcher.topological_order(step.outputs)
    dominators = PostDominators(order, step.outputs, matcher.inputs)
    groups: dict[str, list[Node]] = {}
    gate_of = suffixes(step.parameters)
    for n in order:
        if n.op == "parameter" and str(n.attributes[0]) in gate_of:
            groups.setdefault(gate_of[str(n.attributes[0])], []).append(n)
    found = {}
    for gate, parameters in groups.items():
        node = dominators.common(parameters)
        while node is not None and (wider := dominators.immediate(node)) is not None:
            if not _depends_only(wider, node, parameters, matcher):
                break
            node = wider
        if node is not None and node.inputs and node.op not in PRODUCTS:
            found[gate] = node
    return found


def _depends_only(wider: Node, node: Node, parameters: Sequence[Node], matcher: Matcher) -> bool:
    """Whether `wider` is computed from `node`, constants and these parameters alone."""
    allowed = {id(node), *map(id, parameters)}
    stack = [wider]
    while stack:
        n = stack.pop()
        if id(n) in allowed or n.op in _CONSTANT:
            continue
        if not n.inputs:
            return False
        stack.extend(matcher.inputs(n))
    return True


def forward_names(step: Step, matcher: Matcher) -> tuple[Names, dict[str, Node]]:
    """Return the names of the step's values, and the named ones in the order to print them: name → node.

    New states are h', c'; gates are named by their parameters' suffix (with ~ where a state has that name: c~
    is the candidate for c); i1, i2 are long or shared values of a gate i; v1, v2 are other such values.
    """
    names: Names = {}
    taken = {"x", *step.inputs, *step.states, *step.parameters}
    for state, n in zip(step.states, step.outputs, strict=True):
        if n.inputs:
            names.setdefault(id(n), f"{state}'")
    for gate, n in gates(step, matcher).items():
        name = gate if not gate[:1].isdigit() else f"g{gate}"
        if gate and id(n) not in names:
            names[id(n)] = name if name not in taken else f"{name}~"
            taken.add(names[id(n)])
    name_shared(step.outputs, names, taken, matcher, owners(step, names, matcher))
    return names, _as_declared(step, names, matcher)


def named_values(step: Step) -> dict[str, Node]:
    """Return the values that have a name in the equations, in their order: name → node."""
    return forward_names(step, Matcher())[1]


def _as_declared(step: Step, names: Names, matcher: Matcher) -> dict[str, Node]:
    """The named values, each after those it needs, otherwise in the order of their parameters."""
    rank = {name: k for k, name in enumerate(step.parameters)}
    named = [n for n in matcher.topological_order(step.outputs) if id(n) in names]
    users: dict[str, list[int]] = {}
    missing: list[int] = []
    ready: list[tuple[int, int]] = []
    ranks: list[int] = []
    for k, n in enumerate(named):
        inside = within(n, names, matcher)
        needs = {names[id(i)] for i in inside if id(i) in names}
        for name in needs:
            users.setdefault(name, []).append(k)
        missing.append(len(needs))
        parameters = [rank[str(i.attributes[0])] for i in inside if i.op == "parameter"]
        ranks.append(min(parameters, default=len(rank)))
        if not needs:
            ready.append((ranks[k], k))
    heapq.heapify(ready)
    ordered: dict[str, Node] = {}
    while ready:
        _, first = heapq.heappop(ready)
        name = names[id(named[first])]
        ordered[name] = named[first]
        for k in users.get(name, ()):
            missing[k] -= 1
            if not missing[k]:
                heapq.heappush(ready, (ranks[k], k))
    return ordered


def within(node: Node, names: Names, matcher: Matcher) -> list[Node]:
    """Return the leaves and named values in the equation of a node, in the order of printing."""
    found: dict[int, Node] = {}
    stack = list(reversed(matcher.inputs(node)))
    while stack:
        n = stack.pop()
        if id(n) in names or not n.inputs:
            found[id(n)] = n
        else:
            stack.extend(reversed(matcher.inputs(n)))
    return list(found.values())


def owners(step: Step, names: Names, matcher: Matcher) -> Names:
    """Return, for each value that contributes to one gate alone, that gate's name."""
    owner: Names = {}
    # by operations, not by patterns: a value inside a layer_norm has an owner too
    for n in reversed(topological_order(step.outputs)):
        mine = names.get(id(n), owner.get(id(n), ""))
        mine = "" if "'" in mine else mine.rstrip("~")
        for i in n.inputs:
            owner[id(i)] = mine if owner.get(id(i), mine) == mine else ""
    return {key: name for key, name in owner.items() if name}


def name_shared(
    outputs: Sequence[Node],
    names: Names,
    taken: set[str],
    matcher: Matcher,
    owner: Names,
) -> None:
    """Name shared values that are too long to be written twice, and values inside too deep an equation."""
    order = matcher.topological_order(outputs)
    uses = Counter(id(i) for n in order for i in matcher.inputs(n))
    uses.update(id(n) for n in outputs)
    length: dict[int, int] = {}
    depth: dict[int, int] = {}
    counts: Counter[str] = Counter()
    for n in order:
        inputs = matcher.inputs(n)
        length[id(n)] = 3 + sum(length[id(i)] + 2 for i in inputs)
        depth[id(n)] = 1 + max((depth[id(i)] for i in inputs), default=0)
        shared = uses[id(n)] > 1 and length[id(n)] > _MAX_SHARED
        if n.inputs and id(n) not in names and (shared or depth[id(n)] > _MAX_DEPTH):
            start = owner.get(id(n), "v")
            while True:
                counts[start] += 1
                name = f"{start}{counts[start]}"
                if name not in taken:
                    break
            names[id(n)] = name
            taken.add(name)
        if id(n) in names or not n.inputs:
            length[id(n)], depth[id(n)] = 1, 0

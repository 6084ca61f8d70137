"""Names for the values of a step, from its parameters' names: what W_i, U_i and b_i make is the gate i."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

from .._graph import Node, in_order
from .._ops import PRODUCTS
from .._step import Step
from ._phrases import Reader

Names = dict[int, str]
_CONSTANT = ("constant", "size")
_SHORT = 12


def suffixes(parameters: Iterable[str]) -> dict[str, str]:
    """Return the gate that each parameter's name speaks of: `W_i` → i, `Wi` → i, `W` → "" (no gate)."""
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


def gates(step: Step, reader: Reader) -> dict[str, Node]:
    """Return what each group of parameters makes, gate → node.

    It is the first value through which everything passes that the group's parameters do, and then the
    functions of it alone (its activation).
    """
    order = reader.in_order(step.outputs)
    after = _must_pass(order, step.outputs, reader)
    groups: dict[str, list[Node]] = {}
    gate_of = suffixes(step.parameters)
    for n in order:
        if n.op == "parameter" and str(n.attributes[0]) in gate_of:
            groups.setdefault(gate_of[str(n.attributes[0])], []).append(n)
    found = {}
    for gate, parameters in groups.items():
        node = _meeting(parameters, after)
        while node is not None and (wider := after[id(node)]) is not None:
            if not _made_of(wider, node, parameters, reader):
                break
            node = wider
        if node is not None and node.inputs and node.op not in PRODUCTS:
            found[gate] = node
    return found


def _must_pass(order: Sequence[Node], outputs: Sequence[Node], reader: Reader) -> dict[int, Node | None]:
    """For each node the next that lies on every way from it to the outputs (None: there is no such one)."""
    users: dict[int, list[Node | None]] = {id(n): [] for n in order}
    for n in order:
        for i in reader.inputs(n):
            users[id(i)].append(n)
    for n in outputs:
        users[id(n)].append(None)
    after: dict[int, Node | None] = {}
    for n in reversed(order):
        first, *rest = users[id(n)]
        for user in rest:
            first = _common(first, user, after)
        after[id(n)] = first
    return after


def _chain(node: Node | None, after: dict[int, Node | None]) -> list[Node]:
    chain = []
    while node is not None:
        chain.append(node)
        node = after[id(node)]
    return chain


def _common(a: Node | None, b: Node | None, after: dict[int, Node | None]) -> Node | None:
    of_b = {id(n) for n in _chain(b, after)}
    return next((n for n in _chain(a, after) if id(n) in of_b), None)


def _meeting(nodes: Sequence[Node], after: dict[int, Node | None]) -> Node | None:
    first: Node | None = nodes[0]
    for n in nodes[1:]:
        first = _common(first, n, after)
    return first


def _made_of(wider: Node, node: Node, parameters: Sequence[Node], reader: Reader) -> bool:
    """Whether `wider` is computed from `node`, numbers and these parameters alone."""
    allowed = {id(node), *map(id, parameters)}
    stack = [wider]
    while stack:
        n = stack.pop()
        if id(n) in allowed or n.op in _CONSTANT:
            continue
        if not n.inputs:
            return False
        stack.extend(reader.inputs(n))
    return True


def forward_names(step: Step, reader: Reader) -> tuple[Names, dict[str, Node]]:
    """Return the names of the step's values, and the named ones in the order to print them: name → node.

    New states h', c'; gates by their parameters' suffix (with ~ where a state is called so: c~ is to become
    c); i1, i2 what a gate i uses twice on its way; v1, v2 other values that are used twice.
    """
    names: Names = {}
    taken = {"x", *step.states, *step.parameters}
    for state, n in zip(step.states, step.outputs, strict=True):
        if n.inputs:
            names.setdefault(id(n), f"{state}'")
    for gate, n in gates(step, reader).items():
        name = gate if not gate[:1].isdigit() else f"g{gate}"
        if gate and id(n) not in names:
            names[id(n)] = name if name not in taken else f"{name}~"
            taken.add(names[id(n)])
    name_shared(step.outputs, names, taken, reader, owners(step, names, reader))
    return names, _as_declared(step, names, reader)


def _as_declared(step: Step, names: Names, reader: Reader) -> dict[str, Node]:
    """The named values, each after those it needs, else as their parameters are declared."""
    place = {name: k for k, name in enumerate(step.parameters)}
    waiting: dict[str, Node] = {}
    needs: dict[str, set[str]] = {}
    rank: dict[str, int] = {}
    for n in reader.in_order(step.outputs):
        if id(n) in names:
            name = names[id(n)]
            inside = within(n, names, reader)
            waiting[name] = n
            needs[name] = {names[id(i)] for i in inside if id(i) in names}
            rank[name] = min(
                (place[str(i.attributes[0])] for i in inside if i.op == "parameter"), default=len(place)
            )
    ordered: dict[str, Node] = {}
    while waiting:
        ready = [name for name in waiting if needs[name] <= ordered.keys()]
        first = min(ready, key=rank.__getitem__)
        ordered[first] = waiting.pop(first)
    return ordered


def within(node: Node, names: Names, reader: Reader) -> list[Node]:
    """What stands in the equation of a node: leaves and named values, in the order in which they are met."""
    found: dict[int, Node] = {}
    stack = list(reversed(reader.inputs(node)))
    while stack:
        n = stack.pop()
        if id(n) in names or not n.inputs:
            found[id(n)] = n
        else:
            stack.extend(reversed(reader.inputs(n)))
    return list(found.values())


def owners(step: Step, names: Names, reader: Reader) -> Names:
    """For what only one gate is made of, that gate's name."""
    owner: Names = {}
    # by operations, not by longer words: what is inside a layer_norm has an owner too
    for n in reversed(in_order(step.outputs)):
        mine = names.get(id(n), owner.get(id(n), ""))
        mine = "" if "'" in mine else mine.rstrip("~")
        for i in n.inputs:
            owner[id(i)] = mine if owner.get(id(i), mine) == mine else ""
    return {key: name for key, name in owner.items() if name}


def name_shared(
    outputs: Sequence[Node],
    names: Names,
    taken: set[str],
    reader: Reader,
    owner: Names,
) -> None:
    """Name what is used more than once and is too long to be written twice."""
    order = reader.in_order(outputs)
    uses = Counter(id(i) for n in order for i in reader.inputs(n))
    uses.update(id(n) for n in outputs)
    length: dict[int, int] = {}
    counts: Counter[str] = Counter()
    for n in order:
        length[id(n)] = (
            1 if id(n) in names or not n.inputs else 3 + sum(length[id(i)] + 2 for i in reader.inputs(n))
        )
        if id(n) in names or not n.inputs or uses[id(n)] < 2:
            continue
        if length[id(n)] > _SHORT:
            start = owner.get(id(n), "v")
            while True:
                counts[start] += 1
                name = f"{start}{counts[start]}"
                if name not in taken:
                    break
            names[id(n)] = name
            taken.add(name)
            length[id(n)] = 1

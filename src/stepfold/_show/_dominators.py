"""Post-dominators: the values through which everything passes that a value contributes to the outputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .._graph import Node


class PostDominators:
    """For each node its immediate post-dominator, the nearest node on every path from it to the outputs.

    `order`: all nodes, each after its inputs; `inputs(node)`: the inputs of a node.
    """

    def __init__(
        self, order: Sequence[Node], outputs: Sequence[Node], inputs: Callable[[Node], Sequence[Node]]
    ) -> None:
        users: dict[int, list[Node | None]] = {id(n): [] for n in order}
        for n in order:
            for i in inputs(n):
                users[id(i)].append(n)
        for n in outputs:
            users[id(n)].append(None)  # the root of the tree, after every output
        self._immediate: dict[int, Node | None] = {}
        self._depth: dict[int, int] = {}
        for n in reversed(order):
            first, *rest = users[id(n)]
            for user in rest:
                first = self._common(first, user)
            self._immediate[id(n)] = first
            self._depth[id(n)] = 1 if first is None else self._depth[id(first)] + 1

    def immediate(self, node: Node) -> Node | None:
        """Return the immediate post-dominator, None if there is none."""
        return self._immediate[id(node)]

    def common(self, nodes: Sequence[Node]) -> Node | None:
        """Return the nearest node on every path from any of these nodes to the outputs, None without one."""
        first: Node | None = nodes[0]
        for n in nodes[1:]:
            first = self._common(first, n)
        return first

    def _common(self, a: Node | None, b: Node | None) -> Node | None:
        while a is not None and b is not None and a is not b:
            if self._depth[id(a)] >= self._depth[id(b)]:
                a = self._immediate[id(a)]
            else:
                b = self._immediate[id(b)]
        return a if a is b else None

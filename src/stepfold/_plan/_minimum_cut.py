"""The minimum cut of a flow network."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable

Vertex = Hashable


class Network:
    """A flow network; every path from source to sink must have an edge of finite capacity."""

    def __init__(self) -> None:
        # edge k leads to _ends[k]; k ^ 1 is the same edge the other way, whose capacity is the flow
        self._ends: list[Vertex] = []
        self._capacities: list[float] = []
        self._edges: dict[Vertex, list[int]] = {}

    def add(self, start: Vertex, end: Vertex, capacity: float) -> None:
        """Add an edge."""
        for vertex, other, free in ((start, end, capacity), (end, start, 0)):
            self._edges.setdefault(vertex, []).append(len(self._ends))
            self._ends.append(other)
            self._capacities.append(free)

    def source_side(self, source: Vertex, sink: Vertex) -> set[Vertex]:
        """Send as much flow as fits from source to sink (Dinitz 1970); return the vertices that the source
        still reaches: the edges that leave them are the minimum cut nearest to the source."""
        while True:
            levels = self._levels(source, sink)
            if sink not in levels:
                return set(levels)
            self._saturate(source, sink, levels)

    def _levels(self, source: Vertex, sink: Vertex) -> dict[Vertex, int]:
        """The distance from the source of every vertex that it reaches, up to the sink's."""
        levels = {source: 0}
        queue = deque([source])
        while queue and sink not in levels:
            vertex = queue.popleft()
            for edge in self._edges.get(vertex, ()):
                end = self._ends[edge]
                if self._capacities[edge] > 0 and end not in levels:
                    levels[end] = levels[vertex] + 1
                    queue.append(end)
        return levels

    def _saturate(self, source: Vertex, sink: Vertex, levels: dict[Vertex, int]) -> None:
        """Send flow along shortest paths until none is left; a dead end is entered once."""
        tried = dict.fromkeys(levels, 0)  # how many of a vertex's edges lead nowhere any more
        path: list[int] = []
        vertex = source
        while True:
            edges = self._edges[vertex]
            if vertex == sink:
                flow = min(self._capacities[edge] for edge in path)
                for edge in path:
                    self._capacities[edge] -= flow
                    self._capacities[edge ^ 1] += flow
                path, vertex = [], source
            elif tried[vertex] < len(edges):
                edge = edges[tried[vertex]]
                end = self._ends[edge]
                if self._capacities[edge] > 0 and levels.get(end) == levels[vertex] + 1:
                    path.append(edge)
                    vertex = end
                else:
                    tried[vertex] += 1
            elif path:
                vertex = self._ends[path.pop() ^ 1]
                tried[vertex] += 1
            else:
                return

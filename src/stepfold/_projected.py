"""A row of a table that only stands behind kernels, as the input without a name, whose products are computed
for many timesteps at once, and once for each distinct integer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from . import _ops
from ._axes import is_plain, names_in
from ._graph import FEATURES, LEAVES, Dims, Node, leaf


def kernels_of(
    row: Node, nodes: Sequence[Node], outputs: Iterable[Node], others: Iterable[Dims]
) -> list[str] | None:
    """Return the parameters that a row is multiplied with, where nothing else is done with it and nothing
    else has its axis; else None. `others`: axes besides those of the nodes."""
    (axis,) = row.dims
    if not is_plain(axis) or axis == "units" or any(output is row for output in outputs):
        return None
    products = [n for n in nodes if any(i is row for i in n.inputs)]
    if any(n.op != "matmul" or n.inputs[1] is not row for n in products):
        return None
    kernels = {id(n.inputs[0]): n.inputs[0] for n in products}
    if any(id(i) in kernels and n.inputs[1] is not row for n in nodes for i in n.inputs):
        return None
    own = {id(row), *kernels}
    used = [*others, *(_axes_of(n) for n in nodes if id(n) not in own)]
    taken = {name for dims in used for name in names_in(dims)}
    rows = {name for n in kernels.values() for name in names_in(n.dims[:1])}
    return None if axis in taken | rows else [str(n.attributes[0]) for n in kernels.values()]


def _axes_of(n: Node) -> Dims:
    """The axes of a node, those of which it knows the size among them."""
    return (*n.dims, str(n.attributes[0])) if n.op in ("offset", "size") else n.dims


def with_input(
    row: Node, nodes: Sequence[Node], outputs: Iterable[Node], parameters: Mapping[str, Dims]
) -> tuple[Node, ...]:
    """Return the outputs of a graph with the input without a name in the place of a row, of `nodes` in their
    order; `parameters`: the kernels of the row with their axes."""
    new: dict[int, Node] = {id(row): leaf("input", dims=FEATURES)}
    for n in nodes:
        if n is row:
            continue
        if n.op == "parameter" and str(n.attributes[0]) in parameters:
            name = str(n.attributes[0])
            new[id(n)] = leaf("parameter", name, dims=parameters[name])
        else:
            new[id(n)] = n if n.op in LEAVES else _ops.apply(n.op, *(new[id(i)] for i in n.inputs))
    return tuple(new[id(output)] for output in outputs)

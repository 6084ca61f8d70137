"""A cell over time as the ONNX operator Scan: what needs no state before it, the rest as its body."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx

from .._graph import Node
from .._interpret import interpret
from .._native import Array
from .._ops import TABLE
from .._step import Step
from ..model import CellSizes
from ._builder import Builder

Leaves = dict[tuple[str, str], str]


def scan_operator(
    b: Builder,
    step: Step,
    params: Mapping[str, Array],
    inputs: str,
    *,
    sizes: CellSizes,
    features: int,
    mask: str | None,
    reverse: bool,
    return_sequences: bool,
) -> str:
    """Add a `Scan` over `inputs` (batch, time, features) from zero states; a masked timestep keeps them.

    The inputs of a cell with several stand side by side on the last axis. Returns the name of the output
    after the last timestep, (batch, units) or as wide as it is, with `return_sequences` after every one,
    (batch, time, units).
    """
    leaves: Leaves = {("parameter", n): b.array(v, n) for n, v in params.items() if n not in step.tables}
    leaves |= _gathered(b, step, params, _split(b, step, sizes, inputs, features))
    axes = {"units": sizes.units, **sizes.sizes}
    varying = _depending(step.nodes, ("input", "state"))
    inside = _depending(step.nodes, ("state",))
    outside = [n for n in step.nodes if id(n) not in inside]
    found = _lowered(b, outside, leaves, params, axes)
    body = b.body()
    entering, known = _entering(step, found, inside, varying)
    scanned = list(dict.fromkeys(entering.values())) or [inputs]
    inner = {outer: body.name("step") for outer in scanned}
    states = [body.name(state) for state in step.states]
    leaves |= {("state", name): state for name, state in zip(step.states, states, strict=True)}
    known |= {identity: inner[outer] for identity, outer in entering.items()}
    conditions = {known[id(n)] for n in step.nodes if n.boolean and id(n) in entering}
    values = _lowered(body, [n for n in step.nodes if id(n) in inside], leaves, params, axes, known)
    active = None
    if mask is not None:
        outer = b.operator("Unsqueeze", mask, b.integers(-1))  # (B, T, 1)
        scanned.append(outer)
        active = inner[outer] = body.name("active")
        conditions.add(active)
    shapes = [sizes.shape(step.dims_of(state)) for state in step.states]
    actives = {1: active, 2: None}
    if active is not None and any(len(shape) == 2 for shape in shapes):
        actives[2] = body.unsqueezed(active, -1)
    new = [
        _new_state(body, values[id(n)], old, id(n) in varying, actives[len(shape)])
        for n, old, shape in zip(step.outputs, states, shapes, strict=True)
    ]
    outputs = [*new, body.operator("Identity", new[0])] if return_sequences else new
    names = b.operators(
        "Scan",
        [_zeros(b, inputs, shape) for shape in shapes] + scanned,
        len(outputs),
        body=onnx.helper.make_graph(
            body.nodes,
            step.name,
            [_described(n, b.type) for n in states]
            + [_described(n, onnx.TensorProto.BOOL if n in conditions else b.type) for n in inner.values()],
            [_described(n, b.type) for n in outputs],
        ),
        num_scan_inputs=len(scanned),
        scan_input_axes=[1] * len(scanned),
        scan_input_directions=[int(reverse)] * len(scanned),
        **({"scan_output_axes": [1], "scan_output_directions": [int(reverse)]} if return_sequences else {}),
    )
    return names[-1] if return_sequences else names[0]


def lowered_function(b: Builder, output: Node, value: str, units: int) -> str:
    """Add the operators of a graph of one leaf, ("state", "x"), whose value is given; return the result."""
    step = Step("function", ("x",), {}, (output,))
    return _lowered(b, step.nodes, {("state", "x"): value}, {}, {"units": units})[id(output)]


def _split(b: Builder, step: Step, sizes: CellSizes, inputs: str, features: int) -> Leaves:
    """The inputs of the cell, from the last axis on which they stand side by side."""
    if not step.inputs:
        return {("input", ""): inputs}
    names = ["", *step.inputs] if step.takes_features else list(step.inputs)
    if len(names) == 1:
        return {("input", names[0]): inputs}
    widths = [math.prod(sizes.shape(dims)) for dims in step.inputs.values()]
    if step.takes_features:
        widths.insert(0, features - sum(widths))
    parts = b.operators("Split", [inputs, b.integers(*widths)], len(names), axis=-1)
    return {("input", name): part for name, part in zip(names, parts, strict=True)}


def _gathered(b: Builder, step: Step, params: Mapping[str, Array], inputs: Leaves) -> Leaves:
    """The inputs, rows of parameters in the place of integers that choose them."""
    found = {leaf: value for leaf, value in inputs.items() if leaf[1] not in step.integers}
    for row in step.lookups:
        table = params[row.table]
        whole = b.operator("Cast", inputs["input", row.integer], to=onnx.TensorProto.INT64)
        rows = b.array(table if table.ndim > 1 else table[:, None], row.table)
        found["input", row.name] = b.operator("Gather", rows, b.squeezed(whole, -1), axis=0)
    return found


def _depending(nodes: Iterable[Node], kinds: Sequence[str]) -> set[int]:
    """The nodes that are leaves of some kinds or need one, by id; each node comes after its inputs."""
    found: set[int] = set()
    for n in nodes:
        if n.op in kinds or any(id(i) in found for i in n.inputs):
            found.add(id(n))
    return found


def _entering(
    step: Step, found: Mapping[int, str], inside: set[int], varying: set[int]
) -> tuple[dict[int, str], dict[int, str]]:
    """What the body needs of the nodes outside: those with a value for each timestep, and the others."""
    needed = {id(i) for n in step.nodes if id(n) in inside for i in n.inputs}
    order = [id(n) for n in step.nodes if id(n) in (needed | {id(n) for n in step.outputs}) - inside]
    entering = {i: found[i] for i in order if i in varying}
    return entering, {i: found[i] for i in order if i not in varying}


def _lowered(
    b: Builder,
    nodes: Sequence[Node],
    leaves: Leaves,
    params: Mapping[str, Array],
    sizes: Mapping[str, int],
    known: Mapping[int, str] | None = None,
) -> dict[int, str]:
    """Add the operators of nodes through the table's lowerings; return the names of all values."""
    values = dict(known or {})
    values |= _products_of_leaves(b, nodes, leaves, params)
    implementations = {op: _bound(row.onnx, b) for op, row in TABLE.items()}
    return interpret(
        [n for n in nodes if id(n) not in values],
        leaves,
        implementations,
        lambda value, shape: b.constant(np.full(shape, value)),
        sizes,
        values,
        lambda value: b.unsqueezed(value, -1),
    )


def _bound(lowering: Any, b: Builder) -> Any:
    return lambda *inputs: lowering(b, *inputs)


def _products_of_leaves(
    b: Builder, nodes: Sequence[Node], leaves: Leaves, params: Mapping[str, Array]
) -> dict[int, str]:
    """The products of parameters with the input, or with one state: one MatMul with all matrices, split."""
    groups: dict[int, list[Node]] = {}
    for n in nodes:
        if n.op == "matmul" and n.inputs[0].op == "parameter" and n.inputs[1].op in ("input", "state"):
            groups.setdefault(id(n.inputs[1]), []).append(n)
    found: dict[int, str] = {}
    for products in groups.values():
        if len(products) < 2:
            continue
        kernels = [params[str(n.inputs[0].attributes[0])] for n in products]
        vector = products[0].inputs[1]
        value = leaves[vector.op, str(vector.attributes[0]) if vector.attributes else ""]
        kernel = b.array(np.concatenate(kernels).T, "kernels")
        sizes = b.integers(*(len(k) for k in kernels))
        together = b.operator("MatMul", value, kernel)
        parts = b.operators("Split", [together, sizes], len(products), axis=-1)
        found |= {id(n): part for n, part in zip(products, parts, strict=True)}
    return found


def _new_state(body: Builder, new: str, old: str, varies: bool, active: str | None) -> str:
    """A state after a timestep, (batch, units): one without rows is repeated, a masked row keeps its old."""
    if active is not None:
        return body.operator("Where", active, new, old)
    return (
        body.operator("Identity", new)
        if varies
        else body.operator("Expand", new, body.operator("Shape", old))
    )


def _zeros(b: Builder, inputs: str, shape: tuple[int, ...]) -> str:
    whole = b.operator("Concat", b.size(inputs, 0), b.integers(*shape), axis=0)
    return b.operator("Expand", b.constant(0.0), whole)


def _described(name: str, type_: int) -> Any:
    return onnx.helper.make_tensor_value_info(name, type_, None)

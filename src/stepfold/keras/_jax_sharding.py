"""The kernels on several devices: each computes the rows of the batch that it holds.

XLA knows nothing of a foreign call, and would gather the whole batch on every device. The rule here says that
the batch axis may be cut and nothing else: weights are whole on every device, and their gradients are summed
over the devices that share the batch."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.extend.core import Primitive
from jax.interpreters import mlir
from jax.sharding import Mesh, NamedSharding, PartitionSpec

try:
    # JAX says which devices a program is for only if a primitive asks, and does not look inside of ours.
    from jax._src.dispatch import prim_requires_devices_during_lowering
    from jax.experimental.custom_partitioning import custom_partitioning

    CUTS = True
except ImportError:
    CUTS = False
"""Whether this version of JAX lets a batch be cut; otherwise every device computes all of it."""

Kernel = Callable[..., list[Any]]


class Rows(NamedTuple):
    """Which arrays of a call are cut by rows: for each whether its first axis is the batch; those without are
    the same for all rows. `residuals`: their number among operands and results, if they are there."""

    operands: tuple[bool, ...]
    results: tuple[bool, ...]
    residuals: int | None = None


def register_lowering(primitive: Primitive, kernel: Kernel, rows: Callable[..., Rows]) -> None:
    """Lower a primitive to `kernel`; on several devices each calls it on rows of its own.

    `rows` is called with the number of operands and the primitive's options.
    """
    on_one = mlir.lower_fun(kernel, multiple_results=True)
    if not CUTS:
        mlir.register_lowering(primitive, on_one)
        return

    def on_many(*arrays: Any, **options: Any) -> list[Any]:
        found: list[Any] = _partitioned(functools.partial(kernel, **options), rows(len(arrays), **options))(
            *arrays
        )
        return found

    lower_on_many = mlir.lower_fun(on_many, multiple_results=True)

    def lower(context: Any, *arrays: Any, **options: Any) -> Any:
        one = getattr(context.module_context.axis_context, "num_devices", 2) == 1
        return (on_one if one else lower_on_many)(context, *arrays, **options)

    mlir.register_lowering(primitive, lower)
    prim_requires_devices_during_lowering.add(primitive)


def implementation(primitive: Primitive, kernel: Kernel) -> Kernel:
    """Return what runs a primitive outside of `jit`: the kernel itself, compiled where arrays lie on several
    devices."""

    def run(*arrays: Any, **options: Any) -> list[Any]:
        if any(len(array.sharding.device_set) > 1 for array in arrays if isinstance(array, jax.Array)):
            return list(jax.jit(primitive.bind, static_argnames=tuple(options))(*arrays, **options))
        return kernel(*arrays, **options)

    return run


def _partitioned(kernel: Kernel, rows: Rows) -> Any:
    """Return the kernel with what XLA's partitioner asks of it."""
    call = custom_partitioning(lambda *arrays: kernel(*arrays))

    def partition(mesh: Mesh, given: Sequence[Any], found: Sequence[Any]) -> Any:
        if mesh.empty:  # the program names no mesh: every device computes the whole batch
            mesh = Mesh(np.array(sorted(given[0].sharding.device_set, key=lambda d: d.id)), ("devices",))
        axes = _axes(mesh, given, found, rows)

        def on_each(*local: Any) -> list[Any]:
            computed = kernel(*local)
            sums = [value for value, row in zip(computed, rows.results, strict=True) if not row]
            if not (axes and sums):
                return computed
            summed = iter(jax.lax.psum(sums, axes))
            return [value if row else next(summed) for value, row in zip(computed, rows.results, strict=True)]

        return (
            mesh,
            on_each,
            _shardings(mesh, axes, rows.results),
            tuple(_shardings(mesh, axes, rows.operands)),
        )

    def infer(mesh: Mesh, given: Sequence[Any], found: Sequence[Any]) -> Any:
        # asked by the partitioner before Shardy, when the results have no sharding yet
        known = rows.residuals is not None and rows.residuals >= 0
        before = rows if known else rows._replace(residuals=None)
        return _shardings(mesh, _axes(mesh, given, found, before), rows.results)

    call.def_partition(partition, infer, sharding_rule=functools.partial(_rule, rows))
    return call


def _axes(mesh: Mesh, given: Sequence[Any], found: Sequence[Any], rows: Rows) -> tuple[str, ...]:
    """Return the axes of the mesh that the batch is cut along."""
    arrays = [array for array, row in zip(given, rows.operands, strict=True) if row]
    if rows.residuals is not None:
        # Both passes must cut the batch alike: residuals are of the rows of one device. Both see their array.
        arrays = [[*given, *found][rows.residuals]]
    for array in arrays:
        spec = getattr(array.sharding, "spec", None)
        if spec and spec[0]:
            axes = (spec[0],) if isinstance(spec[0], str) else tuple(spec[0])
            # a device never gets rows that are not there
            return axes if array.shape[0] % math.prod(mesh.shape[name] for name in axes) == 0 else ()
    return ()


def _shardings(mesh: Mesh, axes: tuple[str, ...], rows: tuple[bool, ...]) -> list[NamedSharding]:
    return [NamedSharding(mesh, PartitionSpec(axes) if row and axes else PartitionSpec()) for row in rows]


def _rule(rows: Rows, mesh: Any, operands: Sequence[Any], results: Sequence[Any]) -> Any:
    """Return Shardy's rule: the batch is one factor of all; every other axis is whole on each device."""
    names: list[str] = []

    def axes(row: bool, rank: int) -> str:
        own = [f"n{len(names) + k}" for k in range(rank - row)]
        names.extend(own)
        return " ".join(["b", *own] if row else own)

    def side(flags: tuple[bool, ...], types: Sequence[Any]) -> str:
        return ", ".join(axes(row, len(each.shape)) for row, each in zip(flags, types, strict=True))

    return f"{side(rows.operands, operands)} -> {side(rows.results, results)}", {
        "need_replication_factors": tuple(names)
    }

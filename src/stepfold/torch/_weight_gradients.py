"""The gradients of weights that the steps of a loop share, which autograd sees once.

A step's backward kernel writes the rows of which they are made; many steps' rows are one product of matrices,
where each step's own would write and add up gradients as large as the weights."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch._C import _current_graph_task_id as graph_task

from .._runtime import OneTimestep
from ._products import joined_vectors, products_of

version = operator.attrgetter("_version")
is_compiling = torch.compiler.is_dynamo_compiling

_MOST_ELEMENTS = 1 << 20
"""How many elements of rows wait, at most."""


def _backward_pass() -> int:
    """The number of the backward pass that runs."""
    return -1 if is_compiling() else graph_task()


class _Terms:
    """What the gradients of a backward pass are made of so far: rows that wait, and the sums of others."""

    def __init__(self) -> None:
        self.waiting: list[Tensor] = []
        self.elements = 0
        self.matrices: list[Tensor] = []
        self.columns: Tensor | None = None
        self.vectors: Tensor | None = None


class WeightGradients:
    """The gradients of the weights, summed while a backward pass runs: the rows of which they are made, or,
    where they are variables themselves, one tensor a weight."""

    def __init__(self, of: OneTimestep, wanted: tuple[bool, ...], weights: tuple[Tensor, ...]) -> None:
        self.weights, self._of, self._wanted = weights, of, wanted
        self._versions = [*map(version, weights)]
        self._sums: dict[int, _Terms] = {}  # by backward pass
        self._variables: dict[int, list[Tensor | None]] = {}
        self._products = [p for p in products_of(of) if any(wanted[m.weight] for m in p.members)]
        self._vectors = joined_vectors([v for v in of.vector_gradients if wanted[v.weight]])
        self._columns = joined_vectors([v for v in of.column_sums if wanted[v.weight]])

    def check(self) -> None:
        """RuntimeError if a weight was changed since the forward pass."""
        if [*map(version, self.weights)] != self._versions:
            changed = next(k for k, w in enumerate(self.weights) if w._version != self._versions[k])
            raise RuntimeError(
                "one of the variables needed for gradient computation has been modified by an inplace "
                f"operation: weight {changed}, of shape {tuple(self.weights[changed].shape)}, is at version "
                f"{self.weights[changed]._version}; expected version {self._versions[changed]} instead"
            )

    def add(self, terms: Tensor, vectors: Tensor) -> None:
        """Add one step's rows, and what its backward pass has summed itself, a row a task."""
        if not any(self._wanted):
            return
        found = self._sums.get(_backward_pass())
        if found is None:
            found = _Terms()
            self._begin(self._sums, found)
        found.waiting.append(terms)
        found.elements += terms.numel()
        if self._vectors:
            found.vectors = vectors if found.vectors is None else found.vectors.add_(vectors)
        if found.elements >= _MOST_ELEMENTS:
            self._multiply(found)

    def _multiply(self, found: _Terms) -> None:
        """Sum the outer products of the rows that wait. Under autocast results keep their dtype, for they are
        given."""
        rows = found.waiting[0] if len(found.waiting) == 1 else torch.cat(found.waiting)
        found.waiting, found.elements = [], 0
        first = not found.matrices
        for k, product in enumerate(self._products):
            deltas, operands = rows[:, product.deltas].t(), rows[:, product.operand]
            if first:
                found.matrices.append(rows.new_empty((deltas.shape[0], operands.shape[1])))
                torch.mm(deltas, operands, out=found.matrices[k])
            else:
                found.matrices[k].addmm_(deltas, operands)
        if self._columns:
            columns = rows[:, : max(each.begin + each.size for each in self._columns)]
            total = torch.sum(columns, 0, out=rows.new_empty(columns.shape[1]))
            found.columns = total if found.columns is None else found.columns.add_(total)

    def add_variables(self, gradients: Sequence[Tensor | None]) -> None:
        """Add one step's gradients, through which derivatives pass."""
        found = self._variables.get(_backward_pass())
        if found is None:
            self._begin(self._variables, list(gradients))
        else:
            found[:] = [
                a if b is None else b if a is None else a + b for a, b in zip(found, gradients, strict=True)
            ]

    def _begin(self, sums: dict[int, Any], first: Any) -> None:
        task = _backward_pass()
        sums[task] = first
        if is_compiling():
            return
        # a pass that wants no gradients of the weights never takes them
        torch.autograd.Variable._execution_engine.queue_callback(lambda: sums.pop(task, None))

    def take(self) -> list[Tensor | None]:
        """Return the sum of a backward pass, a gradient a weight."""
        task = _backward_pass()
        found = self._sums.pop(task, None)
        if found is not None and any(self._wanted):
            self.add_variables(self._taken(found))
        return self._variables.pop(task, [None] * len(self.weights))

    def _taken(self, found: _Terms) -> list[Tensor | None]:
        if found.waiting:
            self._multiply(found)
        pieces: list[list[tuple[int, Tensor]]] = [[] for _ in self.weights]
        given: set[tuple[int, int]] = set()

        def add(weight: int, first: int, piece: Tensor, source: tuple[int, int]) -> None:
            # two weights with one gradient must not share its memory
            pieces[weight].append((first, piece.clone() if source in given else piece))
            given.add(source)

        for k, (product, total) in enumerate(zip(self._products, found.matrices, strict=True)):
            for m in product.members:
                begin = m.delta - product.deltas.start
                add(m.weight, m.first, total[begin : begin + m.rows], (k, begin))
        for k, (sums, vectors) in enumerate(
            ((found.columns, self._columns), (found.vectors, self._vectors)), len(self._products)
        ):
            for vector in vectors:
                assert sums is not None
                part = (sums if sums.dim() == 1 else sums.sum(0))[vector.begin : vector.begin + vector.size]
                add(vector.weight, vector.first, part.sum() if vector.total else part, (k, vector.begin))
        return [
            _joined(mine, weight) if wish else None
            for mine, weight, wish in zip(pieces, self.weights, self._wanted, strict=True)
        ]


def _joined(pieces: list[tuple[int, Tensor]], weight: Tensor) -> Tensor:
    """The gradient of a weight, the sum of pieces, each with where it begins."""
    if len(pieces) == 1 and pieces[0][1].shape == weight.shape:
        return pieces[0][1]
    gradient = torch.zeros_like(weight)
    for first, piece in pieces:
        (gradient if not piece.dim() else gradient[first : first + len(piece)]).add_(piece)
    return gradient


class Loop:
    """What the steps of a loop share as long as the weights stay as they are."""

    def __init__(
        self,
        fingerprint: list[Any],
        of: OneTimestep,
        wanted: tuple[bool, ...],
        weights: tuple[Tensor, ...],
    ) -> None:
        self.fingerprint = fingerprint
        self.gradients = WeightGradients(of, wanted, weights)
        self.handle = _Weights.apply(self.gradients, *weights) if any(wanted) else None


class _Weights(torch.autograd.Function):  # type: ignore[misc]
    """Stands for the weights of a loop: a tensor without meaning, whose gradient is what the steps summed."""

    @staticmethod
    def forward(ctx: Any, gradients: WeightGradients, *weights: Tensor) -> Tensor:
        """Return what the steps take in place of the weights."""
        ctx.set_materialize_grads(False)
        ctx.gradients = gradients
        return weights[0].new_empty(())

    @staticmethod
    def backward(ctx: Any, _: None) -> tuple[Any, ...]:
        """Hand the sum to the weights."""
        return None, *ctx.gradients.take()

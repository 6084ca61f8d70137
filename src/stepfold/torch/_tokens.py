"""Sequences of token ids with the table that they choose vectors from, in place of the vectors."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from .._notes import note_of, remember


class Tokens(NamedTuple):
    """Token ids and a table (vocabulary_size, features): a recurrent module takes them in place of vectors.

    `ids` int32 or int64, shaped as the module's input without its last axis: (time, batch), with
    `batch_first` (batch, time), unbatched (time,). Each distinct token is projected once, the vectors are
    never made, and gradients go to the table. Ids outside 0…vocabulary_size - 1 are an IndexError. To each
    vector `side`, features of each step with the axes of `ids` before their own, is appended, if given;
    gradients go there, too.
    """

    ids: Tensor
    table: Tensor
    side: Tensor | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the vectors, with the side features behind them."""
        side = 0 if self.side is None else self.side.shape[-1]
        return *self.ids.shape, self.table.shape[-1] + side

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the vectors."""
        return self.table.dtype

    @property
    def device(self) -> torch.device:
        """Where the table lies."""
        return self.table.device

    def dim(self) -> int:
        """How many axes the vectors have."""
        return int(self.ids.dim()) + 1

    def to(self, dtype: torch.dtype) -> Tokens:
        """The same with the table and the side features in another dtype."""
        side = None if self.side is None else self.side.to(dtype)
        return self._replace(table=self.table.to(dtype), side=side)

    def unsqueeze(self, axis: int) -> Tokens:
        """The same with an axis more, which is not the last."""
        side = None if self.side is None else self.side.unsqueeze(axis)
        return self._replace(ids=self.ids.unsqueeze(axis), side=side)

    def vectors(self) -> Tensor:
        """Make the vectors, with the side features behind them."""
        vectors = nn.functional.embedding(self.ids, self.table)
        return vectors if self.side is None else torch.cat([vectors, self.side], -1)

    def check(self, name: str) -> None:
        """TypeError, ValueError or RuntimeError, beginning with a name, unless the tensors fit together."""
        ids, table, side = self
        if not isinstance(ids, Tensor) or ids.dtype not in (torch.int32, torch.int64):
            kind = ids.dtype if isinstance(ids, Tensor) else type(ids).__name__
            raise TypeError(f"{name}: token ids should be a tensor of int32 or int64, got {kind}")
        if table.dim() != 2:
            raise ValueError(f"{name}: the table has shape {tuple(table.shape)}, expected 2 axes")
        if side is None:
            return
        if side.dim() != ids.dim() + 1 or side.shape[:-1] != ids.shape or not side.shape[-1]:
            raise ValueError(
                f"{name}: side features have shape {tuple(side.shape)}, expected the axes of the ids, "
                f"{tuple(ids.shape)}, and one of features"
            )
        if side.dtype != table.dtype or side.device != table.device:
            raise RuntimeError(
                f"{name}: side features are {side.dtype} on {side.device}, the table is {table.dtype} on "
                f"{table.device}; convert one of them with .to"
            )


class Embedding(nn.Embedding):  # type: ignore[misc]
    """torch.nn.Embedding, with every argument of it, whose ids reach the recurrent module behind it.

    A stepfold module that gets the output as it is works on the ids and the table, so that each distinct
    token is projected once, and no gradient of the vectors is made. Anything in between (a dropout, a
    normalisation, `pack_padded_sequence`) works on the vectors, as ever; so does what needs them: a tensor
    whose gradient is retained or has a hook, `sparse`, `scale_grad_by_freq`, and torch.compile. A
    PackedSequence of ids gives one of vectors. `tokens(ids)` skips the vectors altogether, also under
    torch.compile.

    What `torch.autograd.grad` is to derive by the vectors themselves needs `torch.nn.Embedding`.
    """

    def forward(self, input: Tensor | PackedSequence) -> Any:
        """Return the vectors (…, embedding_dim) of ids (…)."""
        if isinstance(input, PackedSequence):
            return input._replace(data=self(input.data))
        vectors = super().forward(input)
        fits = input.dim() in (1, 2) and not (self.sparse or self.scale_grad_by_freq)
        # a trace sees no changes in place, after which a note would be wrong
        if fits and not torch.compiler.is_compiling():
            remember(vectors, Tokens(input, self._table()))
        return vectors

    def tokens(self, ids: Tensor | PackedSequence, side: Tensor | PackedSequence | None = None) -> Any:
        """Return ids with the table, and side features, as stepfold's modules take them in place of vectors:
        `Tokens`, or for PackedSequences one of them.

        ValueError where vectors of rows as they are would be another thing: `max_norm`, `sparse`,
        `scale_grad_by_freq`.
        """
        for name in ("max_norm", "sparse", "scale_grad_by_freq"):
            if getattr(self, name):
                raise ValueError(f"an embedding with {name} has only vectors: call it, embedding(ids)")
        if isinstance(ids, PackedSequence):
            return ids._replace(data=self.tokens(ids.data, getattr(side, "data", None)))
        return Tokens(ids, self._table(), side)

    def _table(self) -> Tensor:
        """The weight as the vectors' gradients reach it: not under `no_grad`, and not the padding's row."""
        if not torch.is_grad_enabled():
            return self.weight.detach()
        if self.padding_idx is None or not self.weight.requires_grad:
            return self.weight
        return _WithoutRow.apply(self.weight, self.padding_idx)


class _WithoutRow(torch.autograd.Function):  # type: ignore[misc]
    @staticmethod
    def forward(ctx: Any, table: Tensor, row: int) -> Tensor:
        """Return the table."""
        ctx.row = row
        return table.view_as(table)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        """Pass the gradient on, zero for the row."""
        row = torch.tensor([ctx.row], device=gradient.device)
        return gradient.index_fill(0, row, 0.0), None


def tokens_of(value: Any) -> Any:
    """Return the tokens that vectors came from if they can stand in for them, else the value itself."""
    if not isinstance(value, Tensor) or torch.compiler.is_compiling():
        return value
    return value if value.retains_grad or value._backward_hooks else note_of(value, Tokens) or value

"""Less memory for more time: save the states only at every √time-th timestep and compute the rest again in
the backward pass.

(Chen et al. 2016, Training deep nets with sublinear memory cost, arXiv:1604.06174.)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from .._native import Array, aligned
from ._backward import Wanted
from ._call import Backward, Call
from ._residuals import total_size
from ._run import backward_operands, backward_program, forward_operands, forward_program, run

_LEAST = 2048  # active steps a segment: fewer would take as long to prepare as to do


class Checkpoints:
    """A forward pass that saved the states between segments: windows of each row's active steps, √time of
    them or fewer of few rows. `outputs` and `last` as `Call.forward` gives them."""

    def __init__(self, call: Call, *, outputs: bool) -> None:
        self._given = call
        shape, recipe, engine = call.shape, call.recipe, call.engine
        zeros = [np.zeros((shape.batch, *of), engine.dtype) for of in recipe.state_shapes]
        states = list(call.initial) or zeros
        self._call = replace(call, recipe=recipe.but(padding="none", initial=True), initial=states)
        size = max(math.isqrt(max(0, shape.time - 1)) + 1, _LEAST // max(1, shape.batch))
        self._size = max(1, min(size, shape.time))
        # one segment at least, which finds whatever is wrong with lengths or tokens; none of an empty batch
        most = max(1, self._most_active()) if shape.batch else 0
        self._begins = range(0, most, self._size)
        axes = (shape.batch, shape.time, *recipe.output_shape)
        self.outputs: Array | None = np.empty(axes, engine.dtype) if outputs else None
        self._starts = [states]
        for begin in self._begins:
            self._starts.append(self._forward(begin, self._starts[-1], self.outputs, None))
        self.last = [state.copy() for state in self._starts[-1]]
        if self.outputs is not None:
            self._repeat(self.outputs, states[0])

    def _most_active(self) -> int:
        active = self._given.active
        if active is None:
            return self._given.shape.time
        if self._given.recipe.active == "lengths":
            return min(int(active.max()), self._given.shape.time)
        return int((active.view(np.uint8) != 0).sum(axis=1).max(initial=0))

    def _forward(
        self, begin: int, initial: Sequence[Array], outputs: Array | None, residuals: Array | None
    ) -> list[Array]:
        call = self._call
        engine, recipe, shape = call.engine, call.recipe, call.shape
        after = [np.empty_like(state) for state in initial]
        arrays = [*call.sources, *initial, *call.weights]
        arrays += [array for array in (outputs, *after, residuals) if array is not None]
        options = {"outputs": outputs is not None, "training": residuals is not None}
        program = forward_program(
            engine, recipe, shape, threads=call.threads.most, windowed=self._size, **options
        )
        operands = forward_operands(engine, recipe, shape, **options)
        if residuals is not None:
            operands = [*operands[:-1], operands[-1]._replace(shape=residuals.shape)]
        run(program, operands, arrays, engine.dtype, call.threads, begin)
        return after

    def backward(self, output_gradient: Array | None, last_gradients: Sequence[Array | None]) -> Backward:
        """Run the backward pass, one segment after the other from the last."""
        call, shape = self._call, self._call.shape
        engine, recipe = call.engine, call.recipe
        of_initial: Array | None = None
        if output_gradient is not None:
            output_gradient, of_initial = self._gather(output_gradient)
        zeros = [np.zeros((shape.batch, *of), engine.dtype) for of in recipe.state_shapes]
        carried = [z if given is None else given for z, given in zip(zeros, last_gradients, strict=True)]
        inputs = None if call.inputs is None else np.zeros_like(call.inputs)
        weights = [np.zeros_like(weight) for weight in call.weights]
        residuals = aligned(total_size(engine, recipe, shape.held(self._size)), np.uint8)
        beside = [*([] if call.side is None else [call.side]), *call.named]
        of_beside = [np.zeros_like(array) for array in beside]
        named = (True,) * len(call.named)
        wishes = inputs is not None, (True,) * len(weights), recipe.side, named
        wanted = Wanted(output_gradient is not None, (True,) * len(carried), *wishes)
        operands = [
            operand._replace(shape=residuals.shape) if operand.dtype == "bytes" else operand
            for operand in backward_operands(engine, recipe, shape, wanted)
        ]
        part = inputs if inputs is None or not recipe.tokens else np.empty_like(inputs)
        for begin, start in zip(reversed(self._begins), reversed(self._starts[:-1]), strict=True):
            self._forward(begin, start, None, residuals)
            program = backward_program(
                engine, recipe, shape, wanted, threads=call.threads.most, windowed=self._size
            )
            before = [np.empty_like(state) for state in carried]
            parts = [np.empty_like(weight) for weight in weights]
            own = [] if call.inputs is None else [call.inputs]
            arrays = [*own, *beside, *call.weights, residuals]
            arrays += [] if output_gradient is None else [output_gradient]
            arrays += [*carried, *([] if part is None else [part]), *of_beside, *before, *parts]
            run(program, operands, arrays, engine.dtype, call.threads)
            carried = before
            for total, value in zip(weights, parts, strict=True):
                total += value
            if inputs is not None and part is not None and recipe.tokens:
                inputs += part
        if of_initial is not None:
            carried[0] = carried[0] + of_initial
        initial = carried if self._given.recipe.initial else []
        of_side = of_beside.pop(0) if recipe.side else None
        return Backward(inputs, of_side, initial, list(weights), of_beside)

    # ---- steps that are not active ------------------------------------------------------------------------

    def _mask(self) -> Array | None:
        """The mask in the order in which steps run."""
        call = self._given
        if call.active is None:
            return None
        mask = call.active
        if call.recipe.active == "lengths":
            mask = np.arange(call.shape.time) < mask[:, None]
        clean: Array = mask.view(np.uint8) != 0
        return clean[:, ::-1] if call.recipe.reverse else clean

    def _repeat(self, outputs: Array, initial: Array) -> None:
        """Write to steps that are not active the last active one's output before, or the initial state."""
        mask = self._mask()
        if mask is None:
            return
        running = outputs[:, ::-1] if self._given.recipe.reverse else outputs
        latest = np.maximum.accumulate(np.where(mask, np.arange(mask.shape[1]), -1), axis=1)
        for row, (last, active) in enumerate(zip(latest, mask, strict=True)):
            before = np.flatnonzero(~active)
            source = last[before]
            known = (source >= 0).reshape(-1, *[1] * (outputs.ndim - 2))
            running[row, before] = np.where(known, running[row, np.maximum(source, 0)], initial[row])

    def _gather(self, gradient: Array) -> tuple[Array, Array | None]:
        """Sum gradients over runs of equal outputs: at the active steps, and for the initial state."""
        mask = self._mask()
        if mask is None:
            return gradient, None
        gathered = np.zeros_like(gradient)
        of_initial = np.zeros((gradient.shape[0], *gradient.shape[2:]), gradient.dtype)
        reverse = self._given.recipe.reverse
        given, found = (a[:, ::-1] if reverse else a for a in (gradient, gathered))
        for row, active in enumerate(mask):
            begins = np.flatnonzero(active)
            first = begins[0] if begins.size else len(active)
            of_initial[row] = given[row, :first].sum(axis=0)
            if begins.size:
                found[row, begins] = np.add.reduceat(given[row], begins, axis=0)
        return gathered, of_initial

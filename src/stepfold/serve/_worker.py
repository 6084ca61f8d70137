"""One thread per model that runs its kernels; requests that arrive together run as one batch."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections import deque
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from starlette.exceptions import HTTPException

from ..model import Model, Texts
from ._answers import answers
from ._limits import Limits
from ._metrics import Metrics

Found = TypeVar("Found")
_BUSY = {"Retry-After": "1"}
_WAITING_CALLS = 16


@dataclass
class _Job:
    """The inputs of one request: what has been answered, and who waits for it."""

    inputs: list[Any]
    done: asyncio.Future[None]
    answers: list[Any] = field(default_factory=list)
    taken: int = 0  # inputs that a batch has taken


class Worker:
    """A model with the thread that runs it.

    A batch takes what waits, up to `limits.batch` inputs; the rest of a long request goes to the end of the
    queue, so that short ones do not wait for all of it. An idle worker starts at once.
    """

    def __init__(self, model: Model, limits: Limits, metrics: Metrics) -> None:
        self.model = model
        self._limits = limits
        self._waiting: deque[_Job] = deque()
        self._size = 0  # inputs that wait
        self._calls = 0  # other calls that wait
        self._running: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"stepfold {model.name}")
        self._batches = metrics.batches.labels(model.name)
        metrics.queue.labels(model.name).set_function(lambda: self._size)

    async def predict(self, inputs: list[Any]) -> list[Any]:
        """Return the answer to each input; HTTPException 503 if too many wait, or the wait is too long."""
        if self._size and self._size + len(inputs) > self._limits.queue:
            raise HTTPException(503, "too many texts wait for the model; try again", _BUSY)
        job = _Job(inputs, asyncio.get_running_loop().create_future())
        self._waiting.append(job)
        self._size += len(inputs)
        if self._running is None:
            self._running = asyncio.create_task(self._run())
        await self.within(job.done)
        return job.answers

    async def call(self, function: Callable[..., Found], *arguments: Any) -> Found:
        """Run a function on the model's thread, between two batches; errors as `predict`."""
        if self._calls >= _WAITING_CALLS:
            raise HTTPException(503, "too many requests wait for the model; try again", _BUSY)
        self._calls += 1
        try:
            return await self.within(self.run(function, *arguments))
        finally:
            self._calls -= 1

    def warm_up(self) -> None:
        """Run the model once, so that its kernels are compiled and loaded."""
        inputs = self.model.inputs
        if isinstance(inputs, Texts):
            answers(self.model, [""])
        else:
            answers(self.model, [[0] if inputs.features is None else np.zeros((1, inputs.features))])

    def close(self) -> None:
        """End the thread when it has finished what it runs."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def run(self, function: Callable[..., Found], *arguments: Any) -> Found:
        """Run a function on the model's thread, however long it waits: for what is bounded elsewhere."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, function, *arguments)

    def later(self, function: Callable[..., object], *arguments: Any) -> None:
        """Run a function on the model's thread at some time, unless the server ends before."""
        with contextlib.suppress(RuntimeError):
            self._thread.submit(function, *arguments)

    async def within(self, future: Awaitable[Found]) -> Found:
        """Wait for a result; HTTPException 503 if that takes too long."""
        try:
            async with asyncio.timeout(self._limits.answer_seconds):
                return await future
        except TimeoutError:
            message = f"the model is busy: no answer within {self._limits.answer_seconds:g} s; try again"
            raise HTTPException(503, message, _BUSY) from None

    async def _run(self) -> None:
        """Run batches until nothing waits."""
        try:
            while parts := self._take():
                self._batches.observe(sum(len(inputs) for _, inputs in parts))
                found = await self.run(self._answers, [inputs for _, inputs in parts])
                for (job, _), part in zip(parts, found, strict=True):
                    _give(job, part)
        finally:
            self._running = None

    def _take(self) -> list[tuple[_Job, list[Any]]]:
        """Take the next batch: jobs with the inputs to answer now; empty if nothing waits."""
        parts: list[tuple[_Job, list[Any]]] = []
        rest: list[_Job] = []
        room = self._limits.batch
        while self._waiting and room:
            job = self._waiting.popleft()
            remaining = len(job.inputs) - job.taken
            if job.done.done():  # nobody waits for it any more
                self._size -= remaining
                continue
            count = min(room, remaining)
            parts.append((job, job.inputs[job.taken : job.taken + count]))
            job.taken += count
            self._size -= count
            room -= count
            if count < remaining:
                rest.append(job)
        self._waiting.extend(rest)
        return parts

    def _answers(self, parts: list[list[Any]]) -> list[list[Any] | Exception]:
        """Return the answers to each part, from one batch; an error only to the part that causes it."""
        try:
            found = answers(self.model, [each for inputs in parts for each in inputs])
        except Exception as error:
            if len(parts) == 1:
                return [error]
            return [self._answers([inputs])[0] for inputs in parts]
        ends = list(itertools.accumulate(map(len, parts)))
        return [found[end - len(inputs) : end] for end, inputs in zip(ends, parts, strict=True)]


def _give(job: _Job, part: list[Any] | Exception) -> None:
    if job.done.done():
        return
    if isinstance(part, Exception):
        job.done.set_exception(part)
        return
    job.answers.extend(part)
    if len(job.answers) == len(job.inputs):
        job.done.set_result(None)

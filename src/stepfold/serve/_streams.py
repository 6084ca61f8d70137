"""Streams of one model: connections that send at the same time run as one batch."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ._metrics import Metrics
from ._worker import Worker

_STEPS = 64  # timesteps between two looks at who has sent something meanwhile


@dataclass(eq=False)
class _StreamJob:
    """Timesteps to take, one after the other, and who waits for the outputs."""

    row: int
    values: Any  # (time,) ids or (time, features)
    done: asyncio.Future[Any]
    read: int = 0
    outputs: list[Any] = field(default_factory=list)


class Streams:
    """The sequences of all connections to one model, which share a `ModelStream`.

    Everything that touches the stream runs on the model's thread.
    """

    def __init__(self, worker: Worker, metrics: Metrics) -> None:
        self.model = worker.model
        self._worker = worker
        self._stream = worker.model.stream()
        self._stream.leave([0])  # every sequence joins
        self._waiting: list[_StreamJob] = []
        self._running: asyncio.Task[None] | None = None
        self._rows = metrics.rows.labels(worker.model.name)

    async def join(self) -> int:
        """Begin a sequence; return its row. HTTPException 503 if the model is busy."""
        return await self._worker.within(self._worker.run(self._join))  # `Limits.streams` bounds how many

    def leave(self, row: int) -> None:
        """End a sequence."""
        self._worker.later(self._stream.leave, [row])

    async def read(self, row: int, values: Any) -> Any:
        """Take the next timesteps of a sequence and return the outputs, (time, classes).

        Args:
            row: of the sequence, which waits for no other timesteps.
            values: (time,) ids, or (time, features).

        Raises:
            HTTPException: 503 if the model is busy; then some of the timesteps may have been taken.
        """
        job = _StreamJob(row, values, asyncio.get_running_loop().create_future())
        self._waiting.append(job)
        if self._running is None:
            self._running = asyncio.create_task(self._run())
        return await self._worker.within(job.done)

    async def _run(self) -> None:
        """Take timesteps until nobody waits for any."""
        running: list[_StreamJob] = []
        try:
            while running := [job for job in running + self._taken() if not job.done.done()]:
                await self._worker.run(self._advance, running)
                for job in running:
                    if job.read == len(job.values) and not job.done.done():
                        job.done.set_result(self.model.answers(np.concatenate(job.outputs)))
        except Exception as error:
            for job in running:
                if not job.done.done():
                    job.done.set_exception(error)
        finally:
            self._running = None
            if self._waiting:  # after an error
                self._running = asyncio.create_task(self._run())

    def _taken(self) -> list[_StreamJob]:
        taken, self._waiting = self._waiting, []
        return taken

    def _join(self) -> int:
        (row,) = self._stream.join(1).tolist()
        return int(row)

    def _advance(self, jobs: list[_StreamJob]) -> None:
        """Take some timesteps of every job, on the model's thread."""
        for _ in range(_STEPS):
            jobs = [job for job in jobs if job.read < len(job.values)]
            if not jobs:
                return
            self._rows.observe(len(jobs))
            values = np.stack([job.values[job.read] for job in jobs])
            found = self._stream.step(values, rows=[job.row for job in jobs])
            for place, job in enumerate(jobs):
                job.outputs.append(found[place : place + 1].copy())
                job.read += 1

"""Requests that arrive together run as one batch; what waits is bounded; an error is its cause's alone."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import numpy as np
import pytest
from serve_models import Watched, text_model, watched
from starlette.exceptions import HTTPException

from stepfold.serve import Limits, make_app
from stepfold.serve._metrics import Metrics
from stepfold.serve._streams import Streams
from stepfold.serve._worker import Worker


def run(
    limits: Limits,
    use: Callable[[Watched, Worker], Coroutine[Any, Any, None]],
    metrics: Metrics | None = None,
) -> None:
    model = watched()
    worker = Worker(model, limits, metrics or Metrics())

    async def inside() -> None:
        try:
            await use(model, worker)
        finally:
            model.open.set()
            worker.close()

    asyncio.run(inside())


async def blocked(worker: Worker) -> asyncio.Task[Any]:
    """Return a request that has the worker to itself and waits."""
    task = asyncio.create_task(worker.predict(["first"]))
    await asyncio.sleep(0.02)
    return task


def test_what_arrives_meanwhile_is_one_batch() -> None:
    metrics = Metrics()

    async def use(model: Watched, worker: Worker) -> None:
        tasks = [await blocked(worker)]
        tasks += [asyncio.create_task(worker.predict([f"good {n}", "bad"])) for n in range(5)]
        await asyncio.sleep(0.02)
        assert metrics.registry.get_sample_value("stepfold_queue", {"model": "reviews"}) == 10
        model.open.set()
        found = await asyncio.gather(*tasks)
        assert [len(batch) for batch in model.batches] == [1, 10]
        expected = text_model().predict_proba(["good 3", "bad"])
        for answer, row in zip(found[4], expected, strict=True):
            assert answer["probabilities"]["pos"] == pytest.approx(row[1], abs=2e-6)
        assert metrics.registry.get_sample_value("stepfold_queue", {"model": "reviews"}) == 0

    run(Limits(), use, metrics)


def test_a_long_request_lets_short_ones_pass() -> None:
    async def use(model: Watched, worker: Worker) -> None:
        order: list[str] = []

        async def asked(name: str, texts: list[str]) -> None:
            assert len(await worker.predict(texts)) == len(texts)
            order.append(name)

        tasks = [asyncio.create_task(asked("long", [f"good {n}" for n in range(50)]))]
        await asyncio.sleep(0.02)
        tasks.append(asyncio.create_task(asked("short", ["bad"])))
        await asyncio.sleep(0.02)
        model.open.set()
        await asyncio.gather(*tasks)
        assert order == ["short", "long"]
        assert max(map(len, model.batches)) <= 8
        asked_for = [text for batch in model.batches for text in batch if text != "bad"]
        assert asked_for == [f"good {n}" for n in range(50)]

    run(Limits(batch=8), use)


def test_a_full_queue_refuses() -> None:
    async def use(model: Watched, worker: Worker) -> None:
        task = await blocked(worker)
        waiting = [asyncio.create_task(worker.predict(["a", "b"])) for _ in range(2)]
        await asyncio.sleep(0.02)
        with pytest.raises(HTTPException) as refused:
            await worker.predict(["one more"])
        assert refused.value.status_code == 503
        assert refused.value.headers == {"Retry-After": "1"}
        model.open.set()
        await asyncio.gather(task, *waiting)
        assert len(await worker.predict(["now"])) == 1

    run(Limits(queue=4), use)


def test_an_error_is_its_causes_alone() -> None:
    async def use(model: Watched, worker: Worker) -> None:
        task = await blocked(worker)
        good = asyncio.create_task(worker.predict(["good", "bad"]))
        poison = asyncio.create_task(worker.predict(["good", "poison"]))
        last = asyncio.create_task(worker.predict(["film"]))
        await asyncio.sleep(0.02)
        model.open.set()
        found = await asyncio.gather(task, good, poison, last, return_exceptions=True)
        assert [type(each) for each in found] == [list, list, RuntimeError, list]
        assert len(await worker.predict(["afterwards"])) == 1

    run(Limits(), use)


def test_who_waits_too_long_is_told_and_not_run() -> None:
    async def use(model: Watched, worker: Worker) -> None:
        task = await blocked(worker)
        task.cancel()
        with pytest.raises(HTTPException) as refused:
            await worker.predict(["never run"])
        assert refused.value.status_code == 503
        assert "no answer within 0.05 s" in refused.value.detail
        model.open.set()
        await worker.predict(["later"])
        assert model.batches == [["first"], ["later"]]

    run(Limits(answer_seconds=0.05), use)


def test_a_server_starts_however_long_its_kernels_take() -> None:
    async def use(model: Watched, worker: Worker) -> None:
        app = make_app([model], Limits(answer_seconds=0.02))
        asyncio.get_running_loop().call_later(0.1, model.open.set)
        async with app.router.lifespan_context(app):
            assert model.open.is_set()
            assert model.batches == [[""]]

    run(Limits(), use)


def test_calls_run_on_the_models_thread_and_are_bounded() -> None:
    async def use(model: Watched, worker: Worker) -> None:
        task = await blocked(worker)
        calls = [asyncio.create_task(worker.call(threading.get_ident)) for _ in range(16)]
        await asyncio.sleep(0.02)
        with pytest.raises(HTTPException, match="503"):
            await worker.call(threading.get_ident)
        model.open.set()
        await task
        assert len(set(await asyncio.gather(*calls))) == 1
        assert np.isfinite(await worker.call(lambda: 1.0))

    run(Limits(), use)


def test_many_streams_may_join_while_a_batch_runs() -> None:
    async def use(model: Watched, worker: Worker) -> None:
        streams = Streams(worker, Metrics())
        task = await blocked(worker)
        joins = [asyncio.create_task(streams.join()) for _ in range(40)]
        await asyncio.sleep(0.02)
        model.open.set()
        assert len(set(await asyncio.gather(*joins))) == 40
        await task

    run(Limits(), use)


def test_streams_that_wait_together_are_one_batch_and_those_that_left_are_not_in_it() -> None:
    metrics = Metrics()

    async def use(model: Watched, worker: Worker) -> None:
        streams = Streams(worker, metrics)
        rows = [await streams.join() for _ in range(4)]
        streams.leave(rows.pop())
        free = threading.Event()
        task = asyncio.create_task(worker.call(free.wait, 10))
        texts = ["the film is good", "bad", "not very good this film was very very bad"]
        ids = [model.inputs.vocabulary.encode(text)[1:] for text in texts]  # type: ignore[union-attr]
        reads = [asyncio.create_task(streams.read(row, each)) for row, each in zip(rows, ids, strict=True)]
        await asyncio.sleep(0.02)
        free.set()
        found = await asyncio.gather(*reads)
        assert await task
        for text, outputs in zip(texts, found, strict=True):
            np.testing.assert_allclose(outputs, text_model().explain(text).outputs, atol=2e-6)
        name = {"model": "reviews"}
        assert metrics.registry.get_sample_value("stepfold_stream_rows_sum", name) == sum(map(len, ids))
        assert metrics.registry.get_sample_value("stepfold_stream_rows_count", name) == max(map(len, ids))
        with pytest.raises(IndexError, match="has left"):
            await streams.read(rows[-1] + 1, ids[0])
        assert len(await streams.read(rows[0], ids[1])) == 1  # an error leaves the others as they are

    run(Limits(), use, metrics)

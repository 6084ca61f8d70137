"""Many clients for a few seconds: no error, no growth of memory, and how long answers take."""

from __future__ import annotations

import re

import httpx2
import pytest
from serve_models import text_model
from serve_running import running

from benchmarks._load import load, predict_request
from stepfold.serve import Limits

pytestmark = pytest.mark.slow

_GROWTH = 8 * 2**20  # bytes: far less than a leak of a hundred bytes a request


def resident(port: int) -> float:
    text = httpx2.get(f"http://127.0.0.1:{port}/metrics").text
    (found,) = re.findall(r"^process_resident_memory_bytes (\S+)$", text, re.MULTILINE)
    return float(found)


def test_many_clients_get_answers_and_memory_stays(capsys: pytest.CaptureFixture[str]) -> None:
    requests = [predict_request(f"the film is {'very ' * (n % 30)}good") for n in range(64)]
    with running([text_model()], Limits()) as port:
        load(port, requests, clients=32, seconds=1.0)
        before = resident(port)
        found = load(port, requests, clients=32, seconds=3.0)
        grown = resident(port) - before
        text = httpx2.get(f"http://127.0.0.1:{port}/metrics").text
    with capsys.disabled():
        print(
            f"\n32 clients, 3 s, server and clients in one process: {found}; memory {grown / 2**20:+.1f} MiB"
        )
    assert found.errors == []
    assert len(found.seconds) > 300
    assert found.percentile(0.99) < 2
    assert grown < _GROWTH
    batches = float(
        re.findall(r'^stepfold_batch_size_count\{model="reviews"\} (\S+)$', text, re.MULTILINE)[0]
    )
    answered = float(re.findall(r'^stepfold_batch_size_sum\{model="reviews"\} (\S+)$', text, re.MULTILINE)[0])
    assert answered / batches > 2, "requests that arrive together run as one batch"

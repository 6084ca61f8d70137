"""Requests a second of the server, beside the same model that Keras runs in the same server.

Run it as `python -m benchmarks.serve [--quick] [--clients 1 32 …]`.

The tutorial's network, Embedding(10000, 32) → LSTM(32) → Dense(1) over 500 tokens, masked; the texts are
reviews of the IMDB training set. Every side has a server process of its own; the clients are one other
process, and ask again as soon as they have their answer. Answers are compared first.
"""

from __future__ import annotations

import contextlib
import json
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Sequence

from stepfold.data import imdb_texts

from . import _report
from ._load import Load, load, predict_request
from ._serve_worker import SIDES

TOLERANCE = 1e-4
CLIENTS = (1, 32)
_SECONDS, _QUICK = 10.0, 3.0  # of each side for each number of clients
_WARM = 1.0
_REVIEWS = 512


@contextlib.contextmanager
def serving(side: str) -> Iterator[tuple[int, int]]:
    """Run the server of one side; yield its port and its process id."""
    command = [sys.executable, "-m", "benchmarks._serve_worker", side]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield int(process.stdout.readline().rpartition(":")[2]), process.pid
        finally:
            process.send_signal(signal.SIGTERM)


def answers(port: int, texts: Sequence[str]) -> list[float]:
    """Return the probability of "pos" that a server gives to each text."""
    asked = urllib.request.Request(
        f"http://127.0.0.1:{port}/predict",
        json.dumps({"texts": list(texts)}).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(asked) as answer:
        return [each["probabilities"]["pos"] for each in json.load(answer)["predictions"]]


def main(arguments: Sequence[str]) -> None:
    parser = _report.options(__doc__)
    parser.add_argument("--clients", nargs="+", type=int, default=CLIENTS)
    chosen = parser.parse_args(arguments)
    report = _report.begin("serve", chosen)
    texts = list(imdb_texts().texts)
    reviews = texts[:: len(texts) // _REVIEWS]
    requests = [predict_request(text) for text in reviews]
    seconds = _QUICK if chosen.quick else _SECONDS
    expected: list[float] = []
    found: dict[tuple[str, int], Load] = {}
    processor: dict[tuple[str, int], float] = {}
    for side in SIDES:
        with serving(side) as (port, process):
            given = answers(port, reviews[:32])
            expected = expected or given
            difference = max(abs(a - b) for a, b in zip(given, expected, strict=True))
            if difference > TOLERANCE:
                raise AssertionError(f"{side} differs from {SIDES[0]} by {difference:.2g}")
            report.restart_load()
            for clients in chosen.clients:
                load(port, requests, clients=clients, seconds=_WARM)
                before = processor_seconds(port)
                found[side, clients] = load(port, requests, clients=clients, seconds=seconds)
                used = processor_seconds(port) - before
                processor[side, clients] = used / len(found[side, clients].seconds)
            report.check_load([process])
    rows = [
        _row(side, clients, found, processor[side, clients]) for clients in chosen.clients for side in SIDES
    ]
    print("\nPOST /predict, one review a request")
    head = ["side", "clients", "requests/s", "ours ÷ it", "p50 ms", "p99 ms", "processor ms", "errors"]
    print(_report.table(head, rows))
    report.results += [
        {
            "title": f"{clients} clients",
            "side": side,
            "requests_a_second": each.rate,
            "p50": each.percentile(0.5),
            "p99": each.percentile(0.99),
            "processor_seconds_a_request": processor[side, clients],
            "errors": len(each.errors),
        }
        for (side, clients), each in found.items()
    ]
    report.end()
    if any(each.errors for each in found.values()):
        sys.exit("some requests failed")


def processor_seconds(port: int) -> float:
    """Return the processor time that a server has used."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        text = answer.read().decode()
    return float(re.findall(r"^process_cpu_seconds_total (\S+)$", text, re.MULTILINE)[0])


def _row(side: str, clients: int, found: dict[tuple[str, int], Load], processor: float) -> list[str]:
    load, ours = found[side, clients], found[SIDES[0], clients]
    return [
        side,
        str(clients),
        f"{load.rate:,.0f}",
        f"{ours.rate / load.rate:.2f}",
        *(f"{1e3 * each:.2f}" for each in (load.percentile(0.5), load.percentile(0.99), processor)),
        str(len(load.errors)),
    ]


if __name__ == "__main__":
    main(sys.argv[1:])

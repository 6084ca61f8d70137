"""A small model on words, its explanations, and a server that answers with them."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np

from stepfold import cells
from stepfold.data import FIRST_WORD, UnicodeWords
from stepfold.model import DenseLayer, EmbeddingLayer, Model, RecurrentLayer, Texts
from stepfold.viewer import live_page, live_policy

_TONE = {
    "dull": -1.4, "clumsy": -1.2, "awful": -2.4, "little": -0.5, "waste": -2.0, "but": 0.3, "superb": 2.4,
    "wonderful": 2.6, "tender": 1.2, "funny": 1.1, "false": -0.4, "loved": 1.9, "best": 1.6,
}  # fmt: skip


_PLAIN = [
    "a", "actors", "an", "and", "end", "expecting", "film", "first", "half", "hour", "i", "in", "is", "it",
    "kitchen", "never", "one", "scene", "simply", "start", "talk", "the", "then", "two", "very", "was",
    "went",
]  # fmt: skip
_VOCABULARY = UnicodeWords((*_TONE, *_PLAIN))
_FEATURES = 4


@cache
def network(labels: tuple[str, ...] = ("negative", "positive"), units: int = 32, seed: int = 0) -> Model:
    """A small LSTM with made weights: the tone of a word moves its state along one direction."""
    random = np.random.default_rng(seed)
    direction = random.normal(0, 1, units)
    table = random.normal(0, 0.3, (FIRST_WORD + len(_VOCABULARY.words), _FEATURES))
    table[:, 0] = 0
    table[FIRST_WORD : FIRST_WORD + len(_TONE), 0] = list(_TONE.values())
    shapes = cells.lstm.parameter_shapes(units=units, features=_FEATURES)
    params = {name: random.normal(0, 0.05, shape).astype(np.float32) for name, shape in shapes.items()}
    params["W_c"][:, 0] += direction
    params["b_f"] += 3
    readout = np.linspace(-1, 1, len(labels)) * 7 * direction[:, None] / units
    return Model(
        (
            EmbeddingLayer(table.astype(np.float32), mask_zero=True),
            RecurrentLayer(cells.lstm, params),
            DenseLayer(readout.astype(np.float32), None, "softmax"),
        ),
        Texts(_VOCABULARY, 6000),
        labels,
    )


def model(name: str = "imdb-lstm", labels: tuple[str, ...] = ("negative", "positive")) -> dict[str, Any]:
    """A model as the page is told of it."""
    return {
        "name": name,
        "labels": list(labels),
        "equations": network(labels).equations(),
        "streams": True,
    }


def explain(
    text: str,
    values: bool | list[str] = False,
    labels: tuple[str, ...] = ("negative", "positive"),
    units: int = 32,
    seed: int = 0,
) -> dict[str, Any]:
    """What the network makes of a text."""
    return network(labels, units, seed).explain(text, values).to_dict()


@contextmanager
def server(
    models: list[dict[str, Any]], answer: Callable[[Mapping[str, Any]], tuple[int, Any]]
) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A page on a port of its own: its address, and the requests that it has had."""
    asked: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.reply(200, "text/html; charset=utf-8", live_page(models).encode())

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked.append(body)
            status, found = answer(asked[-1])
            self.reply(status, "application/json", json.dumps(found).encode())

        def reply(self, status: int, kind: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Content-Security-Policy", live_policy())
            self.end_headers()
            with suppress(ConnectionError):  # the page has asked again meanwhile
                self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{http.server_port}/", asked
    finally:
        http.shutdown()
        http.server_close()
        thread.join()

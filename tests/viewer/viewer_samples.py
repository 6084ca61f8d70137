"""Tiny models on words, their explanations, and a server that answers with them."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np

from stepfold import cells
from stepfold.viewer import live_page, live_policy

_TONE = {
    "dull": -1.4, "clumsy": -1.2, "awful": -2.4, "little": -0.5, "waste": -2.0, "but": 0.3, "superb": 2.4,
    "wonderful": 2.6, "tender": 1.2, "funny": 1.1, "false": -0.4, "loved": 1.9, "best": 1.6,
}  # fmt: skip


def model(name: str = "imdb-lstm", labels: tuple[str, ...] = ("negative", "positive")) -> dict[str, Any]:
    """A model as the page is told of it."""
    equations = {"name": "lstm", "cell": "lstm", "maths": cells.lstm.show("maths"), "latex": ""}
    return {"name": name, "labels": list(labels), "equations": [equations], "streams": True}


def explain(
    text: str,
    values: bool | list[str] = False,
    labels: tuple[str, ...] = ("negative", "positive"),
    units: int = 32,
    seed: int = 0,
) -> dict[str, Any]:
    """An explanation of a text by an LSTM with made weights: computed, not trained."""
    tokens = re.findall(r"[^\W_]+|[^\w\s]", text.lower())
    random = np.random.default_rng(seed)
    direction = random.normal(0, 1, units)
    recurrent = random.normal(0, 0.5 / np.sqrt(units), (4, units, units))
    readout = (
        random.normal(0, 0.2 / np.sqrt(units), (units, len(labels) - 1)) + 2.5 * direction[:, None] / units
    )
    h, c = np.zeros(units), np.zeros(units)
    rows: dict[str, list[list[float]]] = {name: [] for name in ("h", "c", "i", "f", "c~", "o")}
    outputs = []

    def classes() -> list[float]:
        score = np.concatenate([[0.0], 2.2 * h @ readout])
        return [round(float(v), 5) for v in np.exp(score) / np.exp(score).sum()]

    before = classes()
    for token in tokens:
        own = np.random.default_rng(sum(map(ord, token)))
        x = _TONE.get(token, own.normal(0, 0.1)) * direction + own.normal(0, 0.3, units)
        i, f, o = (
            1 / (1 + np.exp(-(recurrent[k] @ h + (0.4 * abs(x) - 1.0 if k == 0 else bias))))
            for k, bias in enumerate((0, 2.2, 0.3))
        )
        new = np.tanh(recurrent[3] @ h + x)
        c = f * c + i * new
        h = o * np.tanh(c)
        for name, value in (("h", h), ("c", c), ("i", i), ("f", f), ("c~", new), ("o", o)):
            rows[name].append([round(float(v), 5) for v in value])
        outputs.append(classes())
    shown = list(rows) if values is True else ["h", "c", *(name for name in values or [] if name in rows)]
    return {
        "tokens": tokens, "known": [not token.startswith("z") for token in tokens], "labels": list(labels),
        "outputs": outputs, "before": before,
        "layers": [{"name": "lstm", "cell": "lstm", "values": {name: rows[name] for name in shown}}],
    }  # fmt: skip


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
            asked.append({**body, "authorization": self.headers.get("Authorization")})
            status, found = answer(asked[-1])
            self.reply(status, "application/json", json.dumps(found).encode())

        def reply(self, status: int, kind: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Content-Security-Policy", live_policy())
            self.end_headers()
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

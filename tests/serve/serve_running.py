"""A server in a thread, and clients that send bytes as they like."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

from stepfold.model import Model
from stepfold.serve import Limits, Server, config, listen, make_app


@contextlib.contextmanager
def running(models: Sequence[Model], limits: Limits) -> Iterator[int]:
    """Serve models from a thread; yield the port."""
    listening = listen("127.0.0.1", 0, token=False)
    started = threading.Event()
    server = Server(config(make_app(models, limits), limits), started.set)
    thread = threading.Thread(target=server.run, args=([listening],))
    thread.start()
    try:
        assert started.wait(30)
        yield listening.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(30)
    assert not thread.is_alive()


def connect(port: int) -> socket.socket:
    """Return a connection that waits 10 seconds for an answer, at most."""
    return socket.create_connection(("127.0.0.1", port), timeout=10)


def answer(client: socket.socket) -> bytes:
    """Return everything until the server closes."""
    found = b""
    with contextlib.suppress(ConnectionResetError):
        while part := client.recv(65536):
            found += part
    return found


def sent(port: int, *parts: bytes, pause: float = 0.0) -> bytes:
    """Send some bytes, with pauses between them; return the answer until the server closes."""
    with connect(port) as client:
        for part in parts:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                client.sendall(part)
            time.sleep(pause)
        return answer(client)


def request(body: bytes = b'{"text": "good"}', path: str = "/predict", *, length: int | None = None) -> bytes:
    """Return a request as bytes, after which the server closes."""
    count = len(body) if length is None else length
    return (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n"
        f"Content-Length: {count}\r\n\r\n"
    ).encode() + body


def until(condition: Any, seconds: float = 10.0) -> None:
    """Wait until a condition holds; an assertion after some seconds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.01)

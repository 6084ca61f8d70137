"""A real server and WebSocket clients that are silent, do not read, or send what is no message."""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import struct
import time
from collections.abc import Iterator

import httpx2
import numpy as np
import pytest
from serve_models import text_model
from serve_running import connect, running, until
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect as open_stream

from stepfold.serve import Limits

pytestmark = pytest.mark.slow

LIMITS = Limits(
    write_seconds=0.5,
    ping_seconds=1.0,
    idle_seconds=3.0,
    answer_seconds=60,
    message_bytes=4096,
    streams=40,
    connections=60,
)
MODEL = text_model()
HANDSHAKE = (
    b"GET /stream HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with running([MODEL], LIMITS) as port:
        yield port


def figure(port: int, name: str) -> float:
    text = httpx2.get(f"http://127.0.0.1:{port}/metrics").text
    return float(re.findall(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)[0])


@pytest.fixture(autouse=True)
def _nothing_is_left(port: int) -> Iterator[None]:
    yield
    until(lambda: figure(port, 'stepfold_active{kind="stream"}') == 0)
    with open_stream(f"ws://127.0.0.1:{port}/stream") as stream:
        stream.send('{"text": "good"}')
        assert json.loads(stream.recv(5))["tokens"] == ["good"]


def frame(content: bytes, code: int = 1, *, final: bool = True) -> bytes:
    """Return a masked frame of a client."""
    mask = os.urandom(4)
    masked = bytes(byte ^ mask[place % 4] for place, byte in enumerate(content))
    length = len(content)
    size = bytes([128 | length]) if length < 126 else b"\xfe" + struct.pack("!H", length)
    return bytes([(128 if final else 0) | code]) + size + mask + masked


@contextlib.contextmanager
def raw(port: int) -> Iterator[socket.socket]:
    with connect(port) as client:
        client.sendall(HANDSHAKE)
        found = b""
        while b"\r\n\r\n" not in found:
            found += client.recv(4096)
        assert found.startswith(b"HTTP/1.1 101 ")
        yield client


def rest(client: socket.socket) -> bytes:
    found = b""
    with contextlib.suppress(ConnectionResetError):
        while part := client.recv(65536):
            found += part
    return found


def test_a_client_that_answers_no_ping_is_closed(port: int) -> None:
    before = time.monotonic()
    with raw(port) as client:
        rest(client)
    assert time.monotonic() - before < 5


def test_a_client_that_pings_but_sends_nothing_is_closed(port: int) -> None:
    with open_stream(f"ws://127.0.0.1:{port}/stream") as stream, pytest.raises(ConnectionClosed) as closed:
        stream.recv(10)
    assert closed.value.rcvd is not None
    assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (1001, "nothing came for 3 s")


def test_a_message_that_trickles_in_is_not_waited_for(port: int) -> None:
    before = time.monotonic()
    with raw(port) as client, contextlib.suppress(BrokenPipeError, ConnectionResetError):
        client.sendall(frame(b'{"te', final=False))
        while time.monotonic() - before < 20:
            client.sendall(frame(b"x", 0, final=False))
            time.sleep(0.1)
    assert time.monotonic() - before < 10


def test_a_client_that_does_not_read_loses_its_connection(port: int) -> None:
    message = frame(json.dumps({"text": "good " * 700}).encode())
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.settimeout(10)
        client.connect(("127.0.0.1", port))
        client.sendall(HANDSHAKE)
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            for _ in range(10_000):
                client.sendall(message)
            pytest.fail("the server read 35 MB whose answers nobody reads")


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (frame(b"\xff\xfe"), 1007),
        (frame(b"x" * 5000), 1009),
        (b"\x81\x05hello", 1002),
        (frame(b"x" * 3000, final=False) + frame(b"x" * 3000, 0), 1009),
        (frame(b"x", 3), 1002),
        (frame(b"bytes", 2), 1003),
    ],
    ids=["no UTF-8", "too long", "not masked", "too long in parts", "unknown code", "bytes"],
)
def test_what_is_no_message_closes(port: int, sent: bytes, code: int) -> None:
    with raw(port) as client:
        client.sendall(sent)
        header = client.recv(2)
        assert header[0] == 0x88
        assert client.recv(2) == struct.pack("!H", code)


def test_clients_that_go_do_no_harm(port: int) -> None:
    before = figure(port, "process_resident_memory_bytes")
    for _ in range(10):
        with contextlib.ExitStack() as stack:
            for _ in range(20):
                client = stack.enter_context(raw(port))
                client.sendall(frame(b'{"text": "the film is good"}'))
        until(lambda: figure(port, 'stepfold_active{kind="stream"}') == 0)
    assert figure(port, "process_resident_memory_bytes") - before < 8 * 2**20


def test_many_streams_at_the_same_time(port: int) -> None:
    text = "the film is not very good " * 20
    with contextlib.ExitStack() as stack:
        streams = [stack.enter_context(open_stream(f"ws://127.0.0.1:{port}/stream")) for _ in range(16)]
        for stream in streams:
            stream.send(json.dumps({"text": text}))
        found = [json.loads(stream.recv(10)) for stream in streams]
    for each in found[1:]:
        np.testing.assert_allclose(each["outputs"], found[0]["outputs"], atol=2e-6)


def test_a_refused_stream_is_no_failure(port: int, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(InvalidStatus) as refused:
        open_stream(f"ws://127.0.0.1:{port}/stream?model=other").__enter__()
    assert refused.value.response.status_code == 404
    assert b"other" in refused.value.response.body
    until(lambda: figure(port, 'stepfold_active{kind="stream"}') == 0)
    assert caplog.text == ""


def test_the_end_of_the_server_closes_streams() -> None:
    with running([MODEL], LIMITS) as own:
        stream = open_stream(f"ws://127.0.0.1:{own}/stream").__enter__()
    with pytest.raises(ConnectionClosed) as closed:
        stream.recv(5)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1012

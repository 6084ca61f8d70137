"""A real server and clients that are slow, silent, greedy or broken: none of them holds another up."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import httpx2
import pytest
from serve_models import text_model, watched
from serve_running import answer, connect, request, running, sent, until

from stepfold.serve import Limits

pytestmark = pytest.mark.slow

LIMITS = Limits(
    header_seconds=0.5,
    body_seconds=0.5,
    write_seconds=0.5,
    keep_alive_seconds=1,
    header_bytes=4096,
    body_bytes=100_000,
    connections=12,
    texts=1000,
    characters=100_000,
)


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with running([text_model()], LIMITS) as port:
        yield port


@pytest.fixture(autouse=True)
def _answers_afterwards(port: int) -> Iterator[None]:
    yield
    before = time.monotonic()
    assert sent(port, request()).startswith(b"HTTP/1.1 200")
    assert time.monotonic() - before < 5


def push(client: socket.socket, data: bytes, times: int) -> None:
    for _ in range(times):
        client.sendall(data)


def test_headers_that_trickle_in_get_408(port: int) -> None:
    before = time.monotonic()
    with connect(port) as client:
        for byte in request()[:9]:
            client.sendall(bytes([byte]))
            time.sleep(0.05)
        found = answer(client)
    assert found.startswith(b"HTTP/1.1 408 ")
    assert b"the headers have not arrived within 0.5 s" in found
    assert time.monotonic() - before < 4


def test_a_silent_connection_is_closed(port: int) -> None:
    before = time.monotonic()
    assert sent(port) == b""
    assert 0.4 < time.monotonic() - before < 4


def test_line_ends_between_requests_do_not_prolong_the_wait(port: int) -> None:
    kept = request().replace(b"Connection: close\r\n", b"")
    before = time.monotonic()
    found = sent(port, kept, *[b"\r\n"] * 20, pause=0.1)
    assert found.startswith(b"HTTP/1.1 200")
    assert time.monotonic() - before < 6


def test_a_connection_between_two_requests_is_closed_in_time(port: int) -> None:
    kept = request().replace(b"Connection: close\r\n", b"")
    before = time.monotonic()
    assert sent(port, kept, kept, pause=0.3).count(b"HTTP/1.1 200") == 2
    assert time.monotonic() - before < 6


def test_a_body_that_does_not_come_gets_408(port: int) -> None:
    found = sent(port, request(length=1000))
    assert found.startswith(b"HTTP/1.1 408 ")
    assert b"the body has not arrived within 0.5 s" in found


def test_a_body_that_trickles_in_gets_408(port: int) -> None:
    parts = [b"x"] * 14
    found = sent(port, request(b"", length=1000), *parts, pause=0.05)
    assert found.startswith(b"HTTP/1.1 408 ")


def test_a_long_body_gets_413_and_may_be_sent_to_its_end(port: int) -> None:
    body = b'{"text": "%s"}' % (b"x" * 300_000)
    answered = httpx2.post(
        f"http://127.0.0.1:{port}/predict", content=body, headers={"Content-Type": "application/json"}
    )
    assert answered.status_code == 413


def test_an_endless_body_loses_its_connection(port: int) -> None:
    with connect(port) as client:
        client.sendall(request(b"", length=10**12))
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            push(client, b"x" * 100_000, 10_000)


@pytest.mark.parametrize(
    "headers",
    [b"X: " + b"x" * 10_000, b"".join(b"Cookie: a%d=b\r\n" % n for n in range(1000))],
    ids=["one long", "many cookies"],
)
def test_long_headers_get_431(port: int, headers: bytes) -> None:
    with connect(port) as client:
        client.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n" + headers[:9000])
        assert client.recv(100).startswith(b"HTTP/1.1 431 ")


@pytest.mark.parametrize(
    "given",
    [
        b"\x00\x01\x02\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        request().replace(b"Content-Length: 16", b"Content-Length: -1"),
        request().replace(b"Content-Length: 16", b"Content-Length: 16\r\nContent-Length: 17"),
        request().replace(b"Content-Length: 16", b"Content-Length: 16\r\nTransfer-Encoding: chunked"),
        b"POST /predict HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n",
    ],
)
def test_what_is_no_http_gets_400_or_nothing(port: int, given: bytes) -> None:
    found = sent(port, given)
    assert found.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 408 ", b"HTTP/1.1 4")) or not found


@pytest.mark.parametrize(
    "path", ["/../../etc/passwd", "//etc/passwd", "/docs/../../x", "/%00", "/" + "x" * 3000]
)
def test_paths_lead_nowhere(port: int, path: str) -> None:
    found = sent(port, f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
    assert found.startswith(b"HTTP/1.1 404 ")
    assert found.endswith(b'{"error":"Not Found"}')


def test_http_1_0_is_answered(port: int) -> None:
    assert sent(port, b"GET /health HTTP/1.0\r\n\r\n").endswith(b'{"status":"ok"}')


def test_pipelined_requests_are_answered_in_order(port: int) -> None:
    kept = request().replace(b"Connection: close\r\n", b"")
    found = sent(port, kept + request(b'{"text": 3}') + request())
    assert [part[:3] for part in found.split(b"HTTP/1.1 ")[1:]] == [b"200", b"400"]


def test_requests_without_end_before_the_first_answer_lose_the_connection(port: int) -> None:
    one = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
    assert (
        sent(port, one * 60 + one.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")).count(b" 200 ")
        == 61
    )
    assert sent(port, one * 5000).count(b" 200 ") < 100


def test_clients_that_go_in_mid_request_do_no_harm(port: int) -> None:
    for end in range(1, len(request()), 9):
        with connect(port) as client:
            client.sendall(request()[:end])


def test_a_client_that_does_not_read_loses_its_connection(port: int) -> None:
    text = b'{"texts": [%s]}' % b",".join([b'"good"'] * 1000)
    kept = request(text).replace(b"Connection: close\r\n", b"")
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.settimeout(10)
        client.connect(("127.0.0.1", port))
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            push(client, kept, 2000)


def test_waiting_connections_make_room() -> None:
    limits = Limits(connections=12)
    with running([text_model()], limits) as port:
        silent = [connect(port) for _ in range(limits.connections + 5)]
        before = time.monotonic()
        assert sent(port, request()).startswith(b"HTTP/1.1 200")
        assert time.monotonic() - before < limits.header_seconds / 2
        for client in silent:
            client.close()


def test_connections_above_the_limit_get_503() -> None:
    model = watched()
    model.open.set()
    with running([model], Limits(connections=2)) as port, connect(port) as first, connect(port) as second:
        model.open.clear()
        for client in (first, second):
            client.sendall(request())
        until(lambda: len(model.batches) > 1)  # the first is that of the start
        time.sleep(0.1)
        found = sent(port, request())
        assert found.startswith(b"HTTP/1.1 503 ")
        assert b"retry-after: 1" in found
        model.open.set()
        for client in (first, second):
            assert answer(client).startswith(b"HTTP/1.1 200")
        until(lambda: sent(port, request()).startswith(b"HTTP/1.1 200"))

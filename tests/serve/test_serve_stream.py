"""The WebSocket `/stream`: the numbers of the whole text, whoever else streams at the same time."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from serve_models import number_model, text_model
from starlette.testclient import TestClient, WebSocketDenialResponse
from starlette.websockets import WebSocketDisconnect

from stepfold.serve import Limits, make_app

TOKEN = "a-token-of-some-length"
URL = "ws://localhost/stream"
MODELS = [text_model(), text_model("both", both_ways=True), number_model(), number_model("ids", None)]
LIMITS = Limits(streams=4, idle_seconds=5)


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    with TestClient(make_app(MODELS, LIMITS), base_url="http://localhost") as client:
        yield client


def sent(socket: Any, **message: Any) -> Any:
    socket.send_text(json.dumps(message))
    return json.loads(socket.receive_text())


def test_chunks_and_tokens_give_what_the_text_gives(client: TestClient) -> None:
    expected = MODELS[0].explain("the film was not very good")
    with client.websocket_connect(URL) as socket:
        parts = [
            sent(socket, text="the film"),
            sent(socket, text=""),
            sent(socket, token="was"),
            sent(socket, text=" not very good "),
        ]
    assert [len(part["tokens"]) for part in parts] == [2, 0, 1, 3]
    assert [token for part in parts for token in part["tokens"]] == list(expected.tokens)
    outputs = np.array([row for part in parts for row in part["outputs"]])
    np.testing.assert_allclose(outputs, expected.outputs, atol=1e-5)


def test_streams_at_the_same_time_do_not_mix(client: TestClient) -> None:
    texts = ["the film is good", "bad", "not very very very good this film"]
    sockets = [client.websocket_connect(f"{URL}?model=reviews") for _ in texts]
    opened = [socket.__enter__() for socket in sockets]
    for socket, text in zip(opened, texts, strict=True):
        socket.send_text(json.dumps({"text": text}))
    found = [json.loads(socket.receive_text())["outputs"] for socket in opened]
    for socket in sockets:
        socket.__exit__(None, None, None)
    for text, outputs in zip(texts, found, strict=True):
        np.testing.assert_allclose(outputs, MODELS[0].explain(text).outputs, atol=1e-5)


def test_sequences_go_on(client: TestClient) -> None:
    rows = np.random.default_rng(0).normal(size=(5, 2)).round(3)
    with client.websocket_connect(f"{URL}?model=sensors") as socket:
        first = sent(socket, sequence=rows[:2].tolist())
        last = sent(socket, sequence=rows[2:].tolist())
    assert (first["tokens"], last["tokens"]) == (["1", "2"], ["3", "4", "5"])
    np.testing.assert_allclose(last["outputs"][-1], MODELS[2].predict_proba([rows])[0], atol=1e-5)
    with client.websocket_connect(f"{URL}?model=ids") as socket:
        found = sent(socket, sequence=[3, 1, 4])["outputs"]
    np.testing.assert_allclose(found[-1], MODELS[3].predict_proba([[3, 1, 4]])[0], atol=1e-5)


@pytest.mark.parametrize(
    ("message", "error"),
    [
        ("{", "truncated"),
        ('{"text": 3}', "`$.text`"),
        ("[" * 10_000, "Expected `object`"),
        ("{}", 'give one of "text", "token", "sequence"'),
        ('{"token": "two words"}', '"token" must be one token, not 2'),
        ('{"token": ""}', '"token" must be one token, not 0'),
        ('{"sequence": [1]}', 'takes "text" or "token", not "sequence"'),
        ('{"text": "\\ud800 and more"}', "surrogate"),
    ],
)
def test_a_wrong_message_is_told_and_changes_nothing(client: TestClient, message: str, error: str) -> None:
    with client.websocket_connect(URL) as socket:
        sent(socket, text="the film")
        socket.send_text(message)
        assert error in json.loads(socket.receive_text())["error"]
        found = sent(socket, text="good")
    np.testing.assert_allclose(found["outputs"], MODELS[0].explain("the film good").outputs[2:], atol=1e-5)


def test_a_model_of_both_directions_is_no_stream(client: TestClient) -> None:
    with (
        client.websocket_connect(f"{URL}?model=both") as socket,
        pytest.raises(WebSocketDisconnect) as closed,
    ):
        socket.receive_text()
    assert closed.value.code == 1008
    assert "reads from the last timestep to the first" in closed.value.reason
    assert len(closed.value.reason.encode()) <= 123


def test_bytes_are_refused(client: TestClient) -> None:
    with client.websocket_connect(URL) as socket:
        socket.send_bytes(b'{"text": "good"}')
        with pytest.raises(WebSocketDisconnect) as closed:
            socket.receive_text()
    assert (closed.value.code, closed.value.reason) == (1003, "send JSON as text, not as bytes")


def test_a_silent_client_is_closed() -> None:
    app = make_app([text_model()], Limits(idle_seconds=0.05))
    with (
        TestClient(app, base_url="http://localhost") as client,
        client.websocket_connect(URL) as socket,
        pytest.raises(WebSocketDisconnect) as closed,
    ):
        socket.receive_text()
    assert (closed.value.code, closed.value.reason) == (1001, "nothing came for 0.05 s")


def refused(client: TestClient, query: str = "", **headers: str) -> Any:
    with (
        pytest.raises(WebSocketDenialResponse) as found,
        client.websocket_connect(URL + query, headers=headers),
    ):
        pass
    return found.value


def test_refused_before_it_opens(client: TestClient) -> None:
    assert refused(client, "?model=none").status_code == 404
    assert refused(client, origin="https://evil.example").status_code == 403
    assert refused(client, host="evil.example").status_code == 421
    with client.websocket_connect(URL, headers={"origin": "http://localhost"}) as socket:
        assert sent(socket, text="good")["tokens"] == ["good"]


def test_too_many_streams_get_503_until_one_ends(client: TestClient) -> None:
    sockets = [client.websocket_connect(URL) for _ in range(LIMITS.streams)]
    for socket in sockets:
        sent(socket.__enter__(), text="good")
    denied = refused(client)
    assert (denied.status_code, denied.headers["retry-after"]) == (503, "1")
    for socket in sockets:
        socket.__exit__(None, None, None)
    with client.websocket_connect(URL) as socket:
        assert sent(socket, text="good")["tokens"] == ["good"]


def test_a_stream_needs_the_token() -> None:
    with TestClient(make_app([text_model()], token=TOKEN), base_url="http://localhost") as client:
        assert refused(client).status_code == 401
        assert refused(client, authorization="Bearer no").status_code == 401
        with client.websocket_connect(URL, headers={"authorization": f"Bearer {TOKEN}"}) as socket:
            assert sent(socket, text="good")["tokens"] == ["good"]


def test_open_streams_are_counted(client: TestClient) -> None:
    with client.websocket_connect(URL) as socket:
        sent(socket, text="good")
        assert 'stepfold_active{kind="stream"} 1.0' in client.get("/metrics").text
    text = client.get("/metrics").text
    assert 'stepfold_requests_total{method="stream",route="/stream",status="101"}' in text

"""What the server refuses, with which status and which words."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from serve_models import number_model, text_model
from starlette.exceptions import HTTPException
from starlette.testclient import TestClient

from stepfold.serve import Limits, make_app
from stepfold.serve._guard import Rate
from stepfold.serve._messages import Predict, StreamMessage, read

LIMITS = Limits(body_bytes=300_000, texts=5, characters=200, timesteps=50)
JSON = {"Content-Type": "application/json"}
TOKEN = "a-token-of-some-length"


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    models = [text_model(), number_model(), number_model("ids", None)]
    with TestClient(make_app(models, LIMITS), base_url="http://localhost") as client:
        yield client


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "truncated"),
        (b"{", "truncated"),
        (b"null", "Expected `object`"),
        (b"[" * 10_000, "Expected `object`"),
        (b'{"text": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "`$.text`"),
        (b'{"sequence": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "`$.sequence"),
        (b'{"x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "unknown field `x`"),
        (b'{"text": NaN}', "malformed"),
        (b'{"sequence": [1, Infinity]}', "malformed"),
        (b'{"text": 3}', "`$.text`"),
        (b'{"texts": ["a", null]}', "`$.texts[1]`"),
        (b'{"texts": "a"}', "`$.texts`"),
        (b'{"text": "\xff\xfe"}', "not UTF-8"),
        (b'{"text": "a\x00b"}', "malformed"),
        (b'{"text": "\\ud800"}', "truncated"),
        (b'{"text": "\\ud800 and more"}', "surrogate"),
        (b'{"text": "\\udc00 and more"}', "surrogate"),
        (b'{"text": "a", "texts": ["b"]}', "not 2 of them"),
        (b"{}", "not none of them"),
        (b'{"text": "a"} {"text": "b"}', "malformed"),
        (b'{"sequence": [1]}', 'takes "text" or "texts", not "sequence"'),
        (b'{"text": "a", "model": "sensors"}', 'takes "sequence" or "sequences", not "text"'),
        (b'{"sequence": [], "model": "sensors"}', "0 timesteps"),
        (b'{"sequence": [[1, 2], [1]], "model": "sensors"}', '"sequence"[1] is a list of 1'),
        (b'{"sequence": [7], "model": "sensors"}', '"sequence"[0] is a number'),
        (b'{"sequences": [[[1, 2]], [[1, 1e39]]], "model": "sensors"}', '"sequences"[1][0]'),
        (b'{"sequence": [[1, 1e999]], "model": "sensors"}', "out of range"),
        (b'{"sequence": [' + b"9" * 100_000 + b'], "model": "ids"}', "out of range"),
        (b'{"sequence": [123456789012345678901234], "model": "ids"}', '"sequence"[0] is 1.23457e+23'),
        (b'{"sequence": [1, -1], "model": "ids"}', '"sequence"[1] is -1; the model takes ids'),
        (b'{"sequence": [0.5], "model": "ids"}', "is 0.5"),
        (b'{"sequence": [true], "model": "ids"}', "`$.sequence[0]`"),
    ],
)
def test_json_of_another_form_is_refused_by_the_name_of_its_field(
    client: TestClient, body: bytes, message: str
) -> None:
    answer = client.post("/predict", content=body, headers=JSON)
    assert answer.status_code == 400, answer.text
    assert message in answer.json()["error"]


def test_of_a_field_given_twice_the_last_counts(client: TestClient) -> None:
    answer = client.post("/predict", content=b'{"text": "bad", "text": "good"}', headers=JSON)
    assert answer.json() == client.post("/predict", json={"text": "good"}).json()


def test_null_characters_and_marks_are_text(client: TestClient) -> None:
    for text in ("\x00", "a\x00b", "\u202e", "\U0010ffff", "<start> <padding>"):
        assert client.post("/predict", json={"text": text}).status_code == 200


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"text": "x" * 201}, '"text" has 201 characters of at most 200'),
        ({"texts": ["a", "x" * 201]}, '"texts"[1] has 201'),
        ({"texts": ["a"] * 6}, '"texts" holds 6 of at most 5'),
        ({"sequence": [[1, 2]] * 51, "model": "sensors"}, "51 timesteps"),
        ({"text": "x" * 300_000}, "longer than 300,000 bytes"),
    ],
)
def test_too_much_is_413(client: TestClient, body: dict[str, Any], message: str) -> None:
    answer = client.post("/predict", json=body)
    assert answer.status_code == 413
    assert message in answer.json()["error"]


def test_a_body_without_a_length_is_counted(client: TestClient) -> None:
    def parts() -> Iterator[bytes]:
        for _ in range(40):
            yield b" " * 10_000

    answer = client.post("/predict", content=parts(), headers=JSON)
    assert (answer.status_code, "longer than" in answer.text) == (413, True)
    short = client.post("/predict", content=iter([b'{"te', b'xt": "good"}']), headers=JSON)
    assert short.status_code == 200


def test_methods_types_and_paths(client: TestClient) -> None:
    assert client.get("/predict").status_code == 405
    assert client.get("/predict").headers["allow"] == "POST"
    assert client.request("BREW", "/health").status_code == 405
    assert client.post("/predict", data={"text": "good"}).status_code == 415
    assert client.post("/predict", content=b'{"text": "a"}').status_code == 415
    packed = client.post("/predict", content=b"x", headers={**JSON, "Content-Encoding": "gzip"})
    assert packed.status_code == 415
    assert client.post("/predict", json={"text": "a", "model": "none"}).status_code == 404
    for path in ("/%2e%2e/%2e%2e/etc/passwd", "/docs/%2e%2e/x", "/docs%00"):
        answer = client.get(path)
        assert (answer.status_code, answer.json()) == (404, {"error": "Not Found"})


@given(
    st.binary(max_size=60) | st.text(max_size=60).map(str.encode), st.sampled_from([Predict, StreamMessage])
)
def test_any_bytes_are_read_or_refused(body: bytes, kind: Any) -> None:
    error = None
    try:
        read(body, kind)
    except HTTPException as found:
        error = found
    assert error is None or (error.status_code == 400 and "send a JSON object" in error.detail)


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", "[", ""])
def test_other_hosts_are_refused_on_loopback(client: TestClient, host: str) -> None:
    answer = client.get("/models", headers={"Host": host})
    assert (answer.status_code, "ask by one of these names" in answer.text) == (421, True)


@pytest.mark.parametrize("host", ["localhost:8000", "127.0.0.1", "[::1]:80", "LOCALHOST"])
def test_names_of_this_machine_are_answered(client: TestClient, host: str) -> None:
    assert client.get("/health", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://localhost:9", "http://[", "file://"]
)
def test_pages_of_other_sites_are_refused(client: TestClient, origin: str) -> None:
    answer = client.post("/predict", json={"text": "a"}, headers={"Origin": origin})
    assert answer.status_code == 403


def test_the_servers_own_page_may_ask(client: TestClient) -> None:
    headers = {"Origin": "http://localhost"}
    assert client.post("/predict", json={"text": "a"}, headers=headers).status_code == 200


def basic(password: str) -> str:
    return "Basic " + base64.b64encode(f"anybody:{password}".encode()).decode()


def test_the_token_opens_everything_but_health() -> None:
    with TestClient(make_app([text_model()], token=TOKEN), base_url="http://anywhere.example") as client:
        assert client.get("/health").status_code == 200
        for path in ("/", "/docs", "/models", "/metrics", "/openapi.json", "/predict", "/nowhere"):
            answer = client.get(path)
            assert (answer.status_code, path) == (401, path)
            assert "Bearer" in answer.headers["www-authenticate"]
        for right in (f"Bearer {TOKEN}", f"bearer  {TOKEN}", basic(TOKEN)):
            assert client.get("/models", headers={"Authorization": right}).status_code == 200
        for wrong in (
            f"Bearer {TOKEN}x",
            f"Bearer {TOKEN[:-1]}",
            "Bearer",
            "Basic é",
            basic(""),
            f"Token {TOKEN}",
        ):
            headers = {"Authorization": wrong.encode("latin-1")}
            assert client.get("/models", headers=headers).status_code == 401  # type: ignore[arg-type]


def test_a_client_above_its_rate_waits() -> None:
    limits = Limits(rate=0.5, burst=3)
    with TestClient(make_app([text_model()], limits), base_url="http://localhost") as client:
        found = [client.get("/health") for _ in range(5)]
    assert [each.status_code for each in found] == [200, 200, 200, 429, 429]
    assert found[-1].headers["retry-after"] == "2"
    assert "more than 0.5 requests a second" in found[-1].json()["error"]


def test_the_clients_that_are_remembered_are_bounded() -> None:
    rate = Rate(1.0, 1, 3)
    assert [rate.wait(f"10.0.0.{client}") for client in range(10)] == [0] * 10
    assert rate.wait("10.0.0.9") == 1
    assert rate.wait("10.0.0.0") == 0  # long forgotten
    assert len(rate._buckets) == 3


def test_what_fails_is_a_500_with_the_same_headers(caplog: pytest.LogCaptureFixture) -> None:
    model = text_model()
    object.__setattr__(model, "labels", ("neg", "pos", "none"))  # one more than there are outputs
    client = TestClient(make_app([model]), base_url="http://localhost")
    answer = client.post("/predict", json={"text": "good"})
    assert (answer.status_code, answer.json()["error"]) == (500, "the server failed; its log says why")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "a request failed" in caplog.text
    assert 'route="/predict",status="500"' in client.get("/metrics").text


@pytest.mark.parametrize(
    ("limit", "value"), [("texts", 0), ("rate", -1), ("batch", 2.5), ("queue", True), ("body_bytes", None)]
)
def test_limits_are_above_zero(limit: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"the limit {limit} must be"):
        Limits(**{limit: value})

"""`POST /explain`: the model's own explanation as JSON, within limits."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from serve_models import number_model, text_model
from starlette.exceptions import HTTPException
from starlette.testclient import TestClient

from ensemble_helpers import ensemble_model
from stepfold.model import EmbeddingLayer
from stepfold.serve import Limits, make_app
from stepfold.serve._explained import explained
from stepfold.viewer import live_policy

MODELS = [text_model(), text_model("both", both_ways=True), number_model(), ensemble_model()]


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    limits = Limits(explained_timesteps=30, explained_backward=10, explained_values=1500)
    with TestClient(make_app(MODELS, limits), base_url="http://localhost") as client:
        yield client


@pytest.mark.parametrize(
    ("place", "given", "values"),
    [
        (0, {"text": "the film is unheard good"}, False),
        (0, {"text": ""}, True),
        (0, {"text": "very good"}, ["i", "f"]),
        (1, {"text": "the film"}, True),
        (2, {"sequence": [[1.0, 2.0], [0.0, -1.0]]}, True),
        (3, {"text": "the film, not good"}, ["i", "z"]),
    ],
)
def test_it_is_the_models_own_explanation(
    client: TestClient, place: int, given: dict[str, Any], values: Any
) -> None:
    model = MODELS[place]
    (one,) = given.values()
    answer = client.post("/explain", json={**given, "values": values, "model": model.name})
    assert answer.status_code == 200, answer.text
    assert answer.json() == msgspec.to_builtins(model.explain(one, values).to_dict())


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ({"text": "good", "values": ["colour"]}, 400, "has the value 'colour'; the values are h, c, i"),
        ({"text": "good", "values": "i"}, 400, "`$.values`"),
        ({"texts": ["good"]}, 400, "unknown field `texts`"),
        ({"sequence": [1]}, 400, 'takes "text" or "texts"'),
        ({"text": "good " * 31}, 413, "31 timesteps of at most 30"),
        ({"text": "good " * 11, "model": "both"}, 413, "11 timesteps of at most 10 for both"),
        ({"text": "good " * 30, "values": True}, 413, "over 1,500 numbers"),
        ({"text": "good", "model": "none"}, 404, "there is no"),
    ],
)
def test_refusals(client: TestClient, body: dict[str, Any], status: int, message: str) -> None:
    answer = client.post("/explain", json=body)
    assert (answer.status_code, message in answer.json()["error"]) == (status, True), answer.text


def test_padding_that_is_read_has_the_limit_of_what_is_read_anew() -> None:
    model = text_model("padded")
    first, *others = model.layers
    assert isinstance(first, EmbeddingLayer)
    padded = replace(model, layers=(EmbeddingLayer(first.table), *others))
    limits = Limits(explained_timesteps=30, explained_backward=10)
    assert explained(padded, "good " * 10, False, limits)
    with pytest.raises(HTTPException, match="11 timesteps of at most 10 for padded"):
        explained(padded, "good " * 11, False, limits)


def test_equations_are_among_the_models(client: TestClient) -> None:
    found = client.get("/models").json()["models"]
    assert [each["equations"] for each in found] == [model.equations() for model in MODELS]
    assert [each["streams"] for each in found] == [True, False, True, False]
    first, ensemble, last = found[3]["layers"]
    assert [each["kind"] for each in (first, ensemble, last)] == ["evidence", "ensemble", "activation"]
    assert "join_evidence" in [each["kind"] for each in ensemble["members"][0]]
    assert [[each["cell"] for each in m if "cell" in each] for m in ensemble["members"]] == [
        ["lstm"],
        ["gru"],
    ]


def test_the_page_has_the_viewers_policy(client: TestClient) -> None:
    answer = client.get("/")
    assert answer.headers["content-security-policy"] == live_policy()
    assert "stepfold-viewer" in answer.text
    assert '"reviews"' in answer.text
    assert '"sensors"' not in answer.text  # which reads no texts


def test_without_a_model_of_texts_the_page_lists_the_requests() -> None:
    client = TestClient(make_app([number_model()]), base_url="http://localhost")
    assert client.get("/").text == client.get("/docs").text

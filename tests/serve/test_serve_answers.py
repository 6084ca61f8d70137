"""What the server answers to a request of the right form: the numbers of the model itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from serve_models import number_model, text_model, value_model
from starlette.exceptions import HTTPException
from starlette.testclient import TestClient

from ensemble_helpers import ensemble_model
from stepfold.app._export import _described
from stepfold.model import ConcatenateLayer, EmbeddingLayer, Model, PoolingLayer, Sequences
from stepfold.serve import make_app
from stepfold.serve._inputs import timesteps
from stepfold.serve._summary import summary

MODELS = [
    text_model(),
    text_model("both", both_ways=True),
    number_model(),
    number_model("ids", None),
    value_model(),
    ensemble_model(),
]


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    with TestClient(make_app(MODELS), base_url="http://localhost") as client:
        yield client


def posted(client: TestClient, **body: Any) -> Any:
    answer = client.post("/predict", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_one_text_gets_label_and_probabilities(client: TestClient) -> None:
    found = posted(client, text="the film is very good")
    (expected,) = MODELS[0].predict_proba(["the film is very good"])
    assert found["label"] == ("neg", "pos")[expected.argmax()]
    assert found["probabilities"] == pytest.approx({"neg": expected[0], "pos": expected[1]}, abs=2e-6)
    assert found["probability"] == max(found["probabilities"].values())


@pytest.mark.parametrize("name", ["reviews", "both", "an ensemble"])
def test_many_texts_keep_their_order(client: TestClient, name: str) -> None:
    texts = ["good", "the film is bad", "", "🎬 unknown words", "very " * 100]
    found = posted(client, texts=texts, model=name)["predictions"]
    expected = next(model for model in MODELS if model.name == name).predict_proba(texts)
    assert [each["probabilities"]["pos"] for each in found] == pytest.approx(expected[:, 1], abs=2e-6)


def test_sequences_of_features_and_of_ids(client: TestClient) -> None:
    rows = [[[0.5, -1], [2, 3]], [[1, 1]]]
    found = posted(client, sequences=rows, model="sensors")["predictions"]
    expected = MODELS[2].predict_proba([np.array(row) for row in rows])
    assert [list(each["probabilities"].values()) for each in found] == pytest.approx(
        [pytest.approx(row, abs=2e-6) for row in expected]
    )
    assert [each["label"] for each in found] == expected.argmax(axis=-1).tolist()
    ids = posted(client, sequence=[3, 1, 11], model="ids")
    assert ids["probabilities"]["2"] == pytest.approx(MODELS[3].predict_proba([[3, 1, 11]])[0, 2], abs=2e-6)


def test_values_are_scaled(client: TestClient) -> None:
    found = posted(client, sequence=[1, 2.5, -3], model="values")
    assert found == {"value": pytest.approx(MODELS[4].predict([[[1], [2.5], [-3]]])[0], rel=1e-6)}


def test_no_texts_no_predictions(client: TestClient) -> None:
    assert posted(client, texts=[]) == {"predictions": []}


def test_models_are_described(client: TestClient) -> None:
    found = {each["name"]: each for each in client.get("/models").json()["models"]}
    assert list(found) == [model.name for model in MODELS]
    assert found["reviews"]["labels"] == ["neg", "pos"]
    assert found["reviews"]["layers"][1] == {"kind": "recurrent", "cell": "lstm", "units": 8}
    assert (found["reviews"]["streams"], found["both"]["streams"]) == (True, False)
    assert (found["sensors"]["inputs"], found["sensors"]["features"]) == ("sequences", 2)


def test_figures_count_requests_by_route_and_status(client: TestClient) -> None:
    posted(client, texts=["good"] * 3)
    client.get("/nowhere/of/any/name")
    text = client.get("/metrics").text
    assert 'stepfold_requests_total{method="POST",route="/predict",status="200"}' in text
    assert 'stepfold_requests_total{method="GET",route="other",status="404"}' in text
    assert "nowhere" not in text
    assert 'stepfold_queue{model="reviews"} 0.0' in text
    assert 'stepfold_batch_size_bucket{le="4.0",model="reviews"}' in text
    assert 'stepfold_active{kind="request"} 1.0' in text


def test_every_route_is_in_the_document_and_every_reference_resolves(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    routes = {route.path for route in client.app.routes if hasattr(route, "methods")}  # type: ignore[attr-defined]
    assert set(document["paths"]) == routes
    schemas = document["components"]["schemas"]

    def check(node: Any) -> None:
        if isinstance(node, dict):
            if "$ref" in node:
                assert node["$ref"].removeprefix("#/components/schemas/") in schemas
            for each in node.values():
                check(each)
        elif isinstance(node, list):
            for each in node:
                check(each)

    check(document)
    content = document["paths"]["/predict"]["post"]["requestBody"]["content"]["application/json"]
    assert client.post("/predict", json=content["example"]).status_code == 200


def test_pages_load_nothing_and_run_their_own_scripts_only(client: TestClient) -> None:
    for path in ("/", "/docs"):
        answer = client.get(path)
        policy = answer.headers["content-security-policy"]
        assert answer.headers["content-type"].startswith("text/html")
        assert "script-src 'sha256-" in policy
        assert "unsafe-inline" not in policy.partition("script-src")[2].partition(";")[0]
        assert "http://" not in answer.text.replace("http://www.w3.org", "")
        assert "https://" not in answer.text


def test_answers_have_careful_headers(client: TestClient) -> None:
    headers = client.get("/health").headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "no-store"
    assert headers["referrer-policy"] == "no-referrer"
    assert "default-src 'none'" in headers["content-security-policy"]


@pytest.mark.parametrize("models", [[], [text_model(), text_model()]])
def test_models_need_names_of_their_own(models: list[Any]) -> None:
    with pytest.raises(ValueError, match="give models with different names"):
        make_app(models)


def test_branches_are_described_and_read_ids_of_the_smallest_table() -> None:
    tables = [EmbeddingLayer(np.ones((rows, 2), np.float32)) for rows in (12, 10)]
    ways = ConcatenateLayer(((), (PoolingLayer("sum"),)))
    model = Model((ConcatenateLayer(tuple((each,) for each in tables)),), Sequences(None))
    (found,) = summary(model)["layers"]
    assert found == {"kind": "concatenate", "branches": [[{"kind": "embedding"}], [{"kind": "embedding"}]]}
    assert timesteps(model, "x", [9]).tolist() == [9]
    with pytest.raises(HTTPException) as caught:
        timesteps(model, "x", [10])
    assert caught.value.detail == "x[0] is 10; the model takes ids, integers from 0 to 9"
    assert _described(model.layers[0]) == "2 branches side by side (embedding (12, 2); embedding (10, 2))"
    assert _described(ways) == "2 branches side by side (the input; sum over time)"

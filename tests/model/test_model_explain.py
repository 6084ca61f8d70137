"""Explanations: outputs and states after each token as for every beginning, gates as in the maths."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from model_helpers import SEQUENCES, TEXTS, WORDS, normal, recurrent, text_model, value_model

from stepfold import cell, cells, sigmoid, tanh
from stepfold.model import (
    AffineLayer,
    BidirectionalLayer,
    DenseLayer,
    EmbeddingLayer,
    Explanation,
    MaskingLayer,
    Model,
    PoolingLayer,
    Sequences,
    Texts,
)
from stepfold.model._beginnings import beginnings, every_beginning, one_pass
from tests.kinds import UNIFORM

TEXT = "the film was unheard of good"


def stack(*, return_sequences: bool) -> tuple[Any, ...]:
    return (
        recurrent(cells.lstm, 4, 5, return_sequences=True),
        recurrent(cells.gru, 5, 5, return_sequences=return_sequences, seed=1),
    )


def pooled(kind: Any, *, masked: bool = True) -> Model:
    inner = (*stack(return_sequences=True), PoolingLayer(kind, masked))
    width = 10 if kind == "max_mean" else 5
    model = text_model(recurrent(cells.lstm, 4, 5))
    last = DenseLayer(normal(width, 3), normal(3), "softmax")
    return replace(model, layers=(model.layers[0], *inner, last), labels=("a", "b", "c"))


def forward_models() -> list[Model]:
    ids = (EmbeddingLayer(normal(9, 4)), *stack(return_sequences=False), DenseLayer(normal(5, 2)))
    numbers = (
        MaskingLayer(0.5),
        AffineLayer(normal(3), normal(3)),
        recurrent(cells.peephole_lstm, 3, 4, return_sequences=True),
        PoolingLayer("mean"),
        DenseLayer(normal(4, 1)),
    )
    return [
        text_model(*stack(return_sequences=False)),
        *(pooled(kind) for kind in ("max", "mean", "max_mean", "last")),
        replace(pooled("max", masked=False), inputs=Sequences(None)),
        Model(ids, Sequences(None, 5)),
        Model(numbers, Sequences(3), None, np.array([2.0]), np.array([1.0])),
    ]


@pytest.mark.parametrize("k", range(8))
def test_one_pass_says_what_running_every_beginning_says(k: int) -> None:
    model = forward_models()[k]
    if isinstance(model.inputs, Texts):
        sequence = WORDS.encode(TEXT)
    else:
        sequence = np.array([3, 1, 2, 8, 0, 1]) if model.inputs.features is None else normal(6, 3)
        if sequence.ndim == 2:
            sequence[2] = 0.5
    sequence = sequence[-(model.inputs.length or 9) :]
    for shortest in (0, 1):
        (outputs, traces), (expected, others) = (
            f(model, sequence, shortest) for f in (one_pass, every_beginning)
        )
        assert outputs.shape == (len(sequence) + 1 - shortest, model.width)
        np.testing.assert_allclose(outputs, expected, atol=1e-5)
        assert len(traces) == len(others) > 0
        for trace, other in zip(traces, others, strict=True):
            assert trace.name == other.name
            for mine, theirs in ((trace.after, other.after), (trace.before, other.before)):
                for a, b in zip(mine, theirs, strict=True):
                    np.testing.assert_allclose(a[1:], b[1:], atol=1e-5)
            np.testing.assert_allclose(trace.inputs[1:], other.inputs[1:], atol=1e-5)


def test_outputs_are_the_predictions_for_every_beginning_of_the_text() -> None:
    both = BidirectionalLayer(recurrent(cells.lstm, 4, 2), recurrent(cells.lstm, 4, 3, reverse=True))
    for model in (text_model(), text_model(mask_zero=False), text_model(both), pooled("max", masked=False)):
        words = TEXT.split()
        found = model.explain(TEXT)
        expected = model.predict_proba([" ".join(words[: k + 1]) for k in range(len(words))])
        count = min(len(words), 6)  # the last six ids, so the start mark is cut off
        assert found.tokens == tuple(words[-count:])
        assert found.known == (True, True, True, False, False, True)
        assert found.labels == tuple(map(str, model.labels or ()))
        np.testing.assert_allclose(found.outputs[-1], expected[-1], atol=1e-5)
        short = model.explain("the film")
        np.testing.assert_allclose(short.outputs, expected[:2], atol=1e-5)
        np.testing.assert_allclose(short.before, model.predict_proba([""])[0], atol=1e-5)


def test_padding_never_changes_what_comes_out() -> None:
    layers = (
        recurrent(cells.simple_rnn, 3, 4, return_sequences=True),
        PoolingLayer("max_mean", masked=False),
    )
    values = Model(layers, Sequences(3))
    alone = np.concatenate([values.outputs([each]) for each in SEQUENCES])
    np.testing.assert_allclose(values.outputs(SEQUENCES), alone, atol=1e-6)
    for model in (pooled("mean"), pooled("mean", masked=False), text_model(mask_zero=False)):
        alone = np.concatenate([model.outputs([each]) for each in TEXTS])
        np.testing.assert_allclose(model.outputs(TEXTS), alone, atol=1e-6)
    masked = Model((MaskingLayer(9.0), layers[0], PoolingLayer("mean")), Sequences(3))
    alone = np.concatenate([masked.outputs([each]) for each in SEQUENCES])
    np.testing.assert_allclose(masked.outputs(SEQUENCES), alone, atol=1e-6)


def test_named_values_are_those_of_the_maths() -> None:
    @cell
    def gated(x: Any, h: Any, m: Any, *, W_g: Any, U_g: Any, b_g: Any, W_c: Any) -> Any:
        g = sigmoid(W_g @ x + U_g @ h + b_g)
        new = g * m + (1.0 - g) * tanh(W_c @ x)
        return tanh(new), new

    layer = recurrent(gated, 3, 4, return_sequences=True)
    model = Model((layer, PoolingLayer("max"), DenseLayer(normal(4, 1))), Sequences(3))
    sequence = SEQUENCES[0]
    (states,) = model.explain(sequence, values=True).layers
    assert (states.name, states.cell) == ("layer 0", "gated")
    assert list(states.values) == ["h", "m", "g"]
    h, m = np.zeros(4), np.zeros(4)
    for t, x in enumerate(sequence):
        p = layer.params
        g = 1 / (1 + np.exp(-(p["W_g"] @ x + p["U_g"] @ h + p["b_g"])))
        m = g * m + (1 - g) * np.tanh(p["W_c"] @ x)
        h = np.tanh(m)
        for name, value in (("g", g), ("m", m), ("h", h)):
            np.testing.assert_allclose(states.values[name][t], value, atol=1e-5)
    assert list(model.explain(sequence, values=["g", "h"]).layers[0].values) == ["h", "m", "g"]
    assert list(model.explain(sequence).layers[0].values) == ["h", "m"]
    with pytest.raises(
        ValueError, match=r"no layer of model that reads forward has the value 'z'; the values are h, m, g$"
    ):
        model.explain(sequence, values=["z"])
    (shown,) = model.equations()
    assert shown["name"] == "layer 0"
    assert "sigmoid(W_g @ x" in shown["maths"]
    assert shown["latex"].startswith("\\begin{aligned}")


def test_every_built_in_cell_can_be_explained() -> None:
    for name in UNIFORM:
        layer = recurrent(cells.by_name(name), 3, 4)
        model = Model((layer,), Sequences(3))
        (states,) = model.explain(np.zeros((0, 3)), values=True).layers
        assert all(value.shape == (0, 4) for value in states.values.values())
        assert not any(name.endswith("'") for name in states.values)


def test_an_explanation_as_json() -> None:
    model = text_model()
    found = json.loads(json.dumps(model.explain("film unheard", values=True).to_dict()))
    assert found["tokens"] == ["film", "unheard"]
    assert found["known"] == [True, False]
    assert found["labels"] == ["no", "yes"]
    assert len(found["before"]) == 2
    assert np.shape(found["outputs"]) == (2, 2)
    (layer,) = found["layers"]
    assert (layer["name"], layer["cell"]) == ("layer 1", "lstm")
    assert {"h", "c", "i", "f", "o"} < layer["values"].keys()
    assert np.shape(layer["values"]["f"]) == (2, 5)
    assert all(len(str(abs(number))) <= 7 for row in layer["values"]["f"] for number in row)
    assert found["outputs"][0] == pytest.approx(model.predict_proba(["film"])[0], abs=1e-5)


def test_what_little_there_may_be_to_explain() -> None:
    for model in (text_model(), text_model(mask_zero=False)):
        empty = model.explain("...")
        assert empty.tokens == ()
        assert empty.outputs.shape == (0, 2)
        assert empty.layers[0].values["h"].shape == (0, 5)
        assert empty.before == pytest.approx(model.predict_proba([""])[0], abs=1e-5)
    model = value_model()
    nothing = model.explain([])
    assert isinstance(nothing, Explanation)
    assert nothing.labels == ("value 1", "value 2")
    assert nothing.before == pytest.approx(model.predict([np.zeros((0, 3))])[0], abs=1e-5)
    assert [layer.name for layer in nothing.layers] == ["layer 3, forward", "layer 4"]
    assert model.explain(SEQUENCES[1]).outputs[-1] == pytest.approx(
        model.predict(SEQUENCES[1:2])[0], abs=1e-4
    )
    with pytest.raises(TypeError, match="text 0 is no string but list"):
        text_model().explain(["the film"])
    assert [each["name"] for each in model.equations()] == ["layer 3, forward", "layer 4"]
    assert beginnings(model, SEQUENCES[1], 1)[0].shape == (2, 2)

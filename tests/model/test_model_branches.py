"""Branches that are concatenated: what they compute, in batches, streams, explanations and files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from model_helpers import SEQUENCES, TEXTS, WORDS, branched_texts, branched_values, normal, recurrent

from ensemble_helpers import SIZE, ngrams
from stepfold import cells
from stepfold.model import (
    ActivationLayer,
    ConcatenateLayer,
    DenseLayer,
    EmbeddingLayer,
    EvidenceLayer,
    JoinEvidenceLayer,
    MaskingLayer,
    Model,
    PoolingLayer,
    Sequences,
    Signal,
    Texts,
    assemble,
    named_layers,
    read_model,
    write_model,
)
from stepfold.model._beginnings import every_beginning, one_pass

LSTM = recurrent(cells.lstm, 3, 4, return_sequences=True)
TABLE, WIDE = EmbeddingLayer(normal(9, 3), mask_zero=True), EmbeddingLayer(normal(8, 2))


def test_each_branch_is_the_chain_that_it_is() -> None:
    values, mask = normal(4, 6, 3), np.random.default_rng(0).random((4, 6)) < 0.7
    values[mask & (normal(4, 6) > 0.5)] = 0.5
    masking = MaskingLayer(0.5)
    branches = ((LSTM,), (), (masking, LSTM, ActivationLayer("relu")))
    found = ConcatenateLayer(branches)(Signal(values, mask))
    alone = [
        Model(branch or (ActivationLayer("linear"),), Sequences(3)).run(values, mask) for branch in branches
    ]
    np.testing.assert_array_equal(found.values, np.concatenate(alone, axis=-1))
    np.testing.assert_array_equal(found.mask, mask)  # the second branch masks nothing more
    both = ConcatenateLayer(((masking,), (masking, LSTM)))(Signal(values, mask))
    np.testing.assert_array_equal(both.mask, mask & (values != 0.5).any(-1))
    assert ConcatenateLayer(((masking,), ()))(Signal(values)).mask is None
    total = Model((PoolingLayer("sum"),), Sequences(3)).run(values, mask)
    np.testing.assert_allclose(
        total, [v[m].sum(axis=0) for v, m in zip(values, mask, strict=True)], rtol=1e-5
    )


def test_padding_changes_nothing() -> None:
    for masks in ((True, True), (True, False), (False, False)):
        model = branched_texts(*masks, both=True)
        assert model.masks == all(masks)
        alone = np.concatenate([model.outputs([each]) for each in TEXTS])
        np.testing.assert_allclose(model.outputs(TEXTS), alone, atol=1e-6)
        assert np.ptp(alone) > 1e-2
    values = branched_values()
    alone = np.concatenate([values.outputs([each]) for each in SEQUENCES])
    np.testing.assert_allclose(values.outputs(SEQUENCES), alone, atol=1e-5)


def _steps(model: Model) -> np.ndarray:
    if isinstance(model.inputs, Texts):
        return np.array([1, 3, 4, 0, 8, 2])
    values = normal(6, 3)
    values[[0, 3]] = 0.5  # masked by a layer in a branch
    return values


@pytest.mark.parametrize("model", [branched_texts(), branched_values()], ids=["texts", "values"])
def test_streams_and_explanations_are_runs_of_the_beginnings(model: Model) -> None:
    steps, ids = _steps(model), isinstance(model.inputs, Texts)
    start = int(ids)
    stream, other = model.stream(2), model.stream()
    for t, values in enumerate(steps[start:], start + 1):
        both = stream.step(np.stack([values, steps[t - 2]]), mask=np.array([True, t % 2 == 0]))
        np.testing.assert_allclose(both[:1], model.run(steps[None, :t]), rtol=1e-5, atol=1e-5)
        if t == 3:
            with pytest.raises(ValueError, match="state"):
                other.load_state(stream.save_state().replace(b"layer 0.0.", b"layer 0.1."))
            other.load_state(stream.save_state())
        elif t > 3:
            again = other.step(np.stack([values, steps[t - 2]]), mask=np.array([True, t % 2 == 0]))
            np.testing.assert_array_equal(again, both)
    (outputs, traces), (expected, others) = (f(model, steps, start) for f in (one_pass, every_beginning))
    np.testing.assert_allclose(outputs, expected, atol=1e-5)
    assert [each.name for each in traces] == [each.name for each in others]
    names = [name for name, _ in named_layers(model.layers)]
    assert len(traces) > 2
    assert names[0] == "layer 0, branch 1, layer 0"
    assert all(each.name in names for each in traces)
    for trace, theirs in zip(traces, others, strict=True):
        for a, b in zip((*trace.after, trace.output), (*theirs.after, theirs.output), strict=True):
            np.testing.assert_allclose(a[1:], b[1:], atol=1e-5)
    if ids:
        found = model.explain("the film was unheard")
        np.testing.assert_allclose(
            found.outputs[-1:], model.predict_proba(["the film was unheard"]), atol=1e-5
        )
        assert [each["name"] for each in model.equations()] == [each.name for each in traces]


def test_a_file_brings_everything_back(tmp_path: Path) -> None:
    for model, given in ((branched_texts(both=True), TEXTS), (branched_values(), SEQUENCES)):
        for weights, off in (("f32", 0), ("int8", 0.05)):
            write_model(model, tmp_path / "model.safetensors", weights)  # type: ignore[arg-type]
            found = read_model(tmp_path / "model.safetensors")
            np.testing.assert_allclose(found.outputs(given), model.outputs(given), atol=off, rtol=0)
            assert [type(each) for _, each in named_layers(found.layers)] == [
                type(each) for _, each in named_layers(model.layers)
            ]


def _nested(depth: int) -> ConcatenateLayer:
    return ConcatenateLayer(((_nested(depth - 1),), ()) if depth > 1 else ((), ()))


def _model(*layers: Any, features: int | None = 3) -> Model:
    return Model(layers, Sequences(features))


def _texts(*layers: Any) -> Model:
    return Model(layers, Texts(WORDS, 6))


WRONG: list[tuple[Callable[[], Any], str]] = [
    (lambda: ConcatenateLayer(((),)), "a concatenation needs at least two branches, not 1"),
    (
        lambda: ConcatenateLayer(((JoinEvidenceLayer(),), ())),
        "JoinEvidenceLayer cannot stand in a branch; n-gr",
    ),
    (lambda: _nested(17), "concatenations lie 17 deep in one another, more than 16"),
    (
        lambda: _model(ConcatenateLayer(((LSTM,), (LSTM, PoolingLayer("max"))))),
        r"layer 0 \(concatenate\): branch 1 gives timesteps, branch 2 does not; pool all over time, or none",
    ),
    (
        lambda: _model(ConcatenateLayer(((), (DenseLayer(normal(3, 2)), LSTM)))),
        r"layer 0 \(concatenate\), branch 2, layer 1 \(recurrent\) takes 3 features, but .* gives 2",
    ),
    (
        lambda: _model(ConcatenateLayer(((TABLE,), ())), features=None),
        "branch 2 passes ids on; begin it with an",
    ),
    (
        lambda: _model(ConcatenateLayer(((TABLE,), (LSTM,))), features=None),
        r"branch 2, layer 0 \(recurrent\) cannot take ids; an embedding must be the first",
    ),
    (
        lambda: _texts(ConcatenateLayer(((TABLE,), (WIDE,)))),
        r"the vocabulary has 9 ids, but the table of layer 0, branch 2, layer 0 \(embedding\) 8 rows",
    ),
    (
        lambda: _texts(EvidenceLayer(ngrams(), SIZE - 1, 6), ConcatenateLayer(((TABLE,), (TABLE,)))),
        r"layer 1 \(concatenate\) cannot stand behind an evidence layer",
    ),
    (
        lambda: _model(ConcatenateLayer(((LSTM,), (DenseLayer(normal(3, 2, dtype=np.float64)),)))),
        "layer 0 .*: 1.0.kernel is float64, the arrays before it float32",
    ),
    (
        lambda: branched_texts(both=True).stream(),
        r"layer 0, branch 1, layer 1 \(bidirectional\) of branches reads from the last timestep",
    ),
    (
        lambda: assemble(
            [ConcatenateLayer(((TABLE,), (LSTM,)))],
            features=3,
            vocabulary=WORDS,
            length=3,
            labels=None,
            name="",
        ),
        "an embedding takes ids, so it can only be the first layer",
    ),
]


@pytest.mark.parametrize(("make", "message"), WRONG, ids=range(len(WRONG)))
def test_what_does_not_fit_is_named(make: Callable[[], Any], message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        make()


def test_sigmoids_side_by_side_are_answers_and_other_outputs_logits() -> None:
    one = (PoolingLayer("max"), DenseLayer(normal(3, 1), None, "sigmoid"))
    options: dict[str, Any] = {"features": 3, "vocabulary": None, "length": None, "name": "", "labels": "ab"}
    sigmoids = assemble([ConcatenateLayer((one, one))], **options)
    assert len(sigmoids.layers) == 1
    logits = assemble([ConcatenateLayer((one, (PoolingLayer("sum"), DenseLayer(normal(3, 1)))))], **options)
    np.testing.assert_allclose(logits.predict_proba(SEQUENCES).sum(axis=1), 1, rtol=1e-6)

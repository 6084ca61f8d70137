"""Layers and models that can never work are refused when they are made; layers compute what they say."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from model_helpers import SEQUENCES, WORDS, normal, recurrent, text_model, value_model

from stepfold import cells
from stepfold.model import (
    ActivationLayer,
    AffineLayer,
    BidirectionalLayer,
    DenseLayer,
    EmbeddingLayer,
    MaskingLayer,
    Model,
    PoolingLayer,
    RecurrentLayer,
    Sequences,
    Signal,
    Texts,
)

TABLE, ROW = normal(9, 4), normal(4)
LSTM = recurrent(cells.lstm, 4, 5)
BACK = recurrent(cells.lstm, 4, 5, reverse=True)


def model(*layers: Any, inputs: Any = None, **others: Any) -> Model:
    return Model(layers, inputs or Sequences(4), **others)


WRONG: list[tuple[Callable[[], Any], str]] = [
    (lambda: EmbeddingLayer(ROW), r"table has shape \(4,\), expected \(vocabulary_size, features\), none of"),
    (lambda: EmbeddingLayer(TABLE[:0]), "none of them 0"),
    (lambda: EmbeddingLayer(TABLE.tolist()), r"table must be a NumPy array .*, not list"),
    (lambda: EmbeddingLayer(TABLE.astype(np.float16)), "must be float32 or float64, not float16"),
    (lambda: MaskingLayer(np.nan), "the masked value must be a finite number, not nan"),
    (lambda: AffineLayer(ROW, ROW[:2]), r"scale has shape \(4,\), shift \(2,\); give them alike"),
    (lambda: RecurrentLayer("lstm", {}), r"needs a cell \(a function under @cell\), not str"),
    (lambda: RecurrentLayer(cells.lstm, {}), "params must map the names of lstm's parameters to arrays"),
    (lambda: RecurrentLayer(cells.lstm, {"W_i": TABLE}), "params lacks U_i"),
    (lambda: RecurrentLayer(cells.lstm, {**LSTM.params, "b_i": ROW}), r"b_i has shape \(4,\)"),
    (
        lambda: BidirectionalLayer(LSTM, LSTM),
        "the forward layer must not be reversed, the backward layer must",
    ),
    (
        lambda: BidirectionalLayer(LSTM, BACK, "both"),
        "merge must be one of concat, sum, mul, ave, not 'both'",
    ),
    (lambda: PoolingLayer("min"), "kind must be one of max, mean, sum, max_mean, last, not 'min'"),
    (lambda: DenseLayer(TABLE, ROW[:3]), r"bias has shape \(3,\), but the kernel \(9, 4\) gives 4 outputs"),
    (lambda: DenseLayer(TABLE, None, "swish"), "activation must be one of linear, tanh, .*, not 'swish'"),
    (lambda: ActivationLayer("swish"), "name must be one of linear"),
    (lambda: Texts(WORDS.words, 5), "vocabulary must be one of stepfold.data, not tuple"),
    (lambda: Texts(WORDS, True), "length must be an integer from 1 to 1,000,000, not True"),
    (lambda: Sequences(0), "features must be an integer from 1"),
    (lambda: Model((), Sequences(4)), "a model needs at least one layer"),
    (lambda: model(np.tanh), "ufunc is no layer of a model; layers are EmbeddingLayer"),
    (lambda: model(LSTM, inputs=WORDS), "inputs must be Texts or Sequences, not KerasWords"),
    (lambda: model(EmbeddingLayer(TABLE)), r"layer 0 \(embedding\): an embedding takes ids"),
    (lambda: model(LSTM, inputs=Sequences(None)), r"layer 0 \(recurrent\) cannot take ids"),
    (
        lambda: model(DenseLayer(TABLE)),
        r"layer 0 \(dense\) takes 9 features, but what comes before it gives 4",
    ),
    (lambda: model(LSTM, PoolingLayer("max")), r"layer 1 \(pooling\) needs timesteps, .* let it return seq"),
    (
        lambda: model(DenseLayer(normal(4, 4)), AffineLayer(ROW.astype(float), ROW.astype(float))),
        "to one dtype",
    ),
    (lambda: model(LSTM, labels=("a", "b")), r"2 labels, but .* \(batch, 5\), expected \(batch, 1\) or"),
    (lambda: model(LSTM, labels=tuple("aabcd")), "each must stand there once"),
    (lambda: model(LSTM, labels=("a", 1, 2, 3, 4)), "labels must be all texts, all numbers or all booleans"),
    (lambda: model(DenseLayer(TABLE[:4, :2]), labels=(0, 1)), r"gives \(batch, time, 2\)"),
    (
        lambda: model(LSTM, scale=[1.0]),
        r"scale has shape \(1,\), expected finite numbers \(outputs,\) = \(5,\)",
    ),
    (lambda: model(LSTM, name="a\nb"), "name must be a printable text"),
    (
        lambda: model(EmbeddingLayer(TABLE[:5]), LSTM, inputs=Texts(WORDS, 5)),
        "has 9 ids, but the table .* 5 rows",
    ),
    (lambda: value_model().predict([normal(3, 2)]), r"sequence 0 has shape \(3, 2\), expected .*\(time, 3\)"),
    (lambda: value_model().predict([["a"]]), "sequence 0 holds <U1, expected numbers"),
    (lambda: value_model().predict_proba(SEQUENCES), "model predicts values, not classes; use predict"),
    (lambda: text_model().predict("the film"), "give a list of texts, not one text"),
    (lambda: text_model().predict([1]), "text 0 is no string but int"),
    (
        lambda: text_model().run([[1, 9]]),
        "the ids run from 1 to 9, but the table has 9 rows: give ids from 0 to 8",
    ),
    (lambda: text_model().run([[0.5]]), r"an embedding takes integers \(batch, time\), not float64"),
    (lambda: model(DenseLayer(TABLE[:4])).outputs(SEQUENCES), r"expected \(time, features\)"),
    (lambda: model(DenseLayer(TABLE[:4])).outputs([TABLE]), "gives values at every timestep"),
]


@pytest.mark.parametrize(("make", "message"), WRONG, ids=range(len(WRONG)))
def test_what_can_never_work(make: Callable[[], Any], message: str) -> None:
    with pytest.raises((ValueError, TypeError, IndexError), match=message):
        make()


def test_ids_are_integers_and_features_may_be_one() -> None:
    ids = Model((EmbeddingLayer(TABLE), LSTM), Sequences(None))
    with pytest.raises(TypeError, match="sequence 1 holds float64, expected ids, which are integers"):
        ids.outputs([[1, 2], [1.5]])
    assert ids.outputs([]).shape == (0, 5)
    one = Model((recurrent(cells.gru, 1, 2),), Sequences(1))
    assert np.array_equal(one.outputs([[0.5, 1.0]]), one.outputs([[[0.5], [1.0]]]))


def test_one_batch_of_the_wrong_shape_or_kind() -> None:
    dense = Model((PoolingLayer("max"), DenseLayer(np.ones((3, 1), np.float32))), Sequences(3))
    for wrong, shape in ((np.ones((2, 5, 4)), r"\(2, 5, 4\)"), (np.ones((2, 3)), r"\(2, 3\)")):
        with pytest.raises(
            ValueError, match=rf"shape {shape}, expected \(batch, time, features\) = \(…, …, 3\)"
        ):
            dense.run(wrong)
    with pytest.raises(
        TypeError, match=r"values hold complex128, expected numbers \(batch, time, features\)"
    ):
        dense.run(np.ones((2, 5, 3), complex))
    with pytest.raises(TypeError, match="values hold <U3"):
        dense.run("abc")


def test_labels_of_numpy_become_python_s() -> None:
    found = Model((LSTM,), Sequences(4), tuple(np.arange(5)))
    assert found.labels == (0, 1, 2, 3, 4)
    assert type(found.labels[0]) is int
    assert found.predict([normal(3, 4)]).dtype.kind == "i"


def test_pooling_and_merging() -> None:
    values = normal(2, 3, 4)
    mask = np.array([[False, True, True], [False, False, False]])
    found = PoolingLayer("max_mean")(Signal(values, mask)).values
    np.testing.assert_allclose(found[0], np.r_[values[0, 1:].max(0), values[0, 1:].mean(0)], rtol=1e-6)
    assert not found[1].any()
    np.testing.assert_allclose(
        PoolingLayer("mean", False)(Signal(values, mask)).values, values.mean(1), rtol=1e-6
    )
    a, b = LSTM(Signal(values)).values, BACK(Signal(values)).values
    expected = {"concat": np.c_[a, b], "sum": a + b, "mul": a * b, "ave": (a + b) / 2}
    for merge, both in expected.items():
        found = BidirectionalLayer(LSTM, BACK, merge)(Signal(values)).values  # type: ignore[arg-type]
        assert np.array_equal(found, both)


def test_the_mask_of_a_batch_is_of_booleans_and_of_its_shape() -> None:
    made = model(MaskingLayer(), PoolingLayer("max"))
    values, mask = normal(2, 3, 4), [[True, False, True], [True, True, True]]
    np.testing.assert_array_equal(made.run(values, mask)[0], values[0, [0, 2]].max(0))
    with pytest.raises(TypeError, match="mask must be of booleans, not int64; write mask != 0"):
        made.run(values, np.array(mask, int))
    with pytest.raises(ValueError, match=r"mask has shape \(2,\), expected \(batch, time\) = \(2, 3\)"):
        made.run(values, np.array([True, False]))


def test_what_is_printed_holds_no_arrays() -> None:
    assert len(repr(text_model())) < 400
    assert "array" not in repr(text_model())

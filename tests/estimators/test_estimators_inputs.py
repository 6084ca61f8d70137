"""What a careless user gives to an estimator: it is taken where its meaning is plain, else refused."""

import copy
import os
import pickle
import threading

import keras
import numpy as np
import pytest
from sklearn.exceptions import NotFittedError

from stepfold import cell, tanh
from stepfold.estimators import (
    RunError,
    SequenceClassifier,
    SequenceRegressor,
    TextClassifier,
    TrainingError,
    load,
)
from stepfold.estimators._sequence import sequences_of
from text_helpers import make_sequences, make_texts

# Keras's own reading of variables does not know the newest argument of __array__ yet.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword")
SMALL = {"units": 4, "embedding": 5, "length": 12, "epochs": 1, "random_state": 0}


class Table:
    """What a data frame shows of itself."""

    ndim, shape, columns = 2, (2, 2), ("text", "label")


@pytest.fixture(scope="module")
def fitted():
    texts, labels = make_texts(rows=40)
    return TextClassifier(**SMALL).fit(texts, labels)


@cell
def plain(x, h, *, W, U, b):
    return tanh(W @ x + U @ h + b)


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (None, "X is a NoneType; give a list of texts"),
        (5, "X is a int; give a list of texts"),
        ({"a": 1, "b": 2}, "X is a dict; give a list of texts"),
        ({"a", "b"}, "X is a set; give a list of texts"),
        (Table(), "X has the shape (2, 2); give a list of texts, or an array (texts,); of a table take one"),
        ([], "there are no examples (0 samples)"),
        (["", " "], "the texts hold no words at all"),
        (["a", None], "X[1] is missing (None); fill it in, or leave the text out"),
        (["a", np.nan], "X[1] is missing (nan); fill it in, or leave the text out"),
    ],
)
def test_what_are_no_texts_is_refused(texts, message):
    with pytest.raises(ValueError) as caught:
        TextClassifier().fit(texts, [] if texts == [] else ["x", "y"])
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["x", None], "y[1] is None, which is no class; fill it in, or leave the example out"),
        (np.array(["x", np.nan], object), "y[1] is nan, which is no class"),
        ([1.0, np.nan], "Input y contains NaN: y[1] is nan, which is no class"),
        ([1.5, 2.5], "Unknown label type: continuous"),
        (5, "y is a int; give a list of labels, one for each input"),
        (np.eye(2), "y should be a 1d array"),
    ],
)
def test_what_are_no_labels_is_refused(labels, message):
    with pytest.raises(ValueError) as caught:
        TextClassifier().fit(["a", "b"], labels)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("units", "3", "units must be an integer of at least 1, not '3'"),
        ("units", 1e9, "units must be an integer of at least 1, not 1000000000.0"),
        ("units", 2**40, "units must be an integer of at least 1, not 1099511627776"),
        ("mask", "yes", "mask must be True or False, not 'yes'"),
        ("dropout", "0.5", "dropout must be a number, not '0.5'"),
        ("learning_rate", [1], "learning_rate must be a number, not [1]"),
        ("learning_rate", float("nan"), "learning_rate must be a number of at least 0, not nan"),
        ("pooling", ["max"], "pooling must be one of last, max, mean, max_mean, not ['max']"),
        ("class_weight", "even", "class_weight must be 'balanced' or a weight for each class, not 'even'"),
    ],
)
def test_parameters_of_the_wrong_type_are_refused(name, value, message):
    with pytest.raises(ValueError) as caught:
        TextClassifier(**{name: value}).fit(["a", "b"], ["x", "y"])
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("pair", "kind"),
    [
        ((False, True), "b"),
        ((-7, 3), "i"),
        ((0.0, 1.0), "f"),
        (("a\tb c", "😀\n, " + "x" * 3000), "U"),
        (("\0y", "\ud800"), "U"),
    ],
)
def test_labels_of_every_kind_come_back_as_they_were(pair, kind, tmp_path):
    texts, names = make_texts(rows=20)
    labels = [pair[name == "pos"] for name in names]
    model = TextClassifier(**SMALL).fit(tuple(texts), labels)
    assert model.classes_.tolist() == list(pair)
    model.save(tmp_path / "run")
    again = load(tmp_path / "run")
    assert again.classes_.tolist() == list(pair)
    assert again.classes_.dtype.kind == model.classes_.dtype.kind == kind
    assert set(again.predict(texts).tolist()) <= set(pair)
    assert 0 <= again.score(texts, labels) <= 1


def test_generators_and_columns_of_objects_are_read_once():
    texts, names = make_texts(rows=20)
    numbers = np.array([int(name == "pos") for name in names], object)
    from_lists = TextClassifier(**SMALL, validation_split=0.2).fit(texts, [int(n) for n in numbers])
    generated = TextClassifier(**SMALL, validation_split=0.2).fit(iter(texts), iter(numbers))
    columns = TextClassifier(**SMALL, validation_split=0.2).fit(np.array(texts, object), numbers)
    want = from_lists.predict_proba(texts)
    for model in (generated, columns):
        np.testing.assert_array_equal(model.predict_proba(iter(texts)), want)


def test_a_text_of_a_megabyte_an_empty_one_and_a_single_word():
    model = TextClassifier(**SMALL).fit(["a " * 500_000, "", "a", "b" * 2**20] * 2, ["x", "y"] * 4)
    assert model.vocabulary_.size <= 6
    assert model.predict(["q " * 500_000, ""]).shape == (2,)


def test_a_fit_that_fails_leaves_no_mixture_of_two(fitted):
    model = copy.deepcopy(fitted)
    with pytest.raises(ValueError, match="there are no examples"):
        model.fit([], [])
    with pytest.raises(NotFittedError):
        model.predict(["a"])
    with pytest.raises(TypeError, match="callbacks holds a int; give callbacks of Keras"):
        TextClassifier(callbacks=[3]).fit(["a", "b"], ["x", "y"])


def test_parameters_that_are_changed_after_fitting_change_no_prediction(fitted):
    texts, _ = make_texts(rows=10)
    model, want = copy.deepcopy(fitted), fitted.predict_proba(texts)
    model.set_params(units=9, length=3, tokens="ids", cell="gru", preset="best")
    np.testing.assert_array_equal(model.predict_proba(texts), want)


def test_a_second_fit_forgets_the_first():
    texts, labels = make_texts(rows=20)
    model = TextClassifier(**SMALL, validation_split=0.2).fit(texts, labels)
    assert model.evaluation_.accuracy >= 0
    first = model.set_params(validation_split=0.0).fit(texts, labels).predict_proba(texts)
    assert not hasattr(model, "evaluation_")
    np.testing.assert_array_equal(model.fit(texts, labels).predict_proba(texts), first)


def test_many_threads_predict_with_one_estimator(fitted):
    texts, _ = make_texts(rows=20)
    want, model = fitted.predict_proba(texts), pickle.loads(pickle.dumps(fitted))
    found, ready = [], threading.Barrier(4)

    def predict():
        ready.wait()
        found.append(model.predict_proba(texts))

    threads = [threading.Thread(target=predict) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    for each in found:
        np.testing.assert_array_equal(each, want)


def test_a_thread_of_its_own_may_fit(fitted):
    texts, labels = make_texts(rows=40)
    found = []
    thread = threading.Thread(target=lambda: found.append(TextClassifier(**SMALL).fit(texts, labels)))
    thread.start()
    thread.join()
    np.testing.assert_array_equal(found[0].predict_proba(texts), fitted.predict_proba(texts))


@pytest.mark.parametrize("kind", [SequenceClassifier, SequenceRegressor])
def test_estimators_are_pickled_and_copied_with_their_own_cells(kind):
    sequences, labels, sums = make_sequences(20)
    targets = labels if kind is SequenceClassifier else sums
    model = kind(cell=plain, units=3, epochs=1, random_state=0).fit(sequences, targets)
    for again in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        np.testing.assert_array_equal(again.predict(sequences), model.predict(sequences))
        assert again.get_params()["cell"].name == "plain"
    assert isinstance(model.network_, keras.Model)


@pytest.mark.parametrize("dtype", ["Int64", "int8", "boolean", "category", "string", "object"])
def test_labels_in_a_column_of_pandas_are_what_they_are(dtype):
    pandas = pytest.importorskip("pandas")
    given = {"boolean": [True, False], "string": ["b", "a"], "category": ["b", "a"]}.get(dtype, [7, 3])
    classes = SequenceClassifier()
    assert classes._learn_classes(pandas.Series(given, index=[5, 9], dtype=dtype)).tolist() == [1, 0]
    assert classes.classes_.tolist() == sorted(given)
    assert type(classes.classes_.tolist()[0]) is type(given[0])
    if dtype != "int8":
        with pytest.raises(ValueError, match=r"y\[1\] is .*, which is no class; fill it in"):
            classes._learn_classes(pandas.Series([given[0], None, given[1]], dtype=dtype))


def test_tables_and_columns_of_pandas_hold_sequences():
    pandas = pytest.importorskip("pandas")
    arrays = [np.ones((2, 3), np.float32), np.zeros((4, 3), np.float32)]
    tables = [pandas.DataFrame(array, columns=list("abc")) for array in arrays]
    objects = np.empty(2, object)
    objects[:] = arrays
    for given in (tables, pandas.Series(arrays, index=[8, 1]), objects):
        found, flat = sequences_of(given, "SequenceClassifier")
        assert (found.lengths.tolist(), flat) == ([2, 4], False)
        np.testing.assert_array_equal(found.values, np.concatenate(arrays))
    found, flat = sequences_of(pandas.DataFrame(np.arange(6).reshape(2, 3)), "SequenceClassifier")
    assert (found.lengths.tolist(), flat) == ([3, 3], True)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
@pytest.mark.skipif(keras.backend.backend() != "jax", reason="other backends run in forked processes")
@pytest.mark.filterwarnings("ignore:os.fork", "ignore:This process")
def test_a_forked_process_is_told_why_the_network_cannot_run_there(fitted):
    texts, labels = make_texts(rows=4)
    expected = fitted.predict_proba(texts)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            for call in (lambda: fitted.predict(texts), lambda: TextClassifier(**SMALL).fit(texts, labels)):
                with pytest.raises(RuntimeError, match=r"forked .* with the estimator's to_model\(\)"):
                    call()
            found = fitted.to_model().predict_proba(texts)
            os.write(writer, b"same" if np.allclose(found, expected, atol=1e-5) else b"other")
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as answer:
        assert answer.read() == b"same"
    assert os.waitpid(child, 0)[1] == 0
    np.testing.assert_array_equal(fitted.predict_proba(texts), expected)


@pytest.mark.parametrize(
    ("parameters", "given", "message"),
    [
        ({}, {"validation_data": ["a", "b", "c"]}, "must be a pair (inputs, targets), not a list of 3"),
        ({}, {"validation_data": "a b"}, "must be a pair (inputs, targets), not a str"),
        ({}, {"validation_data": ([], [])}, "validation_data has no examples"),
        ({"class_weight": {"x": -1, "y": 1}}, {}, "class_weight must have a number of at least 0 for each"),
        ({"class_weight": {"x": "a", "y": 1}}, {}, "class_weight must have a number of at least 0 for each"),
        ({"class_weight": {"x": np.nan, "y": 1}}, {}, "class_weight must have a number of at least 0 for"),
        ({"callbacks": keras.callbacks.Callback()}, {}, "callbacks must be a list, not a Callback"),
    ],
)
def test_what_cannot_be_trained_with_is_refused(parameters, given, message):
    with pytest.raises((ValueError, TypeError)) as caught:
        TextClassifier(**parameters).fit(["a", "b"], ["x", "y"], **given)
    assert message in str(caught.value)


def test_a_run_goes_on_with_the_examples_that_it_held_out(tmp_path):
    texts, labels = make_texts(rows=20)
    small = {**SMALL, "random_state": None, "validation_split": 0.2}
    begun = TextClassifier(**small).fit(texts, labels, folder=tmp_path / "run")
    again = TextClassifier(**small).fit(texts, labels, folder=tmp_path / "run", resume=True)
    assert again.seed_ == begun.seed_ == load(tmp_path / "run").seed_
    for change, message in (
        ({"random_state": 5}, f"was begun with random_state={begun.seed_}, not 5"),
        ({"validation_split": 0.3}, "was begun with validation_split=0.2, not 0.3"),
    ):
        with pytest.raises(RunError) as caught:
            TextClassifier(**{**small, **change}).fit(texts, labels, folder=tmp_path / "run", resume=True)
        assert message in str(caught.value)


def test_features_that_float32_cannot_scale_are_named():
    sequences, labels, sums = make_sequences(12)
    with pytest.raises(ValueError, match=r"feature 0 of X, counted from 0, is spread over .*; divide it by"):
        SequenceClassifier().fit([sequence * 1e30 for sequence in sequences], labels)
    with pytest.warns(UserWarning, match=r"feature 0 of X.* around 1\.0e\+08, which float32 hardly tells"):
        SequenceClassifier()._learn_inputs([np.array([[1e8], [1e8 + 8]])] * 2)
    with pytest.raises(ValueError, match="X is a dict; give a list of arrays"):
        SequenceClassifier().fit(dict(enumerate(sequences)), labels)
    with pytest.raises(ValueError, match="1 example is too few to train on one and to hold out another"):
        SequenceRegressor(validation_split=0.5).fit(sequences[:1], sums[:1])


def test_weights_that_no_loss_has_shown_to_be_lost_are_not_kept():
    sequences, _, sums = make_sequences(12)
    hopeless = {"optimizer": "sgd", "learning_rate": 1e30, "clip_norm": 0, "cell": "simple_rnn_relu"}
    with pytest.raises(TrainingError, match=r"the largest weight became .* in epoch 1; there is no model"):
        SequenceRegressor(units=4, epochs=1, random_state=0, batch_size=12, **hopeless).fit(sequences, sums)

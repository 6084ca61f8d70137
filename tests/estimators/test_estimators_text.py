"""TextClassifier: fitting, probabilities, saving, what it says of inputs that it cannot take."""

import json
import random
import warnings

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from stepfold import cell, tanh
from stepfold.estimators import RunError, SequenceClassifier, TextClassifier, load
from text_helpers import make_texts

SMALL = {
    "units": 4,
    "embedding": 5,
    "length": 12,
    "learning_rate": 0.05,
    "embedding_dropout": 0.0,
    "random_state": 0,
}


@pytest.fixture(scope="module")
def fitted():
    texts, labels = make_texts(rows=120)
    return TextClassifier(**SMALL, epochs=8, validation_split=0.2).fit(texts, labels)


def test_it_learns_and_says_how(fitted):
    texts, labels = make_texts(rows=120)
    assert fitted.score(texts, labels) > 0.9
    assert fitted.classes_.tolist() == ["neg", "pos"]
    probabilities = fitted.predict_proba(texts)
    assert probabilities.shape == (120, 2)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-6)
    assert (fitted.classes_[probabilities.argmax(axis=1)] == fitted.predict(texts)).all()
    assert len(fitted.history_["val_accuracy"]) == fitted.results_["epochs"] == 8
    assert fitted.results_["held_out"] == 24
    assert fitted.results_["training_examples"] == 96


def test_the_weights_are_those_of_the_best_epoch_by_validation(fitted):
    best = max(
        zip(fitted.history_["val_accuracy"], [-loss for loss in fitted.history_["val_loss"]], strict=True)
    )
    assert fitted.evaluation_.accuracy == pytest.approx(best[0], abs=1e-6)
    assert fitted.evaluation_.log_loss == pytest.approx(-best[1], rel=1e-4)


def test_saved_and_loaded_it_says_the_same(fitted, tmp_path):
    texts, _ = make_texts(rows=30)
    fitted.save(tmp_path / "run")
    again = load(tmp_path / "run")
    assert isinstance(again, TextClassifier)
    np.testing.assert_array_equal(again.predict_proba(texts), fitted.predict_proba(texts))
    assert again.get_params() == fitted.get_params()
    assert again.results_ == fitted.results_
    assert again.history_ == fitted.history_
    with pytest.raises(RunError, match="holds a TextClassifier, not a SequenceClassifier"):
        SequenceClassifier.load(tmp_path / "run")
    with pytest.raises(RunError, match="already holds a run"):
        fitted.save(tmp_path / "run", overwrite=False)
    with pytest.raises(NotFittedError):
        TextClassifier().save(tmp_path / "none")


def test_prediction_does_not_depend_on_the_company(fitted):
    texts, _ = make_texts(rows=33)
    whole = fitted.predict_proba(texts)
    np.testing.assert_allclose(fitted.predict_proba(texts[:1]), whole[:1], rtol=1e-5)
    assert fitted.predict_proba([]).shape == (0, 2)
    assert fitted.predict_proba(["", "…"]).shape == (2, 2), "texts without a word have a prediction too"


def test_three_classes_an_own_cell_and_weights():
    @cell
    def plain(x, h, *, W, U, b):
        return tanh(W @ x + U @ h + b)

    texts, labels = make_texts(("neg", "none", "pos"), 90)
    model = TextClassifier(cell=plain, class_weight="balanced", epochs=12, **SMALL).fit(texts, labels)
    assert model.score(texts, labels) > 0.8
    assert model.predict_proba(texts[:2]).shape == (2, 3)
    assert json.loads(model.settings_.cell)["name"] == "plain"
    assert clone(model).get_params()["cell"] is plain


# Keras's own get_weights does not know the newest argument of __array__ yet.
@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword")
def test_the_same_seed_gives_the_same_weights_and_leaves_the_caller_s_random_numbers_alone():
    texts, labels = make_texts(rows=40)
    model, found = TextClassifier(epochs=2, word_dropout=0.2, **SMALL), []
    for _ in range(2):
        random.random()
        np.random.random()
        before = random.getstate(), np.random.get_state()[1].tolist()
        found.append(model.fit(texts, labels).network_.get_weights())
        assert (random.getstate(), np.random.get_state()[1].tolist()) == before
    for mine, theirs in zip(*found, strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_ids_in_place_of_texts(tmp_path):
    random = np.random.default_rng(0)
    labels = random.integers(0, 2, 60)
    ids = [[1, *random.integers(4, 9, 6) + 5 * label] for label in labels]
    model = TextClassifier(tokens="ids", epochs=6, **SMALL).fit(ids, labels)
    assert model.score(ids, labels) > 0.9
    assert model.predict([[1, 10**6, 13, 13]]).shape == (1,), "an id that was never seen counts as unknown"
    model.save(tmp_path / "run")
    np.testing.assert_array_equal(load(tmp_path / "run").predict(ids), model.predict(ids))


def test_early_stopping_ends_before_the_last_epoch():
    texts, labels = make_texts(rows=60)
    model = TextClassifier(epochs=60, early_stopping=2, validation_split=0.3, **SMALL).fit(texts, labels)
    best = model.results_["best_epoch"]
    assert model.results_["epochs"] == best + 2 < 60


def test_it_works_in_a_pipeline_and_a_grid_search():
    texts, labels = make_texts(rows=40)
    pipeline = make_pipeline(
        FunctionTransformer(lambda texts: [text.upper() for text in texts]),
        TextClassifier(epochs=1, **SMALL),
    )
    search = GridSearchCV(pipeline, {"textclassifier__units": [2, 3]}, cv=2).fit(texts, labels)
    assert search.best_params_["textclassifier__units"] in (2, 3)
    assert search.predict(texts[:3]).shape == (3,)


def test_unknown_words_are_said(fitted):
    with pytest.warns(UserWarning, match="of the words are unknown to the vocabulary"):
        fitted.predict(["völlig andere wörter als vorher"] * 10)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fitted.predict(make_texts(rows=20)[0])


@pytest.mark.parametrize(
    ("texts", "labels", "parameters", "message"),
    [
        ("one text", ["a"], {}, "X is one text; give a list of texts"),
        (["a b", 3], ["x", "y"], {}, "X[1] is a int, not a text: '3'"),
        (np.zeros((2, 2)), ["x", "y"], {}, "X has the shape (2, 2); give a list of texts"),
        (["a", "b"], ["x", "x"], {}, "needs two classes at least, but all 2 labels are one class, 'x'"),
        (["a", "b", "c"], ["x", "y"], {}, "inconsistent numbers of samples: 3 texts but 2 labels"),
        (["a", "b"], None, {}, "requires y to be passed, but the target y is None"),
        (["a", "b"], ["x", "y"], {"units": 0}, "units must be an integer of at least 1, not 0"),
        (["a", "b"], ["x", "y"], {"dropout": 1.0}, "dropout must be a share from 0 to below 1, not 1.0"),
        (["a", "b"], ["x", "y"], {"pooling": "sum"}, "pooling must be one of last, max, mean, max_mean"),
        (["a", "b"], ["x", "y"], {"preset": "x"}, "preset must be one of tutorial, standard"),
        (["a", "b"], ["x", "y"], {"cell": "lsmt"}, "there is no cell 'lsmt'; the cells are"),
        (["a", "b"], ["x", "y"], {"class_weight": {"z": 2.0}}, "class_weight names 'z', which is not one of"),
        ([[1, 2.5]], ["x"], {"tokens": "ids"}, "X[0] is no list of integers"),
    ],
)
def test_what_cannot_be_used_is_refused(texts, labels, parameters, message):
    if parameters.get("tokens") == "ids":
        labels = ["x"]
    with pytest.raises(ValueError) as caught:
        TextClassifier(**parameters).fit(texts, labels)
    assert message in str(caught.value)


def test_a_cell_that_is_none_is_refused():
    with pytest.raises(TypeError, match="cell must be a stepfold cell or the name of one, not int"):
        TextClassifier(cell=3).fit(["a", "b"], ["x", "y"])
    with pytest.raises(ValueError, match="resume=True goes on from the state in a folder"):
        TextClassifier().fit(["a", "b"], ["x", "y"], resume=True)


def test_every_parameter_is_a_setting():
    from dataclasses import fields

    from stepfold.estimators import Settings, TextSettings

    apart = {"preset", "callbacks", "random_state", "verbose"}
    assert set(TextClassifier().get_params()) - apart == {field.name for field in fields(TextSettings)}
    assert set(SequenceClassifier().get_params()) - apart == {field.name for field in fields(Settings)}


def test_a_fitted_estimator_shows_itself_in_a_notebook(fitted):
    shown = fitted._repr_html_()
    assert "<svg" in shown
    assert "lstm" in shown
    assert "TextClassifier" in TextClassifier()._repr_html_()

"""Estimators as data: the model says what the estimator says, of any text and any sequence."""

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError

from stepfold.estimators import SequenceClassifier, SequenceRegressor, TextClassifier, _base
from stepfold.model import Texts
from text_helpers import make_sequences, make_texts

# Keras's own saving of variables does not know the newest argument of __array__ yet.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword")
SMALL = {"units": 4, "embedding": 5, "length": 8, "epochs": 1, "random_state": 0}
TEXTS, LABELS = make_texts(rows=60)
ODD = [*TEXTS[:4], "", "…", "wholly unheard-of words", " ".join(TEXTS[:5])]


@pytest.fixture(autouse=True)
def drawn_weights(monkeypatch):
    """Draw the weights in place of training, which takes seconds and changes nothing here."""

    def train(network, *arguments, **options):
        random = np.random.default_rng(0)
        network.set_weights([random.normal(0, 0.7, w.shape) for w in network.get_weights()])
        return [{"loss": 1.0, "accuracy": 0.5, "seconds": 0.1}]

    monkeypatch.setattr(_base, "train", train)


def same(estimator, inputs):
    model = estimator.to_model()
    expected = estimator.predict_proba(inputs)
    np.testing.assert_allclose(model.predict_proba(inputs), expected, rtol=1e-5, atol=1e-5)
    assert np.ptp(expected[:, 0]) > 0.01, "there is something to compare"
    assert model.predict(inputs).tolist() == estimator.predict(inputs).tolist()
    assert model.labels == tuple(estimator.classes_.tolist())
    return model


@pytest.mark.parametrize(
    "choices",
    [
        {"bidirectional": False, "pooling": "last"},
        {"preset": "tutorial"},
        {"cell": "coupled_lstm", "layers": 2, "bidirectional": True, "pooling": "max_mean"},
        {"cell": "gru", "mask": False, "pooling": "max"},
    ],
)
def test_texts(choices):
    model = same(TextClassifier(**SMALL, **choices).fit(TEXTS, LABELS), ODD)
    assert isinstance(model.inputs, Texts)
    assert model.inputs.length == 8


def test_three_classes_that_are_numbers():
    texts, labels = make_texts(("pos", "neg", "none"), rows=60)
    numbers = [{"pos": 1, "neg": -1, "none": 0}[label] for label in labels]
    assert same(TextClassifier(**SMALL).fit(texts, numbers), ODD).labels == (-1, 0, 1)


def test_sequences():
    sequences, labels, sums = make_sequences(40)
    same(SequenceClassifier(units=4, epochs=1, random_state=0).fit(sequences, labels), sequences)
    regressor = SequenceRegressor(units=4, epochs=1, random_state=0).fit(sequences, 100 + 10 * sums)
    model = regressor.to_model()
    np.testing.assert_allclose(model.predict(sequences), regressor.predict(sequences), rtol=1e-5)
    assert model.labels is None
    flat = np.stack([sequence[:2, 0] for sequence in sequences])
    regressor.fit(flat, np.stack((sums, -sums), axis=1))
    np.testing.assert_allclose(
        regressor.to_model().predict(flat), regressor.predict(flat), rtol=1e-5, atol=1e-5
    )


def test_what_no_model_can_hold():
    ids = TextClassifier(**SMALL, tokens="ids").fit([[4, 5], [6, 7]] * 5, [0, 1] * 5)
    with pytest.raises(ValueError, match=r"ids .* has no vocabulary .* stepfold.keras.to_model"):
        ids.to_model()
    ensemble = TextClassifier(preset="best")
    with pytest.raises(NotFittedError):
        ensemble.to_model()

"""What the report shows of one input: the network's own outputs after each step, its states and gates."""

import numpy as np
import pytest

from stepfold.estimators import SequenceRegressor, TextClassifier, _base
from text_helpers import make_sequences, make_texts

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword")
SMALL = {"units": 4, "embedding": 5, "length": 8, "epochs": 1, "random_state": 0, "validation_split": 0.5}


@pytest.fixture(autouse=True)
def drawn_weights(monkeypatch):
    """Draw the weights in place of training, which takes seconds and changes nothing here."""

    def train(network, *arguments, **options):
        random = np.random.default_rng(0)
        network.set_weights([random.normal(0, 0.7, w.shape) for w in network.get_weights()])
        return [
            {"epoch": 1, "loss": 1.0, "accuracy": 0.5, "val_loss": 1.0, "val_accuracy": 0.5, "seconds": 0.1}
        ]

    monkeypatch.setattr(_base, "train", train)


def test_a_text_is_read_with_its_states_and_gates(tmp_path):
    texts, labels = make_texts(rows=40)
    classifier = TextClassifier(**SMALL, cell="gru").fit(texts, labels)
    reading = classifier._read_input(texts, 3, 1)
    words = classifier.vocabulary_.tokens(texts[3])[-8:]
    assert reading.explanation["tokens"] == words
    final = classifier.predict_proba([texts[3]])[0]
    np.testing.assert_allclose(reading.explanation["outputs"][-1], final, atol=1e-4)
    (layer,) = reading.explanation["layers"]
    assert list(layer["values"]) == ["h", "z", "r", "h~"]
    assert np.shape(layer["values"]["z"]) == (len(words), 4)
    assert [each["name"] for each in reading.equations] == [layer["name"]]
    assert (reading.name, reading.truth, reading.words) == ("gru", "pos", True)
    assert classifier._read_input(["…"], 0) is None
    assert classifier.reading_.words
    classifier.report(tmp_path / "report.html")
    assert "One text, word by word" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_ids_and_measurements_are_read():
    ids = TextClassifier(**SMALL, tokens="ids").fit([[4, 5, 6], [6, 7]] * 8, [0, 1] * 8)
    reading = ids._read_input([[4, 5, 6]], 0)
    assert (reading.words, reading.inputs) == (True, None)
    assert reading.explanation["tokens"] == ["1", "4", "5", "6"], "the start mark first"
    np.testing.assert_allclose(
        reading.explanation["outputs"][-1], ids.predict_proba([[4, 5, 6]])[0], atol=1e-4
    )
    sequences, _, sums = make_sequences(40)
    regressor = SequenceRegressor(units=4, epochs=1, random_state=0).fit(sequences, 100 + 10 * sums)
    reading = regressor._read_input(sequences, 2)
    assert np.shape(reading.inputs) == np.shape(sequences[2])
    assert (reading.words, reading.probabilities) == (False, False)
    np.testing.assert_allclose(reading.output[-1], regressor.predict(sequences[2:3])[0], rtol=1e-4)
    # Where nothing is held out, one of the training examples is read for the report.
    longest = max(range(40), key=lambda k: len(sequences[k]))
    np.testing.assert_array_equal(regressor.reading_.inputs, np.asarray(sequences[longest], np.float32))
    assert regressor.reading_.truth == pytest.approx(100 + 10 * sums[longest], rel=1e-5)

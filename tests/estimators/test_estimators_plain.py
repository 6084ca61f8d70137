"""The preset plain of TextClassifier: what its two layers learn, how they are joined, saved, and exported."""

import keras
import numpy as np
import pytest

import stepfold
from stepfold.data import FIRST_WORD, START, UNKNOWN, ReviewWords
from stepfold.estimators import RunError, TextClassifier, load
from stepfold.estimators._ensemble import Tagger, _plain
from stepfold.estimators._ensemble._examples import Member, TextsWithEvidence
from stepfold.estimators._ensemble._tagger import make_tagger, train_tagger
from stepfold.estimators._ensemble._training import make_network
from text_helpers import make_texts

# Keras's own saving of variables does not know the newest argument of __array__ yet.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword")

SMALL = {"preset": "plain", "units": 4, "embedding": 4, "epochs": 40, "random_state": 0, "batch_size": 8}
READER = Member(cell="gru", add_logit=False, embedding=4, units=3, batch_size=8, epochs=3, learning_rate=0.02)


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(_plain, "READER", READER)
    monkeypatch.setattr(_plain, "_READ", 7)
    monkeypatch.setattr(_plain, "processors", lambda: 1)


def random_weights(network, seed=0):
    random = np.random.default_rng(seed)
    found = [random.normal(0, 0.5, weight.shape).astype(np.float32) for weight in network.weights]
    network.set_weights(found)
    return found


@pytest.mark.parametrize("outputs", [1, 3])
def test_joined_the_layers_say_what_they_say_apart(outputs):
    words, settings = 9, Tagger(cell="ugrnn", units=5, embedding=6)
    size = words + 3  # padding, unknown and the start mark before the words
    tagger = make_tagger(settings, size, 10 * outputs)
    reader = make_network(READER, 7, 10 * outputs, outputs)
    network = _plain.plain_network(settings, FIRST_WORD + words, outputs)
    weights = _plain._weights(random_weights(tagger), random_weights(reader, 1), words)
    for name, values in weights.items():
        network.get_layer(name).set_weights(values)

    given = np.zeros((4, 8), np.int32)
    given[0, 2:] = START, FIRST_WORD, FIRST_WORD + 8, UNKNOWN, FIRST_WORD + 3, FIRST_WORD + 5
    given[1] = START, *range(FIRST_WORD, FIRST_WORD + 7)
    given[2, -1] = START
    given[3, -3:] = START, FIRST_WORD + 2, FIRST_WORD + 2
    in_training = np.select(
        [given == START, given == UNKNOWN, given >= FIRST_WORD], [2, 1, given - FIRST_WORD + 3], 0
    ).astype(np.int32)
    told = np.asarray(tagger(in_training)) * (given > 0)[..., None]
    known = np.where(in_training < 7, in_training, 1)
    logits = np.asarray(reader([known, told, np.zeros((4, outputs), np.float32)]))
    expected = 1 / (1 + np.exp(-logits)) if outputs == 1 else np.exp(logits) / np.exp(logits).sum(1)[:, None]
    np.testing.assert_allclose(np.asarray(network(given)), expected, rtol=1e-4, atol=1e-5)


def test_the_tagger_learns_what_n_grams_say_in_their_own_size():
    random = np.random.default_rng(0)
    lengths = random.integers(3, 12, 64)
    ids = random.integers(2, 8, lengths.sum()).astype(np.int32)
    offsets = np.concatenate(([0], np.cumsum(lengths)))
    before = np.where(np.isin(np.arange(len(ids)), offsets), 0, np.roll(ids, 1))
    score = np.where(ids == 3, 20.0, 0.0) + np.where((ids == 4) & (before == 5), -30.0, 0.0)
    channels = np.stack([score, 0.1 * score, np.zeros(len(ids))], 1).astype(np.float32)[:, [0, 1, 2, 0]]
    examples = TextsWithEvidence(ids, channels, offsets, np.zeros((64, 1), np.float32))
    settings = Tagger(epochs=40, units=8, embedding=8, batch_size=8, learning_rate=0.03, dropout=0.0)
    network = train_tagger(settings, examples, 8, 1, name="")
    padded, wanted, _ = examples.padded(np.arange(64), 11)
    missed = (np.asarray(network(padded)) - wanted)[padded > 0]
    assert np.all((missed**2).mean(axis=0)[[0, 1, 3]] < 0.1 * channels.var(axis=0)[[0, 1, 3]])
    assert np.abs(missed[:, 2]).max() < 1, "a channel that is always 0"


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"layers": 2}, "the preset 'plain' has no parameter 'layers'; leave it out, or take another preset"),
        ({"tokens": "words"}, "the preset 'plain' has no parameter 'tokens'"),
        ({"units": 0}, "units must be an integer of at least 1, not 0"),
        ({"cell": "no such"}, "'no such'"),
    ],
)
def test_parameters_that_it_has_not_are_refused(parameters, message):
    with pytest.raises(ValueError) as caught:
        TextClassifier(preset="plain", **parameters).fit(["a", "b"], ["x", "y"])
    assert message in str(caught.value)


@pytest.mark.slow
@pytest.mark.parametrize("cell", ["lstm", "ugrnn"])
def test_it_learns_saves_and_says_the_same(cell, tmp_path):
    texts, labels = make_texts(rows=60)
    run = tmp_path / "run"
    model = TextClassifier(**SMALL, cell=cell, validation_split=0.2).fit(texts, labels, folder=run)
    assert model.results_["held_out"] == 12
    assert model.results_["split"] == "blocks"
    assert model.results_["val_accuracy"] == pytest.approx(model.evaluation_.accuracy, abs=1e-4)
    assert model.score(texts, labels) > 0.9
    assert isinstance(model.network_, keras.Model)
    assert isinstance(model.vocabulary_, ReviewWords)
    assert {file.name for file in run.iterdir()} == {
        "model.keras",
        "vocabulary.json",
        "config.json",
        "history.csv",
    }
    again = load(run)
    assert again.settings_ == model.settings_
    expected = model.predict_proba(texts)
    np.testing.assert_allclose(again.predict_proba(texts), expected, atol=1e-5)
    stepfold.export(again.to_model(), tmp_path / "model.safetensors")
    np.testing.assert_allclose(
        stepfold.load(tmp_path / "model.safetensors").predict_proba(texts), expected, atol=1e-5
    )
    model.report(tmp_path / "report.html")
    assert "accuracy" in (tmp_path / "report.html").read_text(encoding="utf-8")


@pytest.mark.slow
def test_interrupted_it_keeps_the_layer_that_is_done(tmp_path, monkeypatch):
    from stepfold.estimators._ensemble import _training as training

    texts, labels = make_texts(rows=40)
    run = tmp_path / "run"

    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("stepfold.estimators._ensemble._tagger.train_tagger", interrupted)
        with pytest.raises(KeyboardInterrupt, match="the networks that are done are kept in"):
            TextClassifier(**SMALL).fit(texts, labels, folder=run)
    with pytest.raises(RunError, match="holds no model yet"):
        load(run)
    with pytest.raises(RunError, match="was begun with epochs=40, not 2; give the same"):
        TextClassifier(**{**SMALL, "epochs": 2}).fit(texts, labels, folder=run, resume=True)
    with monkeypatch.context() as patch:
        patch.setattr(training, "train_member", interrupted)
        TextClassifier(**SMALL).fit(texts, labels, folder=run, resume=True)
    assert load(run).score(texts, labels) > 0.5

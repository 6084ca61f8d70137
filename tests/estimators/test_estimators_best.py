"""The preset best of TextClassifier: what it takes, saves, and continues with."""

import dataclasses
import json

import numpy as np
import pytest

from stepfold.estimators import EnsembleSettings, RunError, TextClassifier, _ensemble_fit, load
from stepfold.estimators._ensemble import Member, _ensemble
from stepfold.estimators._settings import resolve
from text_helpers import make_texts

# Keras's own saving of variables does not know the newest argument of __array__ yet.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword")

SMALL = {"preset": "best", "units": 4, "embedding": 4, "epochs": 1, "random_state": 0, "batch_size": 8}


@pytest.fixture(autouse=True)
def two_small_networks(monkeypatch):
    monkeypatch.setattr(_ensemble_fit, "MEMBERS", (Member(seed=0), Member(seed=1, add_logit=False)))
    monkeypatch.setattr(_ensemble, "processors", lambda: 1)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"layers": 2}, "the preset 'best' has no parameter 'layers'; leave it out, or take another preset"),
        ({"cell": "ugrnn"}, "the preset 'best' takes the cells gru and lstm, not 'ugrnn'"),
        ({"units": 0}, "units must be an integer of at least 1, not 0"),
    ],
)
def test_parameters_that_it_has_not_are_refused(parameters, message):
    with pytest.raises(ValueError) as caught:
        TextClassifier(preset="best", **parameters).fit(["a", "b"], ["x", "y"])
    assert message in str(caught.value)


def test_what_is_no_pair_to_validate_with_is_refused():
    with pytest.raises(
        ValueError, match=r"validation_data must be a pair \(inputs, targets\), not a list of 1"
    ):
        TextClassifier(**SMALL).fit(["a", "b"], ["x", "y"], validation_data=["c"])


def settings_of(**parameters):
    model = TextClassifier(preset="best", **parameters)
    return resolve(model._settings_kind, model._defaults(), model._given())


def test_the_settings_are_those_of_its_networks(monkeypatch):
    monkeypatch.setattr(_ensemble_fit, "MEMBERS", _ensemble.MEMBERS)
    settings = settings_of()
    assert (settings.cell, settings.epochs, settings.units) == (("lstm", "gru"), (3, 4), 64)
    assert _ensemble_fit._new_ensemble(settings, 0)._members == list(_ensemble.MEMBERS)
    chosen = settings_of(cell="gru", epochs=2, learning_rate=0.01, vocabulary_size=99)
    assert (chosen.cell, chosen.epochs) == (("gru", "gru"), (2, 2))
    ensemble = _ensemble_fit._new_ensemble(chosen, 5)
    assert [(each.cell, each.epochs, each.learning_rate, each.seed) for each in ensemble._members] == [
        ("gru", 2, 0.01, 5),
        ("gru", 2, 0.01, 6),
    ]
    stored = json.loads(json.dumps(dataclasses.asdict(chosen)))
    assert resolve(EnsembleSettings, stored, {}) == chosen
    for damaged in ({"cell": ["gru"]}, {"epochs": [1, "2"]}, {"cell": [None, "gru"]}):
        with pytest.raises(ValueError, match=r"(cell|epochs) must be"):
            resolve(EnsembleSettings, {**stored, **damaged}, {})


@pytest.mark.slow
def test_it_learns_saves_and_says_the_same(tmp_path):
    texts, labels = make_texts(rows=60)
    run = tmp_path / "run"
    model = TextClassifier(**SMALL, validation_split=0.2).fit(texts, labels, folder=run)
    assert model.results_["held_out"] == 12
    assert model.results_["split"] == "blocks"
    assert model.results_["val_accuracy"] == pytest.approx(model.evaluation_.accuracy, abs=1e-4)
    assert model.score(texts, labels) > 0.9
    assert model.settings_.cell == ("lstm", "gru")
    assert {layer["cell"] for layer in model.reading_.explanation["layers"]} == {"lstm", "gru"}
    again = load(run)
    assert again.settings_ == model.settings_
    np.testing.assert_allclose(again.predict_proba(texts), model.predict_proba(texts), atol=1e-5)
    assert again.predict_proba([]).shape == (0, 2)
    again.save(tmp_path / "copy")
    np.testing.assert_allclose(
        load(tmp_path / "copy").predict_proba(texts), model.predict_proba(texts), atol=1e-5
    )
    exported = again.to_model()
    np.testing.assert_allclose(exported.predict_proba(texts), model.predict_proba(texts), atol=1e-5)
    assert exported.labels == tuple(model.classes_)
    model.report(tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "accuracy" in page
    assert "lstm, gru" in page
    assert "1, 1" in page, "the epochs of each"
    assert "The loss of an epoch is the mean over the networks" in page

    (run / "members" / "ensemble.json").write_text("{}")
    with pytest.raises(RunError, match=r"is no ensemble of this version.*; copy the folder again from"):
        load(run)


@pytest.mark.slow
def test_interrupted_it_keeps_the_networks_that_are_done(tmp_path, monkeypatch):
    from stepfold.estimators._ensemble import _training as training

    texts, labels = make_texts(rows=40)
    run, real, trained = tmp_path / "run", training.train_member, []

    def interrupted(member, *arguments, **options):
        if member.seed == 1 and len(trained) == 1:
            raise KeyboardInterrupt
        trained.append(member.seed)
        return real(member, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(training, "train_member", interrupted)
        with pytest.raises(KeyboardInterrupt, match="the networks that are done are kept in"):
            TextClassifier(**SMALL).fit(texts, labels, folder=run)
    with pytest.raises(RunError, match="holds no model yet: it was not trained to the end"):
        load(run)
    with pytest.raises(RunError, match="was begun with random_state=0, not 1"):
        TextClassifier(**{**SMALL, "random_state": 1}).fit(texts, labels, folder=run, resume=True)
    trained.clear()
    with monkeypatch.context() as patch:
        patch.setattr(
            training,
            "train_member",
            lambda member, *a, **o: trained.append(member.seed) or real(member, *a, **o),
        )
        model = TextClassifier(**SMALL).fit(texts, labels, folder=run, resume=True)
    assert model.reading_ is not None, "without held-out texts one that it learnt is read"
    assert trained == [1], "the first network was not trained again"
    assert load(run).score(texts, labels) > 0.5

"""SequenceClassifier and SequenceRegressor: ragged and rectangular inputs, saving, refusals."""

import numpy as np
import pytest

from stepfold.estimators import SequenceClassifier, SequenceRegressor, load
from text_helpers import make_sequences

SMALL = {"units": 6, "epochs": 12, "learning_rate": 0.02, "random_state": 0}


@pytest.fixture(scope="module")
def classifier():
    sequences, labels, _ = make_sequences()
    return SequenceClassifier(**SMALL, validation_split=0.2).fit(sequences, labels)


@pytest.fixture(scope="module")
def regressor():
    sequences, _, sums = make_sequences()
    return SequenceRegressor(**SMALL, validation_split=0.2).fit(sequences, 100 + 10 * sums)


def test_a_classifier_learns_from_a_ragged_list(classifier, tmp_path):
    sequences, labels, _ = make_sequences()
    assert classifier.score(sequences, labels) > 0.85
    classifier.save(tmp_path / "run")
    again = load(tmp_path / "run")
    np.testing.assert_array_equal(again.predict_proba(sequences), classifier.predict_proba(sequences))
    assert again.n_features_in_ == 3


def test_padding_changes_nothing(classifier):
    sequences, _, _ = make_sequences()
    alone = np.concatenate([classifier.predict_proba([sequence]) for sequence in sequences[:4]])
    np.testing.assert_allclose(classifier.predict_proba(sequences)[:4], alone, rtol=1e-4, atol=1e-6)


def test_a_regressor_predicts_on_the_scale_of_its_targets(regressor, tmp_path):
    sequences, _, sums = make_sequences()
    assert regressor.score(sequences, 100 + 10 * sums) > 0.7
    assert regressor.evaluation_.score <= 1
    regressor.save(tmp_path / "run")
    np.testing.assert_array_equal(load(tmp_path / "run").predict(sequences), regressor.predict(sequences))


def test_the_report_of_a_regressor_says_r2(regressor, tmp_path):
    regressor.report(tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text(encoding="utf-8").replace("\N{NO-BREAK SPACE}", " ")
    found = regressor.evaluation_
    assert f"R² {found.score:.3f}" in page
    errors = np.abs(found.predicted - found.targets)[:, 0]
    assert [errors[k] for k in found.mistakes] == sorted(errors, reverse=True)[:12]
    worst = found.mistakes[0]
    for text in (f"true <b>{found.targets[worst, 0]:.3f}", f"predicted <b>{found.predicted[worst, 0]:.3f}"):
        assert text in page
    assert f"row {found.rows[worst] + 1}<" in page, "counted from 1"
    assert f"the truth is <b>{regressor.reading_.truth:.3f}</b>" in page


def test_early_stopping_needs_examples_to_stop_by():
    sequences, labels, _ = make_sequences(20)
    with pytest.raises(ValueError, match="early_stopping needs held-out examples"):
        SequenceClassifier(early_stopping=2).fit(sequences, labels)
    with pytest.raises(ValueError, match="validation_split must be 1/2, 1/3, 1/4"):
        SequenceClassifier(split="blocks", validation_split=0.4).fit(sequences, labels)


def test_several_targets():
    sequences, _, sums = make_sequences(30)
    targets = np.stack([sums, -sums], axis=1)
    model = SequenceRegressor(units=4, epochs=2, random_state=0).fit(sequences, targets)
    assert model.predict(sequences[:5]).shape == (5, 2)


def test_arrays_of_three_and_two_dimensions():
    random = np.random.default_rng(0)
    cube = random.normal(size=(30, 7, 2))
    labels = (cube[:, :, 0].sum(axis=1) > 0).astype(int)
    model = SequenceClassifier(units=4, epochs=2, random_state=0).fit(cube, labels)
    np.testing.assert_allclose(model.predict_proba(list(cube)), model.predict_proba(cube), rtol=1e-5)
    flat = SequenceClassifier(units=4, epochs=2, random_state=0).fit(cube[:, :, 0], labels)
    assert flat.n_features_in_ == 7
    assert flat.features_ == 1
    np.testing.assert_allclose(
        flat.predict_proba(cube[:, :, :1]), flat.predict_proba(cube[:, :, 0]), rtol=1e-5
    )


@pytest.mark.parametrize(
    ("sequences", "message"),
    [
        ([np.zeros((3, 2)), np.zeros((3, 3))], "X[1] has 3 features but X[0] has 2"),
        ([np.zeros((3, 2)), np.zeros((0, 2))], "X[1] has no timestep; leave empty sequences out"),
        ([np.zeros((3, 2)), np.full((3, 2), np.nan)], "Input X[1] contains NaN or infinity"),
        ([np.zeros((3, 2)), np.array([["a", "b"]])], "X[1] has the shape (1, 2) and the dtype <U1"),
        (np.zeros((2, 3, 4, 5)), "X has the shape (2, 3, 4, 5); give (batch, time, features)"),
    ],
)
def test_what_are_no_sequences_is_refused(sequences, message):
    with pytest.raises(ValueError) as caught:
        SequenceClassifier().fit(sequences, [0, 1])
    assert message in str(caught.value)


def test_what_does_not_fit_the_training_is_refused(classifier):
    with pytest.raises(ValueError, match="X has 2 features, but SequenceClassifier is expecting 3 features"):
        classifier.predict([np.zeros((4, 2))])
    with pytest.raises(ValueError, match="class_weight is for classes; a regressor has none"):
        SequenceRegressor(class_weight="balanced").fit([np.zeros((3, 1))] * 2, [1.0, 2.0])

"""scikit-learn's own checks of estimators."""

import pickle

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError
from sklearn.utils import estimator_checks
from sklearn.utils.estimator_checks import parametrize_with_checks

from stepfold.estimators import SequenceClassifier, SequenceRegressor, TextClassifier

SMALL = {"units": 8, "bidirectional": False, "epochs": 40, "learning_rate": 0.03, "random_state": 0}
# Sequences of numbers take an array (batch, time) as well, so that every check applies to them.
ESTIMATORS = [SequenceClassifier(**SMALL), SequenceRegressor(**{**SMALL, "epochs": 150, "units": 32})]


_SINGLE = (
    "networks compute in float32, whose rounding is 1.2e-7; a row's last bits depend on its place in "
    "a batch, and this check allows 1e-7"
)


def cannot_apply(estimator):
    if not isinstance(estimator, SequenceRegressor):
        return {}
    return {
        "check_methods_sample_order_invariance": _SINGLE,
        "check_methods_subset_invariance": _SINGLE,
    }


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword")
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
@parametrize_with_checks(ESTIMATORS, expected_failed_checks=cannot_apply)
def test_scikit_learn_finds_nothing(estimator, check):
    check(estimator)


# What scikit-learn checks without data. Its other checks fit arrays of numbers, which a classifier of texts
# refuses; scikit-learn itself leaves them out where the tag says that the input is strings. The methods
# behind them are those of SequenceClassifier, which takes every one.
WITHOUT_DATA = (
    estimator_checks.check_do_not_raise_errors_in_init_or_set_params,
    estimator_checks.check_estimator_cloneable,
    estimator_checks.check_estimator_repr,
    estimator_checks.check_estimator_tags_renamed,
    estimator_checks.check_get_params_invariance,
    estimator_checks.check_mixin_order,
    estimator_checks.check_no_attributes_set_in_init,
    estimator_checks.check_parameters_default_constructible,
    estimator_checks.check_set_params,
    estimator_checks.check_valid_tag_types,
)


@pytest.mark.parametrize("check", WITHOUT_DATA, ids=lambda check: check.__name__)
def test_scikit_learn_finds_nothing_in_a_classifier_of_texts(check):
    check("TextClassifier", TextClassifier())


def test_texts_are_no_array_so_that_the_checks_cannot_apply():
    tags = TextClassifier().__sklearn_tags__()
    assert tags.input_tags.string
    assert not tags.input_tags.two_d_array
    with pytest.raises(ValueError, match="text"):
        TextClassifier().fit(np.zeros((4, 3)), [0, 1, 0, 1])


@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword")
def test_a_classifier_of_texts_keeps_scikit_learn_s_conventions():
    """The checks that need data, on texts: repeatable, picklable, not fitted, the caller's data unchanged."""
    texts = np.array([f"{word} film {k}" for k in range(8) for word in ("good", "bad")], dtype=object)
    labels = np.array(["pos", "neg"] * 8)
    model = TextClassifier(units=4, embedding=8, epochs=2, length=8, random_state=0)
    given, parameters = texts.copy(), model.get_params()
    with pytest.raises(NotFittedError):
        model.predict(texts)
    assert model.fit(texts, labels) is model
    found = model.predict_proba(texts)
    assert (texts == given).all()
    assert model.get_params() == parameters
    assert [each for each in vars(model) if each not in parameters and not each.endswith("_")] == []
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_array_equal(model.predict(texts), model.classes_[found.argmax(axis=1)])
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(model)).predict_proba(texts), found)
    np.testing.assert_array_equal(model.fit(texts, labels).predict_proba(texts), found)
    np.testing.assert_allclose(model.predict_proba(texts[::-1])[::-1], found, rtol=1e-5)
    with pytest.raises(ValueError, match="inconsistent"):
        model.fit(texts, labels[:-1])

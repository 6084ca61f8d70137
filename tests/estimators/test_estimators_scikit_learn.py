"""scikit-learn's own checks of estimators."""

import pytest
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


def test_texts_are_no_array_so_that_the_checks_cannot_apply():
    tags = TextClassifier().__sklearn_tags__()
    assert tags.input_tags.string
    assert not tags.input_tags.two_d_array

"""scikit-learn's own checks of estimators."""

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from stepfold.estimators import SequenceClassifier, SequenceRegressor, TextClassifier

# Sequences of numbers take an array (batch, time) as well, so that every check applies to them.
ESTIMATORS = [SequenceClassifier(random_state=0), SequenceRegressor(random_state=0)]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword")
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
@parametrize_with_checks(ESTIMATORS)
def test_scikit_learn_finds_nothing(estimator, check):
    check(estimator)


def test_texts_are_no_array_so_that_the_checks_cannot_apply():
    tags = TextClassifier().__sklearn_tags__()
    assert tags.input_tags.string
    assert not tags.input_tags.two_d_array

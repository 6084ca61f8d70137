"""Batches of few shapes, for each of which the kernels' programs are recorded once: the same numbers."""

from __future__ import annotations

import numpy as np
import pytest
from model_helpers import SEQUENCES, TEXTS, text_model, value_model

from stepfold._runtime._programs import programs


def test_texts_of_new_lengths_need_no_new_programs() -> None:
    model = text_model(length=40)
    for count in (1, 20, 40):
        model.predict_proba(["good " * count])
    before = {key for key, _ in programs.items()}
    for count in range(60):
        model.predict_proba(["film " * count])
    assert {key for key, _ in programs.items()} == before


def test_padding_changes_no_number() -> None:
    for model, inputs in ((text_model(), TEXTS), (value_model(), SEQUENCES)):
        rows = model.encoded(inputs)
        alone = [model.run(*model.batch(rows, np.array([place])))[0] for place in range(len(inputs))]
        np.testing.assert_allclose(model.outputs(inputs), alone, rtol=2e-6, atol=2e-6)


def test_what_is_no_list_of_texts_and_no_finite_number() -> None:
    with pytest.raises(TypeError, match="give a list of texts, not NoneType"):
        text_model().predict(None)  # type: ignore[arg-type]
    for bad in (np.nan, np.inf, 1e39):
        sequence = np.zeros((3, 3))
        sequence[1, 1] = bad
        with pytest.raises(ValueError, match="sequence 1 contains NaN, infinity or a number too large"):
            value_model().predict([np.zeros((3, 3)), sequence])

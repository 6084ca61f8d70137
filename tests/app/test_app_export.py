"""The command `export`, and models that commands open."""

import numpy as np
import pytest

import stepfold
from stepfold.app._model import open_model
from stepfold.estimators import RunError, load

# Keras's own saving of variables does not know the newest argument of __array__ yet.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword")
PROBE = ["a great film", "", "a poor story of a film"]


def test_a_model_is_opened_from_a_run_or_from_a_file(trained, tmp_path):
    expected = load(trained).predict_proba(PROBE)
    model = open_model(trained)
    assert model.name == "trained"
    np.testing.assert_allclose(model.predict_proba(PROBE), expected, rtol=1e-5, atol=1e-6)
    stepfold.export(model, tmp_path / "film.safetensors")
    model = open_model(str(tmp_path / "film.safetensors"))
    assert model.name == "film"
    np.testing.assert_allclose(model.predict_proba(PROBE), expected, rtol=1e-5, atol=1e-6)


def test_what_is_no_model_is_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("no model")
    (tmp_path / "cut.safetensors").write_bytes(b"\x05\0\0")
    for name, message in (
        ("none", "none does not exist; give a model, FILE.safetensors, or the folder of a run"),
        ("empty", "empty"),
        ("notes.txt", r"notes.txt is no model; give FILE.safetensors"),
        ("cut.safetensors", r"cut.safetensors"),
    ):
        with pytest.raises(RunError, match=message):
            open_model(tmp_path / name)

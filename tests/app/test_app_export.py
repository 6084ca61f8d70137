"""The command `export`, and models that commands open."""

import json
import subprocess
import sys
from contextlib import nullcontext

import numpy as np
import pytest

import stepfold
from stepfold.app._model import open_model
from stepfold.app.cli import main
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


def refused(capsys, *arguments):
    """Run the command, check that it refuses in one line on standard error, and return that line."""
    with pytest.raises(SystemExit) if "--weights=int4" in arguments else nullcontext():
        assert main(["export", *map(str, arguments)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    return err


def test_a_run_becomes_a_file(trained, tmp_path, capsys):
    path, small = tmp_path / "film.safetensors", tmp_path / "small.safetensors"
    assert main(["export", str(trained), str(path)]) == 0
    out, _ = capsys.readouterr()
    assert out.startswith(f"{path}: ")
    assert " KiB, embedding (" in out
    assert out.count("\n") == 1
    model, expected = stepfold.load(path), load(trained).predict_proba(PROBE)
    np.testing.assert_allclose(model.predict_proba(PROBE), expected, rtol=1e-5, atol=1e-6)
    assert model.name == "trained"
    before = path.read_bytes()
    assert f"{path} is there already; give another name, or replace it with --overwrite" in refused(
        capsys, trained, path
    )
    assert path.read_bytes() == before
    assert main(["export", str(path), str(path), "--overwrite", "--weights", "bf16"]) == 0
    assert path.stat().st_size < len(before)
    assert main(["export", str(path), str(small), "--weights", "int8"]) == 0
    np.testing.assert_allclose(stepfold.load(small).predict_proba(PROBE), expected, atol=0.05)


def test_a_file_predicts_as_its_run_and_needs_no_framework(trained, texts, tmp_path, capsys):
    path, out = tmp_path / "film.safetensors", tmp_path / "out.jsonl"
    assert main(["export", str(trained), str(path)]) == 0
    capsys.readouterr()
    for inputs in (["a great film", "a poor story"], [str(texts)]):
        answers = []
        for model in (trained, path):
            assert main(["predict", str(model), *inputs, "--json", "--all"]) == 0
            answers.append([json.loads(line) for line in capsys.readouterr().out.splitlines()])
        for found, expected in zip(*answers, strict=True):
            assert found.keys() == {"label", "probability", "probabilities", "text"}
            assert found["text"] == expected["text"]
            assert found["probabilities"] == pytest.approx(expected["probabilities"], abs=1e-5)
    assert main(["predict", str(path), str(texts), "--out", str(out), "--all"]) == 0
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["text"] for row in rows] == [row["text"] for row in answers[0]]
    code = (
        "import sys\n"
        "sys.modules.update(dict.fromkeys(('keras', 'jax', 'torch', 'tensorflow')))\n"  # None: not there
        "from stepfold.app.cli import main\n"
        f"sys.exit(main(['predict', {str(path)!r}, 'a great film']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("\ta great film\n")


def test_a_run_becomes_onnx(trained, tmp_path, capsys):
    onnxruntime = pytest.importorskip("onnxruntime")
    path = tmp_path / "film.onnx"
    assert main(["export", str(trained), str(path)]) == 0
    assert "film.onnx: " in capsys.readouterr().out
    model = open_model(trained)
    ids = np.zeros((2, 6), np.int32)
    ids[:, 2:] = [[1, 4, 5, 6], [1, 7, 2, 4]]
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {session.get_inputs()[0].name: ids})
    np.testing.assert_allclose(found, model.run(ids), rtol=1e-5, atol=1e-6)


def test_what_cannot_be_exported_is_refused_in_one_line(trained, tmp_path, capsys):
    out = tmp_path / "m.safetensors"
    assert "must end with .safetensors or .onnx, not 'm.keras'" in refused(
        capsys, trained, tmp_path / "m.keras"
    )
    assert "--weights int8 is for .safetensors" in refused(
        capsys, trained, tmp_path / "m.onnx", "--weights=int8"
    )
    assert "invalid choice: 'int4'" in refused(capsys, trained, out, "--weights=int4")
    assert "none is no folder; make it first" in refused(capsys, trained, tmp_path / "none" / "m.onnx")
    assert "none does not exist; give a model" in refused(capsys, tmp_path / "none", out)
    (tmp_path / "folder.onnx").mkdir()
    assert "folder.onnx is a folder" in refused(capsys, trained, tmp_path / "folder.onnx")
    assert not out.exists()

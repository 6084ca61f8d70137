"""The command serve, without a server: what it says while it opens its models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stepfold import cells, serve
from stepfold.app import _serve
from stepfold.app.cli import main
from stepfold.estimators import RunFolder
from stepfold.model import Model, RecurrentLayer, Sequences, write_model

MODEL = Model((RecurrentLayer(cells.gru, cells.gru.init(2, 3, seed=0)),), Sequences(2), None, name="small")


def test_a_run_takes_a_while_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    served: list[Any] = []
    monkeypatch.setattr(serve, "run_server", lambda models, **_: served.extend(models))
    assert main(["serve", str(tmp_path)]) == 2
    assert "loading" not in capsys.readouterr().err
    path = tmp_path / "small.safetensors"
    write_model(MODEL, path)
    assert main(["serve", str(path)]) == 0
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(RunFolder, "read_config", lambda self: {})
    monkeypatch.setattr(_serve, "open_model", lambda path: MODEL)
    assert main(["serve", str(tmp_path), str(path)]) == 0
    assert capsys.readouterr().err == f"stepfold: loading {tmp_path} …\n"
    assert [model.name for model in served] == ["small", "small", "small-2"]

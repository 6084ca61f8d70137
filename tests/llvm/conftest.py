"""An empty cache of kernels for a test."""

from __future__ import annotations

from pathlib import Path

import pytest

from stepfold._llvm import FOLDER_VARIABLE, _cache, support_names, target
from stepfold._native import support


@pytest.fixture(scope="session")
def support_kernels() -> None:
    """Load the kernels that every scan calls, so that the tests count a cell's own kernels alone."""
    for name in support_names(target()):
        support(name)


@pytest.fixture
def cache(support_kernels: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of an empty cache, which does not exist yet."""
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    monkeypatch.setattr(_cache, "_warned", set())
    return tmp_path / "stepfold"

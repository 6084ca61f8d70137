"""A run trained once on small made-up texts, for all tests that only look at it."""

import pytest

from stepfold.app.cli import main
from text_helpers import SMALL, write_texts


@pytest.fixture(scope="session")
def texts(tmp_path_factory):
    return write_texts(tmp_path_factory.mktemp("texts") / "texts.csv")


@pytest.fixture(scope="session")
def trained(texts, tmp_path_factory):
    """A finished run that no test may change."""
    folder = tmp_path_factory.mktemp("runs") / "trained"
    assert main(["train", str(texts), "--out", str(folder), *SMALL]) == 0
    return folder

"""One cache folder for the tests of a session: the user's own is neither read nor filled."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from stepfold._llvm import FOLDER_VARIABLE


@pytest.fixture(autouse=True, scope="module")
def cache_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    folder = tmp_path_factory.getbasetemp() / "cache-of-kernels"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(FOLDER_VARIABLE, str(folder))
        yield

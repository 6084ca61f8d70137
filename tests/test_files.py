"""Files are written under a temporary name: whole or not at all, by several threads at once too."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from stepfold._files import replacing


def test_what_was_there_stays_until_the_file_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    path.write_text("before")

    def write_half() -> None:
        with replacing(path) as part:
            part.write_text("half")
            raise ValueError("half")

    with pytest.raises(ValueError, match="half"):
        write_half()
    assert path.read_text() == "before"
    with replacing(path) as part:
        part.write_text("after")
        assert path.read_text() == "before"
    assert path.read_text() == "after"
    assert list(tmp_path.iterdir()) == [path]


def test_threads_that_write_one_file_do_not_disturb_each_other(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    pages = [letter * 100_000 for letter in "abcdefgh"]

    def write(page: str) -> None:
        for _ in range(20):
            with replacing(path) as part:
                part.write_text(page)

    with ThreadPoolExecutor(len(pages)) as pool:
        list(pool.map(write, pages))
    assert path.read_text() in pages
    assert list(tmp_path.iterdir()) == [path]

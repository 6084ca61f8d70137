"""The cache folder: refused unless it is this user's alone, bounded, with a warning where it cannot serve."""

from __future__ import annotations

import errno
import os
import stat
import sys
import time
import warnings
from pathlib import Path

import pytest
from cache_helpers import entries, outputs

from stepfold._llvm import FOLDER_VARIABLE, _cache, _cache_folder

# ---- who may write what is run -----------------------------------------------------------------------


def give_away(path: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    """Make a file or folder another user's as far as this process can see; return the owner's id."""
    if os.geteuid() == 0:
        os.chown(path, 12345, -1, follow_symlinks=False)
    else:
        monkeypatch.setattr(_cache_folder.os, "geteuid", lambda: 12345)
    return path.lstat().st_uid


POSIX = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no owners and modes to look at")


@POSIX
def test_the_folder_and_the_entries_are_this_users_alone(cache: Path) -> None:
    outputs()
    (path,) = entries(cache)
    assert stat.S_IMODE(cache.stat().st_mode) == 0o700
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.parent == cache


def refused(cache: Path, reason: str) -> None:
    """Scan twice: the cache is neither read nor written, and one warning says why and how to mend it."""
    before = {path: path.lstat() for path in cache.rglob("*")}
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        assert [outputs()[1] for _ in range(2)] == [False] * 2
    assert [str(warning.message) for warning in told] == [
        f"the cache of compiled kernels {cache} is not used, because {reason} and what lies there would be "
        "run; so every process compiles its kernels again, some 0.1 s each: let XDG_CACHE_HOME name a folder "
        "of your own, or delete this one; if you trust all that lies there, make it yours alone with "
        "'chown -R' and 'chmod -R go-w'"
    ]
    assert told[0].category is RuntimeWarning
    assert {path: path.lstat() for path in cache.rglob("*")} == before


@POSIX
@pytest.mark.parametrize("mode", [0o720, 0o702, 0o777, 0o1777])
def test_a_folder_that_others_may_write_to_is_refused(cache: Path, mode: int) -> None:
    outputs()
    cache.chmod(mode)
    refused(cache, "other users may write to it")
    cache.chmod(0o755)
    assert outputs()[1]


@POSIX
def test_a_folder_of_another_user_is_refused(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outputs()
    owner = give_away(cache, monkeypatch)
    refused(cache, f"it belongs to another user, whose id is {owner}")


@POSIX
def test_a_folder_that_root_filled_is_used(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can make files of root's")
    outputs()
    cache.chmod(0o755)
    monkeypatch.setattr(_cache_folder.os, "geteuid", lambda: 12345)
    assert outputs()[1]


@POSIX
def test_a_link_is_judged_by_where_it_leads_and_by_its_owner(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    cache.symlink_to(elsewhere)
    outputs()
    assert outputs()[1]
    elsewhere.chmod(0o777)
    refused(cache, "other users may write to it")
    elsewhere.chmod(0o700)
    assert outputs()[1]
    monkeypatch.setattr(_cache, "_warned", set())
    owner = give_away(cache, monkeypatch)
    refused(cache, f"it belongs to another user, whose id is {owner}")


@POSIX
@pytest.mark.parametrize("change", ["mode", "owner", "link"])
def test_an_entry_that_others_may_have_written_is_replaced(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    if change == "owner" and os.geteuid() != 0:
        pytest.skip("only root can give an entry away and keep the folder")
    outputs()
    (path,) = entries(cache)
    if change == "mode":
        path.chmod(0o620)
        reason = "other users may write to it"
    elif change == "owner":
        reason = f"it belongs to another user, whose id is {give_away(path, monkeypatch)}"
    else:
        path.rename(tmp_path / "elsewhere")
        path.symlink_to(tmp_path / "elsewhere")
        reason = "it is a symbolic link"
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        assert not outputs()[1]
        assert outputs()[1]
    assert [str(warning.message) for warning in told] == [
        f"the compiled kernel {path} is not used, because {reason}; it is compiled again and replaced, as is "
        "every other entry like it: find out who writes to this folder"
    ]
    status = path.lstat()
    assert (status.st_uid, stat.S_IMODE(status.st_mode)) == (os.geteuid(), 0o600)
    assert stat.S_ISREG(status.st_mode)


# ---- how large it grows ------------------------------------------------------------------------------


def put(folder: Path, name: str, size: int, days: float) -> Path:
    """A file last used so many days ago."""
    path = folder / name
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.write_bytes(bytes(size))
    then = time.time() - 86400 * days
    os.utime(path, (then, then))
    return path


def test_the_least_recently_used_entries_go_first(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_cache_folder, "CACHE_BOUND", 100_000)
    old = [put(cache, f"{k:064x}.kernel", 25_000, days=30 - k) for k in range(3)]
    earlier = put(cache, f"0a/{'0a' * 32}.kernel", 30_000, days=40)
    foreign = put(cache, "notes.txt", 90_000, days=50)
    outputs()
    (new,) = set(entries(cache)) - set(old) - {earlier}
    assert 0 < new.stat().st_size < 25_000
    assert not earlier.exists()
    assert [path.exists() for path in old] == [True] * 3
    assert foreign.exists()
    for k in range(5):
        _cache_folder.write_file(cache / f"{k + 100:064x}.kernel", bytes(10_000))
        assert sum(path.stat().st_size for path in entries(cache)) <= 100_000
    assert [path.exists() for path in old] == [False, False, True]
    assert outputs()[1]


def test_a_hit_counts_as_use_once_a_day(cache: Path) -> None:
    outputs()
    (path,) = entries(cache)
    for ago, touched in ((3600, False), (2 * 86400, True), (-2 * 86400, True)):
        then = time.time() - ago
        os.utime(path, (then, then))
        assert outputs()[1]
        assert (abs(path.stat().st_mtime - time.time()) < 600) == touched


def test_a_process_adds_the_sizes_up_once_and_then_seldom(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    monkeypatch.setattr(_cache_folder, "CACHE_BOUND", 32_000)
    monkeypatch.setattr(_cache_folder, "trim", calls.append)
    for k in range(10):
        _cache_folder.write_file(cache / f"{k:064x}.kernel", bytes(250))
    assert calls == [cache] * 3  # after the first, the fifth and the ninth


def test_what_another_process_writes_stays(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_cache_folder, "CACHE_BOUND", 1)
    busy = put(cache, f"{'0' * 64}.abcd_123.part", 5_000, days=0)
    abandoned = put(cache, f"{'1' * 64}.abcd_123.part", 5_000, days=0.1)
    earlier = put(cache, "0a/tmpabcd_123.part", 5_000, days=3)
    foreign = put(cache, "mine.part", 5_000, days=3)
    outputs()
    assert busy.exists()
    assert foreign.exists()
    assert not abandoned.exists()
    assert not earlier.exists()
    assert entries(cache) == []


# ---- where nothing can be written --------------------------------------------------------------------


def test_an_unwritable_folder_gets_one_warning_and_results_go_on(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = cache.parent / "file"
    file.write_text("not a folder")
    monkeypatch.setenv(FOLDER_VARIABLE, str(file))
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        assert [outputs()[1] for _ in range(3)] == [False] * 3
    (warning,) = told
    assert warning.category is RuntimeWarning
    assert str(warning.message) == (
        f"compiled kernels cannot be kept in {file / 'stepfold'} (Not a directory), so every process "
        "compiles its kernels again, some 0.1 s each: let "
        f"{FOLDER_VARIABLE} name a folder that can be written"
    )
    assert file.read_text() == "not a folder"


def test_a_full_disk_gets_a_warning_and_leaves_no_file(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        def __init__(self, handle: int, mode: str) -> None:
            self._handle = handle

        def __enter__(self) -> Full:
            return self

        def __exit__(self, *_: object) -> None:
            os.close(self._handle)

        def write(self, data: bytes) -> None:
            os.write(self._handle, data[:100])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(_cache_folder.os, "fdopen", Full)
    text = r"cannot be kept in .*stepfold \(No space left on device\).*: free some space there, or let "
    with pytest.warns(RuntimeWarning, match=text):
        assert not outputs()[1]
    assert [p for p in cache.rglob("*") if p.is_file()] == []


@pytest.mark.skipif(sys.platform != "linux", reason="the folder's place is this system's")
def test_a_user_without_a_home(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(_cache_folder.Path, "home", staticmethod(homeless))
    with pytest.warns(
        RuntimeWarning, match=r"cannot be kept in the home folder \(Could not determine home directory\)"
    ):
        assert not outputs()[1]


def test_the_folder_of_each_system(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_cache_folder.Path, "home", staticmethod(lambda: tmp_path / "me"))
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "local"))
    for platform, expected in (
        ("linux", "me/.cache/stepfold"),
        ("darwin", "me/Library/Caches/stepfold"),
        ("win32", "local/stepfold"),
    ):
        monkeypatch.setattr(_cache_folder.sys, "platform", platform)
        assert _cache_folder.cache_folder() == tmp_path / expected
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "elsewhere"))
    for platform in ("linux", "darwin"):
        monkeypatch.setattr(_cache_folder.sys, "platform", platform)
        assert _cache_folder.cache_folder() == tmp_path / "elsewhere" / "stepfold"

"""The subcommand cache: what it shows, removes and compiles."""

import os
import subprocess
import sys
import time

import pytest

from stepfold import cells
from stepfold._llvm import _cache, _cache_folder
from stepfold.app.cli import main
from tests.kinds import UNIFORM

POSIX = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no modes to look at")


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(_cache, "_warned", set())
    return tmp_path / "stepfold"


def put(folder, name, size=1_000, *, age=0.0):
    path = folder / name
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.write_bytes(bytes(size))
    os.utime(path, (time.time() - age,) * 2)
    return path


ENTRY = f"{'0a' * 32}.kernel"
TEMPORARY = f"{'0a' * 32}.abcd_123.part"


def run(capsys, *arguments, status=0):
    """Run the command and return what it prints on standard output and standard error."""
    capsys.readouterr()
    try:
        code = main(["cache", *map(str, arguments)])
    except SystemExit as leaving:  # argparse's own way
        code = leaving.code
    assert code == status
    return capsys.readouterr()


def test_the_folder_and_its_size_are_shown(cache, capsys):
    expected = "folder   {}\nentries  {}\nsize     {} MB\nbound    128.0 MB\n"
    assert run(capsys) == (expected.format(cache, 0, "0.0"), "")
    assert not cache.exists()
    put(cache, ENTRY, 1_250_000)
    put(cache, TEMPORARY, 350_000)
    put(cache, f"0a/{'b1' * 32}.kernel", 500_000)
    put(cache, "notes.txt", 9_000_000)
    assert run(capsys) == (expected.format(cache, 2, "2.1"), "")


@POSIX
def test_a_folder_that_is_not_used_is_shown_as_such(cache, capsys):
    put(cache, ENTRY)
    cache.chmod(0o770)
    out, _ = run(capsys)
    assert out.splitlines()[-1] == (
        "unused   other users may write to it: delete the folder, or make it and what lies there yours alone "
        "with 'chown -R' and 'chmod -R go-w'"
    )


def test_clear_removes_what_is_the_caches_and_nothing_else(cache, capsys):
    gone = [
        put(cache, ENTRY, 400_000),
        put(cache, f"0a/{ENTRY}", 400_000),
        put(cache, f"1b/{ENTRY}", 400_000),
        put(cache, TEMPORARY, 100_000, age=7200),
        put(cache, "0a/tmpabcd_123.part", age=7200),
    ]
    kept = [
        put(cache, f"{'0b' * 32}.abcd_123.part"),  # somebody may be writing it
        put(cache, "notes.txt"),
        put(cache, "0a.kernel"),
        put(cache, f"{'0A' * 32}.kernel"),
        put(cache, f"{ENTRY}.bak"),
        put(cache, "mine.part", age=7200),
        put(cache, f"other/{ENTRY}"),
        put(cache, "1b/notes.txt"),
        put(cache.parent, ENTRY),
    ]
    assert run(capsys, "clear") == (f"removed 5 files of 1.3 MB from {cache}\n", "")
    assert not any(path.exists() for path in gone)
    assert all(path.exists() for path in kept)
    assert not (cache / "0a").exists()
    assert run(capsys, "clear") == (f"removed 0 files of 0.0 MB from {cache}\n", "")


@POSIX
def test_clear_follows_no_link(cache, tmp_path, capsys):
    elsewhere = put(tmp_path / "elsewhere", ENTRY)
    cache.mkdir()
    (cache / "0a").symlink_to(elsewhere.parent)
    (cache / ENTRY).symlink_to(elsewhere)
    assert run(capsys, "clear").out == f"removed 0 files of 0.0 MB from {cache}\n"
    assert elsewhere.exists()


def test_a_cache_that_does_not_exist_is_cleared(cache, capsys):
    assert run(capsys, "clear").out == f"removed 0 files of 0.0 MB from {cache}\n"
    assert not cache.exists()


# A fresh process, which has loaded nothing yet, computes in every way that needs another kernel.
USE = """
import numpy as np
from stepfold import Stream, cells, record, scan

cell = cells.by_name("ugrnn")
for units in (3, 160):
    params = cell.init(4, units, seed=0)
    inputs = np.ones((3, 5, 4), "float32")
    scan(cell, inputs, params, mask=np.array([[1, 1, 1, 0, 0], [1, 1, 0, 1, 0], [0, 0, 0, 0, 0]], bool))
    scan(cell, inputs[:1], params, threads=2)
    run = record(cell, inputs, params)
    run.backward(np.ones_like(run.output))
    run = record(cell, np.array([[0, 1, 1, 0], [0, 2, 2, 0]]), params, table=np.ones((3, 4), "float32"))
    run.backward(np.ones_like(run.output))
    assert Stream(cell, params).from_cache
    assert Stream(cell, params, batch=2).from_cache
"""


def test_fill_compiles_what_a_process_needs_later(cache, capsys):
    out, err = run(capsys, "fill", "ugrnn", "--units", 3, 160)
    entries = len(list(cache.iterdir()))
    small, *lines = err.splitlines()
    assert small.startswith("[1/3] for every cell: ")
    assert lines[0] == "[2/3] ugrnn, 3 units, float32: 7 kernels, 7 compiled"
    assert lines[1] == "[3/3] ugrnn, 160 units, float32: 8 kernels, 8 compiled"
    assert out.startswith(f"{entries} kernels are in {cache}; {entries} of them were compiled now, in ")
    before = {path: path.stat().st_mtime_ns for path in cache.iterdir()}
    subprocess.run([sys.executable, "-W", "error", "-c", USE], check=True)
    assert {path: path.stat().st_mtime_ns for path in cache.iterdir()} == before
    out, err = run(capsys, "fill", "ugrnn", "--units", 3, 160)
    assert out.startswith(f"{entries} kernels are in {cache}; 0 of them were compiled now, in ")
    assert "[3/3] ugrnn, 160 units, float32: 8 kernels, 0 compiled\n" in err


def test_fill_takes_all_cells_three_sizes_and_a_dtype(cache, capsys, monkeypatch):
    asked = []
    module = sys.modules["stepfold.app._cache"]
    monkeypatch.setattr(module, "_load_support", lambda: iter([True]))
    monkeypatch.setattr(module, "_load_kernels", lambda *layer: asked.append(layer) or iter([False, True]))
    out, err = run(capsys, "fill")
    every = [c for c in map(cells.by_name, cells.names()) if "features" not in c.step.own_axes]
    assert [(cell, units, dtype) for cell, units, dtype, _ in asked] == [
        (cell, units, "float32") for cell in every for units in (32, 64, 128)
    ]
    assert {c.name: sizes for c, units, _, sizes in asked if units == 64}["projected_lstm"] == {
        "projection": 64
    }
    assert set(UNIFORM) < {cell.name for cell in every}
    assert len(err.splitlines()) == 1 + len(asked)
    assert out.startswith(f"{1 + 2 * len(asked)} kernels are in {cache}; {len(asked)} of them")
    asked.clear()
    run(capsys, "fill", "lstm", "gru", "--units", 5, "--dtype", "float64")
    assert asked == [(cells.lstm, 5, "float64", {}), (cells.gru, 5, "float64", {})]
    asked.clear()
    run(capsys, "fill", "gru_d", "low_rank_rnn", "--units", 8, "--size", "rank=2", "features=3")
    assert [sizes for *_, sizes in asked] == [{"features": 3}, {"rank": 2}]
    assert (
        "gru_d needs the size of features; give --size features=N"
        in run(capsys, "fill", "gru_d", status=2).err
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fil"], "invalid choice: 'fil'"),
        (["fill", "lsmt"], "argument CELL: there is no cell 'lsmt'; the cells are "),
        (["fill", "--units", "0"], "argument --units: '0' is no "),
        (["fill", "--size", "rank=0"], "argument --size: 'rank=0' is no size of an axis, such as projection"),
        (["fill", "--dtype", "half"], "argument --dtype: invalid choice: 'half'"),
    ],
)
def test_mistakes_are_answered_in_one_line(cache, capsys, arguments, message):
    out, err = run(capsys, *arguments, status=2)
    assert out == ""
    assert err.count("\n") == 1
    assert message in err
    assert not cache.exists()


@POSIX
def test_fill_fails_where_kernels_cannot_be_kept(cache, tmp_path, capsys, monkeypatch):
    put(cache, ENTRY)
    cache.chmod(0o777)
    out, err = run(capsys, "fill", "lstm", "--units", 3, status=2)
    assert out == ""
    assert err.startswith(
        f"stepfold: error: the cache of compiled kernels {cache} is not used, because other"
    )
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    out, err = run(capsys, "fill", "lstm", "--units", 3, status=2)
    assert out == ""
    assert err.startswith(
        f"stepfold: error: compiled kernels cannot be kept in {tmp_path}/file/stepfold (Not a"
    )


def test_a_user_without_a_home(cache, capsys, monkeypatch):
    def homeless():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(_cache_folder.Path, "home", staticmethod(homeless))
    for arguments in ([], ["clear"], ["fill"]):
        assert run(capsys, *arguments, status=2).err == (
            "stepfold: error: the cache has no folder (Could not determine home directory); let "
            "XDG_CACHE_HOME name one\n"
        )

"""The cache of kernels on disk: read again, shared, rebuilt when damaged, told of when it cannot be."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from platform import machine

import numpy as np
import pytest

from stepfold import cells
from stepfold._llvm import KERNELS, SYSTEM_CALLS, _cache, layout_for, target
from stepfold._plan import plan
from stepfold._reference import Reference
from stepfold._runtime import Call, Engine, Recipe

STEP, UNITS, FEATURES = cells.simple_rnn.step, 3, 2


def outputs_of(engine: Engine, inputs: np.ndarray, params: dict[str, np.ndarray]) -> np.ndarray:
    """The outputs of an engine's forward pass."""
    call = Call(engine, Recipe.of(engine.step, engine.units), inputs, [*params.values()])
    found = call.forward(outputs=True, training=False).outputs
    assert found is not None
    return found


@pytest.fixture(autouse=True, scope="module")
def support_kernels(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What a forward pass launches beside its own kernel is loaded already, from another folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("support")))
        for dtype in ("float32", "float64"):
            params = cells.simple_rnn.init(FEATURES, UNITS, seed=0, dtype=dtype)
            outputs_of(Engine(STEP, UNITS, dtype), np.zeros((2, 4, FEATURES), dtype), params)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    _cache._tell.cache_clear()
    return tmp_path / "stepfold"


def outputs() -> tuple[np.ndarray, bool]:
    """Scan with a fresh engine: the outputs (checked), and whether the kernel came from the cache."""
    random = np.random.default_rng(0)
    params = cells.simple_rnn.init(FEATURES, UNITS, seed=0, dtype="float64")
    inputs = random.standard_normal((2, 4, FEATURES))
    made = Engine(STEP, UNITS, "float64")
    found = outputs_of(made, inputs, params)
    np.testing.assert_allclose(
        found, Reference(STEP, inputs, params, [np.zeros((2, UNITS))]).outputs, rtol=1e-12
    )
    return found, made.from_cache["infer"]


def kernels(cache: Path) -> list[Path]:
    return sorted(cache.rglob("*.kernel"))


def test_a_kernel_is_compiled_once(cache: Path) -> None:
    first, cached = outputs()
    assert not cached
    (path,) = kernels(cache)
    written = path.read_bytes()
    again, cached = outputs()
    assert cached
    assert np.array_equal(first, again)
    assert path.read_bytes() == written
    assert list(cache.rglob("*.part")) == []


def test_what_is_read_says_the_same_as_what_was_made(cache: Path) -> None:
    layout = layout_for(plan(cells.carry_lstm.step), 5, 32, target())
    made = []

    def make() -> _cache.Kernel:
        made.append(KERNELS["backward"](layout))
        return made[-1]

    first, _, cached = _cache.load("a kernel", target(), make)
    assert not cached
    second, _, cached = _cache.load("a kernel", target(), make)
    assert cached
    assert len(made) == 1
    assert second.text == ""
    for part in ("name", "arguments", "panels", "panel_size", "scratch", "exports"):
        assert getattr(second, part) == getattr(first, part), part


def test_units_dtype_cell_and_target_are_kept_apart(cache: Path) -> None:
    for step, units, dtype, on in (
        (STEP, 3, "float64", "host"),
        (STEP, 4, "float64", "host"),
        (STEP, 3, "float32", "host"),
        (STEP, 3, "float64", "x86-64"),
        (cells.simple_rnn_relu.step, 3, "float64", "host"),
    ):
        made = Engine(step, units, dtype, target(on))
        params = {
            k: np.ones(s, dtype) for k, s in (("W", (units, 2)), ("U", (units, units)), ("b", (units,)))
        }
        outputs_of(made, np.ones((1, 1, 2), dtype), params)
        assert made.from_cache == {"infer": False}
    assert len(kernels(cache)) == 5


def flipped(at: int) -> Callable[[bytes], bytes]:
    return lambda data: (
        data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :] if at >= 0 else flipped(len(data) + at)(data)
    )


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda data: b"",
    "cut in the magic": lambda data: data[:9],
    "cut in the digest": lambda data: data[:30],
    "cut in the description": lambda data: data[:80],
    "cut in the code": lambda data: data[:-200],
    "one byte short": lambda data: data[:-1],
    "longer": lambda data: data + b"\0",
    "another magic": lambda data: b"stepfold kernel 0\n" + data[18:],
    "another file": lambda data: b"\x89PNG" * 400,
    "a bit of the magic": flipped(3),
    "a bit of the digest": flipped(20),
    "a bit of a length": flipped(51),
    "a bit of the description": flipped(80),
    "a bit of the code": flipped(-300),
    "the last bit": flipped(-1),
    "nothing but zeros": lambda data: bytes(len(data)),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_a_damaged_entry_is_built_again(cache: Path, damage: Callable[[bytes], bytes]) -> None:
    outputs()
    (path,) = kernels(cache)
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    assert path.read_bytes() != whole
    assert not outputs()[1]
    assert outputs()[1], "the entry was not rebuilt"


def test_a_folder_in_the_place_of_an_entry(cache: Path) -> None:
    outputs()
    (path,) = kernels(cache)
    path.unlink()
    path.mkdir()
    with pytest.warns(RuntimeWarning, match="compiled kernels cannot be kept"):
        assert not outputs()[1]


# ---- where nothing can be written --------------------------------------------------------------------


def test_an_unwritable_folder_is_told_once_and_work_goes_on(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = cache.parent / "file"
    file.write_text("not a folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(file))
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        assert [outputs()[1] for _ in range(3)] == [False] * 3
    (warning,) = told
    assert warning.category is RuntimeWarning
    assert str(warning.message) == (
        f"compiled kernels cannot be kept in {file / 'stepfold'} (Not a directory): every process will "
        "compile them again, some 0.1 s each; free some space there or point XDG_CACHE_HOME at a folder "
        "that can be written"
    )
    assert file.read_text() == "not a folder"


def test_a_full_disk_is_told_and_leaves_no_rubbish(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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

    monkeypatch.setattr(_cache.os, "fdopen", Full)
    with pytest.warns(RuntimeWarning, match=r"cannot be kept in .*stepfold \(No space left on device\)"):
        assert not outputs()[1]
    assert [p for p in cache.rglob("*") if p.is_file()] == []


@pytest.mark.skipif(sys.platform != "linux", reason="the folder's place is this system's")
def test_a_user_without_a_home(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(_cache.Path, "home", staticmethod(homeless))
    with pytest.warns(
        RuntimeWarning, match=r"cannot be kept in the home folder \(Could not determine home directory\)"
    ):
        assert not outputs()[1]


def test_the_folder_of_each_system(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(_cache.Path, "home", staticmethod(lambda: tmp_path / "me"))
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "local"))
    for platform, expected in (
        ("linux", "me/.cache/stepfold"),
        ("darwin", "me/Library/Caches/stepfold"),
        ("win32", "local/stepfold"),
    ):
        monkeypatch.setattr(_cache.sys, "platform", platform)
        assert _cache.folder() == tmp_path / expected
    monkeypatch.setattr(_cache.sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "elsewhere"))
    assert _cache.folder() == tmp_path / "elsewhere" / "stepfold"


# ---- many processes at once --------------------------------------------------------------------------

_CHILD = """
import sys, time
import numpy as np
from stepfold import cells, record
from stepfold._reference import Reference
print("ready", flush=True)
sys.stdin.readline()
params = cells.ugrnn.init(3, 5, seed=0, dtype="float64")
inputs = np.random.default_rng(0).standard_normal((2, 4, 3))
run = record(cells.ugrnn, inputs, params, return_sequences=True)
gradients = run.backward(np.ones_like(run.output))
truth = Reference(cells.ugrnn.step, inputs, params, [np.zeros((2, 5))])
to_inputs, to_params, _ = truth.backward(np.ones_like(run.output))
np.testing.assert_allclose(run.output, truth.outputs, atol=1e-12)
np.testing.assert_allclose(gradients.inputs, to_inputs, atol=1e-12)
for name in params:
    np.testing.assert_allclose(gradients.params[name], to_params[name], atol=1e-11)
print("right")
"""


SUPPORT = ["whole", "sort", "partition", "index", "clear", "clear_rows", "seal", "open"]
WORKERS = ["parallel"] if sys.platform == "linux" and machine() in SYSTEM_CALLS else []
SUPPORT_OF_FLOATS = ["copy", "store_states"]


def name_in(path: Path) -> str:
    """The name of the kernel that a file holds."""
    body = path.read_bytes()[len(_cache._MAGIC) + 32 :]
    size = int.from_bytes(body[:8], "little")
    return str(json.loads(body[8 : 8 + size])["name"])


@pytest.mark.parametrize("count", [3, pytest.param(8, marks=pytest.mark.slow)])
def test_many_processes_fill_one_empty_cache(cache: Path, count: int) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-W", "error", "-c", _CHILD],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(count)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    results = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0] * count
    assert [out for out, _ in results] == ["right\n"] * count
    assert sorted(map(name_in, kernels(cache))) == sorted(
        ["train", "backward", "run", *WORKERS, *SUPPORT, *(f"{name}64" for name in SUPPORT_OF_FLOATS)]
    )
    assert list(cache.rglob("*.part")) == []

"""The cache of compiled kernels: read again, shared by processes, compiled again when an entry is damaged."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cache_helpers import FEATURES, STEP, entries, outputs

from stepfold import cells
from stepfold._llvm import KERNELS, _cache, _cache_folder, layout_for, support_names, target
from stepfold._plan import plan
from stepfold._runtime import Call, Engine, Recipe
from tests.targets import PLAINEST


def run_once(engine: Engine, params: dict[str, np.ndarray]) -> None:
    """A forward pass of one step of one row."""
    recipe = Recipe.of(engine.step, engine.units)
    inputs = np.ones((1, 1, FEATURES), engine.dtype)
    Call(engine, recipe, inputs, list(params.values())).forward(outputs=False, training=False)


def test_a_kernel_is_compiled_once(cache: Path) -> None:
    first, cached = outputs()
    assert not cached
    (path,) = entries(cache)
    written = path.read_bytes()
    again, cached = outputs()
    assert cached
    assert np.array_equal(first, again)
    assert path.read_bytes() == written
    assert list(cache.rglob("*.part")) == []


def test_a_long_step_says_that_it_is_compiled(
    cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    outputs()
    assert not caplog.records
    for path in entries(cache):
        path.unlink()
    monkeypatch.setattr(_cache, "_LONG", 1_000)
    outputs()
    (record,) = caplog.records
    assert record.name == "stepfold"
    assert "compiling the kernel infer of a long step, which takes some" in record.getMessage()
    assert f"once: it is kept in {cache}" in record.getMessage()
    outputs()  # from the cache
    assert len(caplog.records) == 1


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
    for part in ("name", "arguments", "panels", "panel_size", "scratch"):
        assert getattr(second, part) == getattr(first, part), part


def test_units_dtype_cell_and_target_are_kept_apart(cache: Path) -> None:
    for step, units, dtype, on in (
        (STEP, 3, "float64", "host"),
        (STEP, 4, "float64", "host"),
        (STEP, 3, "float32", "host"),
        (STEP, 3, "float64", PLAINEST),
        (cells.simple_rnn_relu.step, 3, "float64", "host"),
    ):
        made = Engine(step, units, dtype, target(on))
        params = {
            k: np.ones(s, dtype) for k, s in (("W", (units, 2)), ("U", (units, units)), ("b", (units,)))
        }
        run_once(made, params)
        assert made.from_cache == {"infer": False}
    assert len(entries(cache)) == 5


@pytest.mark.parametrize("field", ["cpu", "features", "width", "registers", "triple", "llvmlite", "sources"])
def test_the_key_names_all_that_decides_the_code(field: str, monkeypatch: pytest.MonkeyPatch) -> None:
    on = target()
    before = _cache._key("a kernel", on)
    assert before != _cache._key("another kernel", on)
    if field == "triple":
        monkeypatch.setattr(_cache, "triple", lambda: "another")
    elif field == "llvmlite":
        monkeypatch.setattr(_cache.llvmlite, "__version__", "another")
    elif field == "sources":
        monkeypatch.setattr(_cache, "_sources", lambda: "others")
    else:
        value = getattr(on, field)
        on = replace(on, **{field: value + 1 if isinstance(value, int) else "another"})
    assert before != _cache._key("a kernel", on)


def flipped(at: int) -> Callable[[bytes], bytes]:
    def flip(data: bytes) -> bytes:
        changed = bytearray(data)
        changed[at] ^= 1
        return bytes(changed)

    return flip


def with_header(change: Callable[[dict[str, Any]], object]) -> Callable[[bytes], bytes]:
    """A change of the header, under a digest that fits."""

    def rewrite(data: bytes) -> bytes:
        body = data[50:]
        size = int.from_bytes(body[:8], "little")
        header = json.loads(body[8 : 8 + size])
        replaced = change(header)
        return sealed(json.dumps(header if replaced is None else replaced).encode(), body[8 + size :])

    return rewrite


def sealed(header: bytes, code: bytes = b"", size: int | None = None) -> bytes:
    body = (len(header) if size is None else size).to_bytes(8, "little") + header + code
    return b"stepfold kernel 2\n" + hashlib.sha256(body).digest() + body


def set_field(name: str, value: object) -> Callable[[bytes], bytes]:
    return with_header(lambda header: header["kernel"].__setitem__(name, value))


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda data: b"",
    "cut in the magic": lambda data: data[:9],
    "cut in the digest": lambda data: data[:30],
    "cut in the header's size": lambda data: data[:54],
    "cut in the header": lambda data: data[:80],
    "cut in the code": lambda data: data[:-200],
    "one byte short": lambda data: data[:-1],
    "longer": lambda data: data + b"\0",
    "another magic": lambda data: b"stepfold kernel 1\n" + data[18:],
    "another file": lambda data: b"\x89PNG" * 400,
    "a bit of the magic": flipped(3),
    "a bit of the digest": flipped(20),
    "a bit of the header's size": flipped(51),
    "a bit of the header": flipped(80),
    "a bit of the code": flipped(-300),
    "the last bit": flipped(-1),
    "nothing but zeros": lambda data: bytes(len(data)),
    # from here on the digest fits
    "no body": lambda data: b"stepfold kernel 2\n" + hashlib.sha256(b"").digest(),
    "no header": lambda data: sealed(b""),
    "not UTF-8": lambda data: sealed(b"\xff\xfe\xfd" * 9),
    "not JSON": lambda data: sealed(b"key: value"),
    "nested too deeply": lambda data: sealed(b"[" * 1_000_000),
    "an integer of 5,000 digits": lambda data: sealed(b"1" * 5_000),
    "a header longer than the file": lambda data: sealed(b"{}", size=2**64 - 1),
    "a list": with_header(lambda header: [header]),
    "null": lambda data: sealed(b"null"),
    "no key": with_header(lambda header: header.pop("key") and None),
    "a key of another type": with_header(lambda header: header.update(key=5)),
    "another key": with_header(lambda header: header.update(key="0" * 64)),
    "no kernel": with_header(lambda header: header.update(kernel=None)),
    "a field too few": with_header(lambda header: header["kernel"].pop("scratch") and None),
    "a field too many": set_field("more", 1),
    "a name that is an integer": set_field("name", 7),
    "a size that is text": set_field("scratch", "12"),
    "a size that is true": set_field("scratch", True),
    "a size that is a float": set_field("scratch", 1.0),
    "a negative size": set_field("scratch", -1),
    "a size of 64 bits": set_field("scratch", 1 << 63),
    "panels that are text": set_field("panels", "none"),
    "panels of another form": set_field("panels", [[1, 2, 3]]),
    "a function that the code does not have": set_field("name", "main"),
    "no code": lambda data: with_header(lambda header: None)(
        data[: 58 + int.from_bytes(data[50:58], "little")]
    ),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_a_damaged_entry_is_built_again(cache: Path, damage: Callable[[bytes], bytes]) -> None:
    outputs()
    (path,) = entries(cache)
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    assert path.read_bytes() != whole
    assert not outputs()[1]
    assert path.read_bytes() == whole, "the entry was not replaced"
    assert outputs()[1]


def test_an_entry_of_another_cell_is_not_used(cache: Path) -> None:
    """A file of a sound digest, but of another kernel: it would write other results, or out of bounds."""
    outputs()
    (path,) = entries(cache)
    whole = path.read_bytes()
    other = Engine(cells.lstm.step, 40, "float64")
    params = cells.lstm.init(FEATURES, 40, seed=0, dtype="float64")
    run_once(other, params)
    (stranger,) = set(entries(cache)) - {path}
    path.write_bytes(stranger.read_bytes())
    assert not outputs()[1]
    assert path.read_bytes() == whole, "the entry was not replaced"
    assert outputs()[1]


def test_an_entry_of_huge_size_is_not_read(cache: Path) -> None:
    outputs()
    (path,) = entries(cache)
    with path.open("r+b") as file:
        file.truncate(1 << 40)  # sparse: it takes no space
    assert not outputs()[1]
    assert outputs()[1]
    assert path.stat().st_size < 1 << 20


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_in_the_place_of_an_entry_is_not_waited_for(cache: Path) -> None:
    outputs()
    (path,) = entries(cache)
    path.unlink()
    os.mkfifo(path)
    assert not outputs()[1]
    assert outputs()[1]


def test_an_entry_that_another_process_reads_on_windows(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows refuses to replace an open file. A valid entry is as good; for any other there is a warning."""
    outputs()
    (path,) = entries(cache)
    whole = path.read_bytes()

    def refuse(valid: bytes) -> Callable[[str, Path], None]:
        def replace(source: str, target: Path) -> None:
            path.write_bytes(valid)
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

        return replace

    path.unlink()
    monkeypatch.setattr(_cache_folder.os, "replace", refuse(whole))
    assert not outputs()[1]
    assert outputs()[1]
    assert list(cache.rglob("*.part")) == []
    path.unlink()
    monkeypatch.setattr(_cache_folder.os, "replace", refuse(whole[:-1]))
    with pytest.warns(RuntimeWarning, match=r"cannot be kept in .*stepfold \(Permission denied\)"):
        assert not outputs()[1]
    assert list(cache.rglob("*.part")) == []


def test_a_folder_in_the_place_of_an_entry(cache: Path) -> None:
    outputs()
    (path,) = entries(cache)
    path.unlink()
    path.mkdir()
    with pytest.warns(RuntimeWarning, match="compiled kernels cannot be kept"):
        assert not outputs()[1]


# ---- many processes at once --------------------------------------------------------------------------

_CHILD = """
import sys, time
import numpy as np
from stepfold import cells, record
from stepfold._reference import Reference
from tests.targets import PLAINEST
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
    support = ["program", "whole", "sort", "partition", "index", "clear", "clear_rows", "seal", "open"]
    support += ["check_group", "copy64", "store_states64"]
    support += ["workers"] if "workers" in support_names(target()) else []
    assert len(entries(cache)) == len(["train", "backward", *support])
    assert list(cache.rglob("*.part")) == []

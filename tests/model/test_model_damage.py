"""Files that are damaged or hostile: one clear error, quickly, without the memory that they claim."""

from __future__ import annotations

import copy
import json
import os
import struct
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from model_helpers import branched_texts, recurrent, text_model, value_model

from ensemble_helpers import ensemble_model
from stepfold import cells
from stepfold.model import BidirectionalLayer, ModelError, read_model, write_model


def parts(raw: bytes) -> tuple[dict[str, Any], dict[str, Any], bytes]:
    """The header without the metadata, the metadata's JSON, and the data of a file."""
    (length,) = struct.unpack("<Q", raw[:8])
    header = json.loads(raw[8 : 8 + length])
    return header, json.loads(header.pop("__metadata__")["stepfold"]), raw[8 + length :]


def joined(header: dict[str, Any], stored: Any, data: bytes, text: str | None = None) -> bytes:
    stored = json.dumps(stored) if text is None else text
    raw = json.dumps({"__metadata__": {"stepfold": stored}, **header}).encode()
    return struct.pack("<Q", len(raw)) + raw + data


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    folder = tmp_path_factory.mktemp("models")
    found = []
    both = BidirectionalLayer(recurrent(cells.lstm, 4, 2), recurrent(cells.lstm, 4, 3, reverse=True))
    for model, weights in (
        (text_model(both), "int8"),
        (value_model(), "f32"),
        (text_model(), "bf16"),
        (ensemble_model(), "f32"),
        (branched_texts(both=True), "f32"),
    ):
        write_model(model, folder / "model.safetensors", weights)  # type: ignore[arg-type]
        found.append((folder / "model.safetensors").read_bytes())
    return found


def load(raw: bytes, folder: Path) -> Any:
    path = folder / "damaged.safetensors"
    path.write_bytes(raw)
    return read_model(path)


def refused(raw: bytes, folder: Path) -> str:
    started = time.perf_counter()
    tracemalloc.start()
    try:
        with pytest.raises(ModelError) as caught:
            load(raw, folder)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert time.perf_counter() - started < 5  # a second, without tracing and another's work beside it
    assert most < 30 * len(raw) + 2**20
    assert str(folder / "damaged.safetensors") in str(caught.value)
    assert "write it again with stepfold.export" in str(caught.value)
    return str(caught.value)


def edited(raw: bytes, edit: Callable[[dict[str, Any], Any], Any]) -> bytes:
    header, stored, data = parts(raw)
    edit(header, stored)
    return joined(header, stored, data)


def test_files_that_are_no_safetensors(files: list[bytes], tmp_path: Path) -> None:
    assert "it has 0 bytes, too few for a header" in refused(b"", tmp_path)
    assert "its header claims 1 bytes" in refused(struct.pack("<Q", 1), tmp_path)
    assert "claims 9,223,372,036,854,775,807 bytes" in refused(struct.pack("<Q", 2**63 - 1) + b"{", tmp_path)
    for raw in (b"\x80\x04\x95", b"PK\x03\x04" * 99, struct.pack("<Q", 4) + b"\xff" * 9):
        refused(raw, tmp_path)
    (tmp_path / "spaces.safetensors").write_bytes(struct.pack("<Q", 99_000_000) + b"{")
    os.truncate(tmp_path / "spaces.safetensors", 99_000_008)
    with pytest.raises(ModelError, match=r"claims 99,000,000 bytes, .* and of at most 4,194,304"):
        read_model(tmp_path / "spaces.safetensors")
    assert "has no metadata 'stepfold'" in refused(struct.pack("<Q", 2) + b"{}", tmp_path)
    assert "its JSON holds more than 400,000 lists" in refused(_header(b"[" * 2_000_000), tmp_path)
    assert "nested too deep" in refused(_header(b"[" * 399_000), tmp_path)
    assert "has the entry 'a' twice" in refused(_header(b'{"a":1,"a":2}'), tmp_path)
    for cut in (9, 100, len(files[0]) - 1):
        refused(files[0][:cut], tmp_path)
    entry = {"dtype": "F32", "shape": [1]}
    tensors = {str(k): {**entry, "data_offsets": [4 * k, 4 * k + 4]} for k in range(20_001)}
    assert "it has 20,001 tensors, more than 20,000" in refused(joined(tensors, {}, b""), tmp_path)
    assert "follow the header" in refused(files[0] + b"\0", tmp_path)


def _header(raw: bytes) -> bytes:
    return struct.pack("<Q", len(raw)) + raw


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_what_is_no_regular_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(ModelError, match=f"{path} is no regular file; copy it into one first"):
            read_model(path)
    with pytest.raises(ModelError, match=r"is a folder, not a model file.*stepfold export"):
        read_model(tmp_path)
    with pytest.raises(FileNotFoundError):
        read_model(tmp_path / "nothing.safetensors")
    (tmp_path / "model.onnx").write_bytes(b"\x08\x08\x12\x08stepfold")
    with pytest.raises(ModelError, match=r"is an ONNX model by its name; read it with stepfold\.from_onnx"):
        read_model(tmp_path / "model.onnx")
    for end, owner in ((".keras", "Keras"), (".pth", "PyTorch")):
        (tmp_path / f"model{end}").write_bytes(b"PK\x03\x04" + bytes(60))
        with pytest.raises(ModelError, match=rf"is no model file.*; by its name it is {owner}'s: load it"):
            read_model(tmp_path / f"model{end}")


def _tensor(**changes: Any) -> Callable[[dict[str, Any], Any], Any]:
    return lambda header, stored: header["layers.0.table"].update(changes)


def _stored(**changes: Any) -> Callable[[dict[str, Any], Any], Any]:
    return lambda header, stored: stored.update(changes)


def _layer(k: int, **changes: Any) -> Callable[[dict[str, Any], Any], Any]:
    return lambda header, stored: stored["layers"][k].update(changes)


def _cyclic(header: dict[str, Any], stored: Any) -> None:
    nodes = stored["cells"][0]["nodes"]
    k = next(k for k, node in enumerate(nodes) if node[0] == "tanh")
    nodes[k][1] = [k + 1]


EDITS: list[tuple[Callable[[dict[str, Any], Any], Any], str]] = [
    (_tensor(shape=[2**62, 2**62]), "tensor 'layers.0.table' is not described by"),
    (_tensor(shape=[9, True]), "is not described by"),
    (_tensor(shape=[9, 4, 1]), "is not described by"),
    (_tensor(dtype="F16"), "is not described by a dtype of F32, F64, BF16, I8, I64"),
    (_tensor(data_offsets=[0, 10**30]), "is not described by"),
    (_tensor(data_offsets=[4, 40]), "begins at byte"),
    (_tensor(extra=1), "is not described by"),
    (lambda header, stored: header.pop("layers.0.table.scale"), "begins at byte"),
    (lambda header, stored: stored["layers"].pop(), "2 labels, but its last layer gives (batch, 5)"),
    (_stored(format=2), "its format is 2, this version of stepfold reads 1"),
    (_stored(format=True), "it has no number 'format'"),
    (_stored(layers=[]), "a model needs at least one layer"),
    (_stored(layers=[{}] * 1001), "it has 1,001 layers, more than 1,000"),
    (_stored(layers=[[]]), "layers.0 is no layer; its kind must be one of embedding, masking, affine"),
    (_stored(dtype="float16"), "its dtype is 'float16'"),
    (_stored(dtype="float64"), "cannot be F32 in a model of float64"),
    (_stored(name="\n"), "name must be a printable text"),
    (_stored(labels=["a", "b", "c"]), "3 labels, but its last layer gives (batch, 1), expected (batch, 3)"),
    (_stored(labels=["a", "a"]), "and each must stand there once"),
    (_stored(labels=[float("nan"), 1]), "a label is not finite"),
    (_stored(labels=[[], 1]), "labels must be texts, numbers or booleans"),
    (_stored(labels=None, scale=[float("inf")]), "scale has shape (1,), expected finite numbers"),
    (_stored(labels=None, shift=[10**400]), "int too large"),
    (_stored(scale=[1.0]), "a model with labels has none"),
    (_stored(extra=1), "the model has an unknown entry 'extra'"),
    (lambda header, stored: stored["inputs"].update(length=-1), "length must be an integer from 1"),
    (lambda header, stored: stored["inputs"].update(length=10**9), "to 1,000,000, not 1000000000"),
    (lambda header, stored: stored["inputs"].update(kind="pickle"), "inputs has no entry 'features'"),
    (
        lambda header, stored: stored["inputs"]["vocabulary"]["words"].append("more"),
        "the vocabulary has 10 ids, but the table of layer 0 (embedding) 9 rows",
    ),
    (lambda header, stored: stored["inputs"]["vocabulary"].update(kind="x"), "its kind is none of"),
    (_layer(0, mask_zero=1), "layers.0: 'mask_zero' is 1, expected true or false"),
    (_layer(1, forward=1), "layers.1: there is no cell 1, there are 1"),
    (_layer(1, merge="sum"), "merge 'sum' needs directions of as many units, not 2 and 3"),
    (_layer(1, merge="__class__"), "merge must be one of concat, sum, mul, ave"),
    (_layer(2, activation="exec"), "layers.2: activation must be one of linear, tanh"),
    (_layer(2, bias=False), "no layer has the tensor 'layers.2.bias'"),
    (lambda header, stored: stored["layers"].reverse(), "it has no tensor layers.0.kernel"),
    (_cyclic, "there is no earlier node"),
    (
        lambda header, stored: stored["cells"][0]["nodes"].append(["system", [0]]),
        "operation 'system' is unknown",
    ),
    (lambda header, stored: stored["cells"].append(None), "this is not a saved cell"),
]


@pytest.mark.parametrize(("edit", "message"), EDITS, ids=range(len(EDITS)))
def test_headers_that_say_what_cannot_be(
    edit: Callable[[dict[str, Any], Any], Any], message: str, files: list[bytes], tmp_path: Path
) -> None:
    assert message in refused(edited(files[0], edit), tmp_path)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_numbers_that_are_none(value: float, files: list[bytes], tmp_path: Path) -> None:
    for raw, name, dtype in ((files[1], "layers.2.kernel", "<f4"), (files[0], "layers.0.table.scale", "<f4")):
        header, stored, data = parts(raw)
        array = np.frombuffer(data, np.uint8).copy()
        start, end = header[name]["data_offsets"]
        array[start:end].view(dtype)[-1] = value
        message = refused(joined(header, stored, array.tobytes()), tmp_path)
        assert f"the tensor {name.removesuffix('.scale')} holds NaN or infinity" in message


def _branches(*changed: Any) -> Callable[[dict[str, Any], Any], Any]:
    return lambda header, stored: stored["layers"][1].update(branches=list(changed))


def _nested(depth: int) -> Any:
    entry: Any = {"kind": "concatenate", "branches": [[], []]}
    for _ in range(depth - 1):
        entry = {"kind": "concatenate", "branches": [[entry], []]}
    return [entry]


BRANCH_EDITS: list[tuple[Callable[[dict[str, Any], Any], Any], str]] = [
    (_branches(), "layers.1: a concatenation needs at least two branches, not 0"),
    (_branches([], 3), "layers.1: branch 1 is no list of layers"),
    (_branches([], [[]]), "layers.1: 1.0 is no layer; its kind must be one of"),
    (_branches([], [{"kind": "join_evidence"}]), "JoinEvidenceLayer cannot stand in a branch"),
    (_branches([], [{"kind": "ensemble", "members": [[{"kind": "masking", "value": 0}]]}]), "EnsembleLayer"),
    (_branches(*[[]] * 999), "it has 1,010 layers, more than 1,000"),
    (_branches(_nested(16), []), "concatenations lie 17 deep in one another, more than 16"),
    (_branches(_nested(200), []), "its layers lie more than 16 deep within one another"),
    (
        lambda header, stored: stored.update(layers=stored["layers"][:1] + 99 * _nested(1)),
        "layer 14 (concatenate) gives 81,920 features, more than 65,536",
    ),
    (lambda header, stored: stored["layers"][0]["branches"][1].clear(), "branch 2 passes ids on; begin it"),
]


@pytest.mark.parametrize(("edit", "message"), BRANCH_EDITS, ids=range(len(BRANCH_EDITS)))
def test_branches_that_cannot_be(
    edit: Callable[[dict[str, Any], Any], Any], message: str, files: list[bytes], tmp_path: Path
) -> None:
    assert message in refused(edited(files[4], edit), tmp_path)


def test_a_deep_graph_and_too_many_of_them(files: list[bytes], tmp_path: Path) -> None:
    def deep(header: dict[str, Any], stored: Any) -> None:
        nodes = stored["cells"][0]["nodes"]
        at = len(nodes)
        nodes += [["tanh", [at - 1 + k]] for k in range(10_000)]

    assert "nodes, more than 10,000" in refused(edited(files[0], deep), tmp_path)

    def many(header: dict[str, Any], stored: Any) -> None:
        stored["cells"] *= 999

    assert "nodes, more than 20,000" in refused(edited(files[0], many), tmp_path)


def _places(data: Any, found: list[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
    """Every (container, key) of JSON data."""
    entries = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in entries:
        found.append((data, key))
        _places(value, found)
    return found


ODD = [None, True, -1, 0, 1, 3, 2**31, 2**63, 10**400, 0.5, float("nan")]
ODD += ["", "x", "\ud800", [], {}, [[]], {"a": 1}]


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_mutated_files_are_read_or_refused(data: st.DataObject, files: list[bytes], tmp_path: Path) -> None:
    raw = data.draw(st.sampled_from(files))
    header, stored, tail = parts(raw)
    how = data.draw(st.sampled_from(["flip", "cut", "insert", "edit", "swap", "remove"]))
    if how in ("flip", "cut", "insert"):
        at = data.draw(st.integers(0, len(raw) - 1) | st.integers(0, 400))
        if how == "flip":
            raw = raw[:at] + bytes([raw[at] ^ data.draw(st.integers(1, 255))]) + raw[at + 1 :]
        else:
            raw = raw[:at] + (data.draw(st.binary(min_size=1)) + raw[at:] if how == "insert" else b"")
    else:
        whole = [copy.deepcopy(header), copy.deepcopy(stored)]
        places = [place for place in _places(whole, []) if place[0] is not whole]
        container, key = data.draw(st.sampled_from(places))
        if how == "edit":
            container[key] = data.draw(st.sampled_from(ODD))
        elif how == "remove":
            del container[key]
        else:
            other, place = data.draw(st.sampled_from(places))
            container[key], other[place] = copy.deepcopy(other[place]), copy.deepcopy(container[key])
        raw = joined(whole[0], whole[1], tail)
    try:
        model = load(raw, tmp_path)
    except ModelError:
        return
    assert model.layers
    write_model(model, tmp_path / "again.safetensors")

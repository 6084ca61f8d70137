"""ONNX models of RNN, LSTM and GRU nodes, and of what stands around them, run by the kernels."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError

from .._native import Array
from ._errors import OnnxError
from ._nodes import OPERATORS
from ._recurrent_nodes import ATTRIBUTES, RecurrentNode
from ._tensors import array_of, attributes_of, type_of

OLDEST = 7
"""The oldest version of ONNX's operators that is read: since it, RNN, LSTM and GRU are what they are."""

_MOST_BYTES = 2**31
_SOFTMAX = 13  # before, Softmax flattened its input


@dataclass(frozen=True)
class OnnxInput:
    """An input of a model: its dtype, and its shape, in which a text or None is any size; None: any shape."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int | str | None, ...] | None
    optional: bool


@dataclass(frozen=True)
class _Node:
    where: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    function: Callable[[list[Array | None]], Sequence[Array]]


@dataclass(frozen=True, eq=False)
class OnnxModel:
    """A model read from ONNX; `run` computes it.

    Args:
        inputs: what may be given, in order.
        outputs: the names of what comes out, in order.
    """

    inputs: tuple[OnnxInput, ...]
    outputs: tuple[str, ...]
    _nodes: tuple[_Node, ...] = field(repr=False)
    _arrays: Mapping[str, Array] = field(repr=False)

    def run(self, inputs: Mapping[str, Any]) -> dict[str, Array]:
        """Return the outputs by name.

        Args:
            inputs: the arrays by name, of the dtypes and shapes that `self.inputs` says.

        Raises:
            OnnxError: an input is missing, unknown or does not fit; a node cannot compute with it, named.
            TypeError: `inputs` is no mapping.
        """
        values: dict[str, Array | None] = {"": None, **self._arrays, **self._checked(inputs)}
        for node in self._nodes:
            try:
                with np.errstate(all="ignore"):
                    found = node.function([values[name] for name in node.inputs])
            except OnnxError as error:
                text = str(error)
                raise OnnxError(text if text.startswith(node.where) else f"{node.where}: {text}") from None
            except (ValueError, TypeError, IndexError, KeyError, AttributeError, ArithmeticError) as error:
                raise OnnxError(f"{node.where}: {error}") from error
            values.update({name: v for name, v in zip(node.outputs, found, strict=False) if name})
            missing = [name for name in node.outputs[len(found) :] if name]
            if missing:
                raise OnnxError(f"{node.where} has no output {missing[0]!r}: it has {len(found)}")
        results = {name: values[name] for name in self.outputs}
        return {name: np.asarray(value, order="C") for name, value in results.items() if value is not None}

    def _checked(self, given: Any) -> dict[str, Array]:
        if not isinstance(given, Mapping):
            names = ", ".join(repr(each.name) for each in self.inputs)
            raise TypeError(f"inputs must be a dict of arrays ({names}), not {type(given).__name__}")
        known = {each.name: each for each in self.inputs}
        unknown = given.keys() - known.keys()
        missing = {n for n, each in known.items() if not each.optional} - given.keys()
        if unknown or missing:
            wrong = [f"lacks {', '.join(sorted(missing))}"] * bool(missing)
            wrong += [f"has no {', '.join(sorted(unknown))}"] * bool(unknown)
            raise OnnxError(f"the model's inputs are {', '.join(known)}; the call {' and '.join(wrong)}")
        found = {}
        for name, value in given.items():
            array, expected = np.asarray(value), known[name]
            if array.dtype != expected.dtype:
                raise OnnxError(f"the input {name} must be {expected.dtype}, not {array.dtype}")
            if expected.shape is not None and not _fits(array.shape, expected.shape):
                raise OnnxError(f"the input {name} has shape {array.shape}, expected {expected.shape}")
            found[name] = array
        return found


def _fits(shape: tuple[int, ...], expected: tuple[int | str | None, ...]) -> bool:
    sizes = zip(shape, expected, strict=False)
    return len(shape) == len(expected) and all(e == s or not isinstance(e, int) for s, e in sizes)


def from_onnx(source: str | os.PathLike[str] | Any) -> OnnxModel:
    """Return a model that runs an ONNX model, whose RNN, LSTM and GRU nodes become cells under `scan`.

    Around them there may be the operators of `docs/onnx.md`; anything else is refused by its name. No data in
    other files is read.

    Args:
        source: a path, or an `onnx.ModelProto`.

    Raises:
        OnnxError: the file is no ONNX model, damaged, or has an operator, an attribute or an element type
            that is not served; the message names the node.
        OSError: the file cannot be read.
    """
    proto = source if isinstance(source, onnx.ModelProto) else _parsed(Path(source))
    opset = _opset(proto)
    graph = proto.graph
    if graph.sparse_initializer:
        raise OnnxError("sparse initializers are not served; save the model with dense ones")
    arrays: dict[str, Array] = {}
    for tensor in graph.initializer:
        arrays[_new(tensor.name, arrays, "the initializer")] = array_of(
            tensor, f"the initializer {tensor.name!r}"
        )
    inputs = tuple(_input(value, arrays) for value in graph.input)
    known = {"", *arrays, *(each.name for each in inputs)}
    nodes = []
    for k, node in enumerate(graph.node):
        made = _node(node, k, opset)
        unknown = [name for name in made.inputs if name not in known]
        if unknown:
            raise OnnxError(
                f"{made.where} reads {unknown[0]!r}, which no input, initializer or earlier node gives"
            )
        known.update(_new(name, known, f"the output of {made.where}") for name in made.outputs if name)
        nodes.append(made)
    outputs = tuple(value.name for value in graph.output)
    lost = [name for name in outputs if name not in known or not name]
    if lost or not outputs:
        raise OnnxError(f"no node gives the output {lost[0]!r}" if lost else "the model has no outputs")
    return OnnxModel(inputs, outputs, tuple(nodes), arrays)


def _parsed(path: Path) -> Any:
    about = path.stat()
    if not stat.S_ISREG(about.st_mode) and not stat.S_ISDIR(about.st_mode):  # it may never end
        raise OnnxError(f"{path} is no regular file; copy it into one first")
    if about.st_size > _MOST_BYTES:
        raise OnnxError(f"{path.name} is larger than the 2 GiB that an ONNX model may have")
    proto = onnx.ModelProto()
    try:
        proto.ParseFromString(path.read_bytes())
    except DecodeError as error:
        raise OnnxError(f"{path.name} is no ONNX model, or cut short ({error})") from None
    if not proto.HasField("graph") or not proto.graph.node:
        raise OnnxError(f"{path.name} is no ONNX model: it has no graph with nodes")
    return proto


def _opset(proto: Any) -> int:
    """The version of ONNX's own operators; others' operators and functions are refused."""
    if proto.functions:
        raise OnnxError(f"the function {proto.functions[0].name!r} is not served; save the model without")
    versions: list[int] = [each.version for each in proto.opset_import if each.domain in ("", "ai.onnx")]
    newest = onnx.defs.onnx_opset_version()
    if not versions or not OLDEST <= min(versions) <= max(versions) <= newest:
        raise OnnxError(
            f"the operators' version (opset) is {', '.join(map(str, versions)) or 'not said'}; "
            f"{OLDEST} to {newest} are served"
        )
    return min(versions)


def _new(name: str, known: Any, what: str) -> str:
    if not name or name in known:
        raise OnnxError(f"{what} {name!r}: its name is empty, or another's")
    return name


def _input(value: Any, arrays: Mapping[str, Array]) -> OnnxInput:
    where = f"the input {value.name!r}"
    if not value.name or value.type.WhichOneof("value") != "tensor_type":
        raise OnnxError(f"{where} is no tensor, the only type that is served")
    tensor = value.type.tensor_type
    shape = None
    if tensor.HasField("shape"):
        sizes = [getattr(size, size.WhichOneof("value") or "", None) for size in tensor.shape.dim]
        shape = tuple(sizes)
    return OnnxInput(value.name, type_of(tensor.elem_type, where), shape, value.name in arrays)


def _node(node: Any, number: int, opset: int) -> _Node:
    where = f"node {number}, {node.op_type}" + (f" {node.name!r}" if node.name else "")
    if node.domain not in ("", "ai.onnx"):
        raise OnnxError(f"{where}: operators of {node.domain!r} are not served")
    allowed = ATTRIBUTES.get(node.op_type)
    row = OPERATORS.get(node.op_type)
    if allowed is None and row is None:
        served = ", ".join([*ATTRIBUTES, *OPERATORS])
        raise OnnxError(f"{where}: the operator {node.op_type} is not served; those served are {served}")
    attributes = attributes_of(node, where)
    refused = attributes.keys() - (row.attributes if row is not None else allowed or set())
    if refused:
        raise OnnxError(f"{where}: the attribute {min(refused, key=str)} is not served")
    if node.op_type == "Softmax" and opset < _SOFTMAX:
        raise OnnxError(f"{where}: Softmax of an opset before {_SOFTMAX} is not served; convert the model")
    inputs, outputs = tuple(node.input), tuple(node.output)
    if row is None:
        recurrent = RecurrentNode.from_attributes(node.op_type, attributes, where)
        return _Node(where, inputs, outputs, recurrent)
    function = row.function

    def run(values: list[Array | None]) -> Sequence[Array]:
        found = function(attributes, *values)
        return [np.asarray(f) for f in found] if isinstance(found, list) else [np.asarray(found)]

    return _Node(where, inputs, outputs, run)

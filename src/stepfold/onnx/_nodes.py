"""The other operators that a model around RNN, LSTM and GRU nodes needs, each in NumPy."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import _numpy_ops
from .._native import Array
from ._errors import OnnxError
from ._tensors import checked_size, type_of

Attributes = Mapping[str, Any]


@dataclass(frozen=True)
class Row:
    """An operator: `function(attributes, *inputs)` returns its output, or a list of several; an input that is
    left out is None. `attributes` are those that it reads; another one is refused."""

    function: Callable[..., Any]
    attributes: frozenset[str] = frozenset()


def _row(function: Callable[..., Any], *attributes: str) -> Row:
    return Row(function, frozenset(attributes))


def _elementwise(function: Callable[..., Any]) -> Row:
    """An operator on each element of inputs that are broadcast."""

    def run(_: Attributes, *inputs: Any) -> Any:
        checked_size(np.broadcast_shapes(*(np.shape(i) for i in inputs)), "the result")
        return function(*inputs)

    return _row(run)


def _folded(function: Callable[[Any, Any], Any]) -> Row:
    """An operator on one or more inputs, from left to right."""

    def run(_: Attributes, first: Any, *rest: Any) -> Any:
        for other in rest:
            checked_size(np.broadcast_shapes(np.shape(first), np.shape(other)), "the result")
            first = function(first, other)
        return first

    return _row(run)


def _divide(a: Array, b: Array) -> Array:
    if a.dtype.kind == "f":
        return np.asarray(np.divide(a, b))
    if not np.all(b):
        raise OnnxError("an integer is divided by 0")
    up = (np.remainder(a, b) != 0) & ((a < 0) != (b < 0))  # ONNX rounds towards 0, NumPy down
    return np.asarray(np.floor_divide(a, b) + up).astype(a.dtype)


def _axes(attributes: Attributes, axes: Any) -> tuple[int, ...] | None:
    """The axes of an operator, an input in newer versions and an attribute before."""
    given = attributes.get("axes") if axes is None else axes
    return None if given is None or len(given) == 0 else tuple(int(a) for a in given)


def _reduction(function: Callable[..., Any]) -> Row:
    def run(attributes: Attributes, value: Array, axes: Any = None) -> Any:
        chosen = _axes(attributes, axes)
        if chosen is None and attributes.get("noop_with_empty_axes", 0):
            return value
        found = function(value, axis=chosen, keepdims=bool(attributes.get("keepdims", 1)))
        return np.asarray(found).astype(value.dtype, copy=False)

    return _row(run, "axes", "keepdims", "noop_with_empty_axes")


def _matmul(_: Attributes, a: Array, b: Array) -> Array:
    if a.ndim >= 2 and b.ndim >= 2:
        rows = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
        checked_size((*rows, a.shape[-2], b.shape[-1]), "the result")
    return np.asarray(a @ b)


def _gemm(attributes: Attributes, a: Array, b: Array, c: Any = None) -> Array:
    a = a.T if attributes.get("transA", 0) else a
    found = attributes.get("alpha", 1.0) * _matmul({}, a, b.T if attributes.get("transB", 0) else b)
    if c is not None:
        found = found + attributes.get("beta", 1.0) * c
    return np.asarray(found).astype(a.dtype, copy=False)


def _softmax(attributes: Attributes, value: Array) -> Array:
    axis = attributes.get("axis", -1)
    if axis not in (-1, value.ndim - 1):
        raise OnnxError(f"the axis {axis} of {value.ndim} is not the last")
    shifted = np.exp(value - value.max(axis=axis, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=axis, keepdims=True))


def _cast(attributes: Attributes, value: Array) -> Array:
    return value.astype(type_of(attributes.get("to", 0), "the attribute to"))


def _gather(attributes: Attributes, value: Array, indices: Array) -> Array:
    axis = attributes.get("axis", 0)
    size = value.shape[axis]
    if indices.size and not -size <= indices.min() <= indices.max() < size:
        raise OnnxError(f"indices from {indices.min()} to {indices.max()}, but the axis has {size} elements")
    checked_size((indices.size, value.size // max(size, 1)), "the result")
    return np.asarray(np.take(value, indices, axis=axis))


def _reshape(attributes: Attributes, value: Array, shape: Array) -> Array:
    sizes = [int(s) for s in shape]
    if not attributes.get("allowzero", 0):
        sizes = [value.shape[k] if size == 0 else size for k, size in enumerate(sizes)]
    return value.reshape(sizes)


def _squeeze(attributes: Attributes, value: Array, axes: Any = None) -> Array:
    return np.squeeze(value, _axes(attributes, axes))


def _unsqueeze(attributes: Attributes, value: Array, axes: Any = None) -> Array:
    return np.expand_dims(value, _axes(attributes, axes) or ())


def _expand(_: Attributes, value: Array, shape: Array) -> Array:
    target = np.broadcast_shapes(value.shape, tuple(int(s) for s in shape))
    checked_size(target, "the result")
    return np.broadcast_to(value, target)


def _split(attributes: Attributes, value: Array, sizes: Any = None) -> list[Array]:
    given = attributes.get("split") if sizes is None else sizes
    if given is None:
        raise OnnxError("sizes are needed")
    axis = attributes.get("axis", 0)
    if sum(int(s) for s in given) != value.shape[axis] or any(int(s) < 0 for s in given):
        raise OnnxError(f"sizes {[int(s) for s in given]} do not add up to {value.shape[axis]}")
    return np.split(value, np.cumsum(np.asarray(given))[:-1], axis)


def _slice(
    _: Attributes, value: Array, starts: Array, ends: Array, axes: Any = None, steps: Any = None
) -> Array:
    chosen = range(len(starts)) if axes is None else [int(a) for a in axes]
    strides = [1] * len(starts) if steps is None else [int(s) for s in steps]
    index = [slice(None)] * value.ndim
    for axis, start, end, step in zip(chosen, starts, ends, strides, strict=True):
        first, last, size = int(start), int(end), value.shape[axis]
        if step < 0:  # in reverse, ONNX begins at an element and Python's slices may begin before the first
            first = min(max(first + size if first < 0 else first, 0), size - 1)
        index[axis] = slice(first, None if step < 0 and last < -size else last, step)
    return value[tuple(index)]


def _shape(attributes: Attributes, value: Array) -> Array:
    return np.array(value.shape[attributes.get("start", 0) : attributes.get("end")], np.int64)


def _constant(attributes: Attributes) -> Array:
    if len(attributes) != 1:
        raise OnnxError("a Constant has exactly one value")
    ((name, value),) = attributes.items()
    kinds = {"value_float": np.float32, "value_floats": np.float32}
    return np.asarray(value) if name == "value" else np.asarray(value, kinds.get(name, np.int64))


def _constant_of_shape(attributes: Attributes, shape: Array) -> Array:
    sizes = tuple(int(s) for s in shape)
    checked_size(sizes, "the result")
    return np.full(sizes, np.ravel(attributes.get("value", np.zeros(1, np.float32)))[0])


def _concat(attributes: Attributes, *values: Array) -> Array:
    checked_size((sum(value.size for value in values),), "the result")
    return np.concatenate(values, axis=attributes["axis"])


def _top_k(attributes: Attributes, value: Array, k: Array) -> list[Array]:
    axis, count = attributes.get("axis", -1), int(np.ravel(k)[0])
    if not 0 <= count <= value.shape[axis]:
        raise OnnxError(f"the {count} greatest of {value.shape[axis]} values")
    largest = attributes.get("largest", 1)
    order = np.argsort(-value if largest else value, axis=axis, kind="stable")
    chosen = np.take(order, np.arange(count), axis=axis)
    return [np.take_along_axis(value, chosen, axis), chosen]


def _range(_: Attributes, start: Array, limit: Array, delta: Array) -> Array:
    if delta == 0:
        raise OnnxError("steps of 0")
    checked_size((max(0, math.ceil((limit - start) / delta)),), "the result")
    return np.arange(start.item(), limit.item(), delta.item()).astype(start.dtype)


def _gather_nd(attributes: Attributes, value: Array, indices: Array) -> Array:
    """The elements, or parts, that each row of `indices` names, in the same place of the batch axes."""
    batch = attributes.get("batch_dims", 0)
    shape = indices.shape[:-1]
    checked_size((*shape, *value.shape[batch + indices.shape[-1] :]), "the result")
    grid: tuple[Array, ...] = np.indices(shape[:batch], sparse=True)
    own = [axis.reshape(axis.shape + (1,) * (len(shape) - batch)) for axis in grid]
    found = value[(*own, *np.moveaxis(indices, -1, 0))]
    return np.asarray(found)


def _identity(_: Attributes, value: Array) -> Array:
    return value


# fmt: off
OPERATORS: Mapping[str, Row] = {
    "Abs": _elementwise(np.abs), "Add": _elementwise(np.add), "And": _elementwise(np.logical_and),
    "Div": _elementwise(_divide), "Equal": _elementwise(np.equal), "Erf": _elementwise(_numpy_ops.erf),
    "Exp": _elementwise(np.exp), "Greater": _elementwise(np.greater),
    "GreaterOrEqual": _elementwise(np.greater_equal), "Less": _elementwise(np.less),
    "LessOrEqual": _elementwise(np.less_equal), "Log": _elementwise(np.log), "Mul": _elementwise(np.multiply),
    "Neg": _elementwise(np.negative), "Not": _elementwise(np.logical_not), "Or": _elementwise(np.logical_or),
    "Relu": _elementwise(_numpy_ops.relu), "Sigmoid": _elementwise(_numpy_ops.sigmoid),
    "Softplus": _elementwise(_numpy_ops.softplus), "Sqrt": _elementwise(np.sqrt),
    "Sub": _elementwise(np.subtract), "Tanh": _elementwise(np.tanh), "Where": _elementwise(np.where),
    "Max": _folded(np.maximum), "Min": _folded(np.minimum),
    "ReduceMax": _reduction(np.max), "ReduceMean": _reduction(np.mean), "ReduceMin": _reduction(np.min),
    "ReduceProd": _reduction(np.prod), "ReduceSum": _reduction(np.sum),
    "Cast": _row(_cast, "to"), "CastLike": _row(lambda _, value, like: value.astype(like.dtype)),
    "Concat": _row(_concat, "axis"),
    "Cos": _elementwise(np.cos), "Sin": _elementwise(np.sin),
    "Constant": _row(_constant, "value", "value_float", "value_floats", "value_int", "value_ints"),
    "ConstantOfShape": _row(_constant_of_shape, "value"),
    "CumSum": _row(lambda _, value, axis: np.cumsum(value, int(np.ravel(axis)[0]), value.dtype)),
    "Expand": _row(_expand), "Gather": _row(_gather, "axis"),
    "GatherElements": _row(lambda a, value, i: np.take_along_axis(value, i, a.get("axis", 0)), "axis"),
    "GatherND": _row(_gather_nd, "batch_dims"), "Range": _row(_range),
    "TopK": _row(_top_k, "axis", "largest", "sorted"),
    "Gemm": _row(_gemm, "alpha", "beta", "transA", "transB"), "Identity": _row(_identity),
    "MatMul": _row(_matmul), "Reshape": _row(_reshape, "allowzero"), "Shape": _row(_shape, "start", "end"),
    "Slice": _row(_slice), "Softmax": _row(_softmax, "axis"), "Split": _row(_split, "axis", "split"),
    "Squeeze": _row(_squeeze, "axes"),
    "Transpose": _row(lambda a, value: np.transpose(value, a.get("perm")), "perm"),
    "Unsqueeze": _row(_unsqueeze, "axes"),
}
# fmt: on
"""Every operator that is served beside RNN, LSTM and GRU."""

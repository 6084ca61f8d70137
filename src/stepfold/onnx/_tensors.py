"""Tensors and attributes of an ONNX model, each claim checked before an array is made of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx

from .._native import Array
from ._errors import OnnxError

DTYPES: dict[int, np.dtype[Any]] = {
    onnx.TensorProto.FLOAT: np.dtype(np.float32),
    onnx.TensorProto.DOUBLE: np.dtype(np.float64),
    onnx.TensorProto.INT32: np.dtype(np.int32),
    onnx.TensorProto.INT64: np.dtype(np.int64),
    onnx.TensorProto.BOOL: np.dtype(np.bool_),
}
"""The element types that are served."""

MOST_ELEMENTS = 2**28
"""The most elements of an array that a node makes: a model cannot claim memory without end."""


def checked_size(shape: Sequence[int], where: str) -> None:
    """OnnxError if an array of this shape would be too large."""
    if math.prod(int(size) for size in shape) > MOST_ELEMENTS:
        raise OnnxError(f"{where}: {tuple(shape)} has more than {MOST_ELEMENTS:,} elements")


def type_of(element_type: int, where: str) -> np.dtype[Any]:
    """Return NumPy's dtype of an ONNX element type; OnnxError for one that is not served."""
    found = DTYPES.get(element_type)
    if found is None:
        known = onnx.TensorProto.DataType
        name = known.Name(element_type) if element_type in known.values() else str(element_type)
        served = ", ".join(str(dtype) for dtype in DTYPES.values())
        raise OnnxError(f"{where}: the element type {name} is not served; those served are {served}")
    return found


def array_of(tensor: Any, where: str) -> Array:
    """Return the array of an ONNX tensor; OnnxError if its shape and its data do not fit."""
    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        raise OnnxError(f"{where}: data in another file is not read; save the model as one file")
    dtype, shape = type_of(tensor.data_type, where), tuple(tensor.dims)
    if any(size < 0 for size in shape):
        raise OnnxError(f"{where}: the shape {shape} has a negative size")
    count = math.prod(shape)
    if tensor.HasField("raw_data"):
        given = len(tensor.raw_data) / dtype.itemsize
    else:
        fields = {"float32": "float_data", "float64": "double_data", "int64": "int64_data"}
        given = len(getattr(tensor, fields.get(dtype.name, "int32_data")))
    if given != count:
        raise OnnxError(
            f"{where}: the shape {shape} has {count:,} elements, but there is data for {given:,g}"
        )
    return np.asarray(onnx.numpy_helper.to_array(tensor))


def attributes_of(node: Any, where: str) -> dict[str, Any]:
    """Return the attributes of a node by name: numbers, texts, lists of them, arrays, graphs as they are."""
    found: dict[str, Any] = {}
    for attribute in node.attribute:
        if attribute.name in found:
            raise OnnxError(f"{where}: the attribute {attribute.name} stands there twice")
        if attribute.ref_attr_name:
            raise OnnxError(f"{where}: the attribute {attribute.name} refers to one of a function")
        if attribute.type == onnx.AttributeProto.TENSOR:
            found[attribute.name] = array_of(attribute.t, f"{where}, attribute {attribute.name}")
            continue
        try:
            found[attribute.name] = _plain(onnx.helper.get_attribute_value(attribute))
        except (ValueError, TypeError) as error:  # a type that ONNX has not, bytes that are no text
            raise OnnxError(f"{where}: the attribute {attribute.name} is damaged: {error}") from None
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, (int, float)) or hasattr(value, "DESCRIPTOR"):
        return value
    return [_plain(each) for each in value]

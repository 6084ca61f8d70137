"""The nodes and arrays of one ONNX graph while it is written."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx

from .._native import Array

_TYPES = {"float32": onnx.TensorProto.FLOAT, "float64": onnx.TensorProto.DOUBLE}


class Builder:
    """Collects nodes, each a call of an ONNX operator, and the arrays that they refer to by name.

    Names are unique in the whole model, so that the body of a `Scan` may use the arrays of the graph around
    it.

    Args:
        dtype: the one floating-point dtype of the model, float32 or float64.
    """

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self.dtype = dtype
        self.type = _TYPES[dtype.name]
        self.nodes: list[Any] = []
        self._numbers = itertools.count()
        self._arrays: dict[str, Array] = {}
        self._known: dict[tuple[str, tuple[int, ...], bytes], str] = {}
        self._transposed: dict[str, str] = {}

    def body(self) -> Builder:
        """Return the builder of a graph inside this one, which has nodes of its own and shares the arrays."""
        inner = Builder(self.dtype)
        inner._numbers, inner._arrays, inner._known = self._numbers, self._arrays, self._known
        inner._transposed = self._transposed
        return inner

    def name(self, hint: str) -> str:
        """Return a new name that begins with `hint`."""
        return f"{hint}_{next(self._numbers)}"

    def operators(self, kind: str, inputs: Sequence[str], outputs: int, **attributes: Any) -> list[str]:
        """Add a call of an operator with several outputs; return their names."""
        names = [self.name(kind.lower()) for _ in range(outputs)]
        self.nodes.append(onnx.helper.make_node(kind, list(inputs), names, name=names[0], **attributes))
        return names

    def operator(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Add a call of an operator with one output; return its name."""
        (name,) = self.operators(kind, inputs, 1, **attributes)
        return name

    def array(self, value: Any, hint: str = "constant") -> str:
        """Return the name of an array; equal small ones are one."""
        array = np.array(value, order="C")  # of no axes too, which ascontiguousarray has not
        key = (array.dtype.str, array.shape, array.tobytes()) if array.size <= 1024 else None
        if key is not None and key in self._known:
            return self._known[key]
        name = self.name(hint)
        self._arrays[name] = array
        if key is not None:
            self._known[key] = name
        return name

    def constant(self, value: Any) -> str:
        """Return the name of a number, or an array, of the model's dtype."""
        return self.array(np.asarray(value, self.dtype))

    def integers(self, *values: int) -> str:
        """Return the name of a vector of int64, as axes and shapes are."""
        return self.array(np.array(values, np.int64))

    def transposed(self, matrix: str) -> str:
        """Return the name of the transpose of a matrix; that of an array is written as an array."""
        if matrix not in self._arrays:
            return self.operator("Transpose", matrix, perm=[1, 0])
        if matrix not in self._transposed:
            self._transposed[matrix] = self.array(self._arrays[matrix].T, f"{matrix}_transposed")
        return self._transposed[matrix]

    def reduction(self, kind: str, value: str, axis: int = -1, keepdims: bool = True) -> str:
        """Reduce one axis, the units of a row if no other is named."""
        return self.operator(kind, value, self.integers(axis), keepdims=int(keepdims))

    def unsqueezed(self, value: str, axis: int) -> str:
        """Return a value with one axis of one element more."""
        return self.operator("Unsqueeze", value, self.integers(axis))

    def squeezed(self, value: str, axis: int) -> str:
        """Return a value without an axis of one element."""
        return self.operator("Squeeze", value, self.integers(axis))

    def take(self, value: str, index: int, axis: int) -> str:
        """Return one element of an axis, which goes."""
        return self.operator("Gather", value, self.array(np.array(index, np.int64)), axis=axis)

    def size(self, value: str, axis: int) -> str:
        """Return the length of an axis as a vector of one int64."""
        return self.operator("Shape", value, start=axis, end=axis + 1)

    def initializers(self, used: set[str]) -> list[Any]:
        """Return those of the arrays that are used, as ONNX tensors."""
        return [onnx.numpy_helper.from_array(a, name) for name, a in self._arrays.items() if name in used]

    def nbytes(self, used: set[str]) -> int:
        """Return the bytes of those of the arrays that are used."""
        return sum(array.nbytes for name, array in self._arrays.items() if name in used)


def used_names(nodes: Sequence[Any]) -> set[str]:
    """Return every name that some nodes read, those of the graphs inside them too."""
    found: set[str] = set()
    for node in nodes:
        found.update(node.input)
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                found |= used_names(attribute.g.node) | {output.name for output in attribute.g.output}
    return found

"""Models to ONNX and from it; the extra `onnx` brings what it needs."""

from importlib.util import find_spec

if find_spec("onnx") is None:
    raise ImportError("stepfold.onnx needs the package onnx: pip install 'stepfold[onnx]'")

from ._errors import OnnxError
from ._export import to_onnx, write_onnx
from ._from import OnnxInput, OnnxModel, from_onnx

__all__ = ["OnnxError", "OnnxInput", "OnnxModel", "from_onnx", "to_onnx", "write_onnx"]

"""Models to ONNX and from it: the extra `onnx` brings what it needs."""

from ._errors import OnnxError
from ._export import to_onnx, write_onnx

__all__ = ["OnnxError", "to_onnx", "write_onnx"]

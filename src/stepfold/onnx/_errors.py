"""What is wrong with a model that goes to ONNX or comes from it."""


class OnnxError(ValueError):
    """A model that ONNX cannot express, or an ONNX model that is damaged or uses what is not served."""

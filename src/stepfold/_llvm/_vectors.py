"""Vectors: the instructions and the transcendental functions of a kernel."""

from __future__ import annotations

from . import _functions, _periodic
from ._arithmetic import Arithmetic
from ._text import Value


class Vectors(Arithmetic):
    """Writes vector operations into a function: those of one instruction, and `exp` to `cos`.

    The text of a function is the same for every target: no call leaves the kernel.
    """

    def exp(self, x: Value) -> Value:
        """The exponential function."""
        return _functions.exp(self, x)

    def log(self, x: Value) -> Value:
        """The natural logarithm; minus infinity at zero, NaN below."""
        return _functions.log(self, x)

    def tanh(self, x: Value) -> Value:
        """The hyperbolic tangent."""
        return _functions.tanh(self, x)

    def sigmoid(self, x: Value) -> Value:
        """`1 / (1 + exp(-x))`."""
        return _functions.sigmoid(self, x)

    def erf(self, x: Value) -> Value:
        """The error function."""
        return _functions.erf(self, x)

    def sin(self, x: Value) -> Value:
        """The sine; right up to `_periodic.RANGE`."""
        return _periodic.sin(self, x)

    def cos(self, x: Value) -> Value:
        """The cosine; right up to `_periodic.RANGE`."""
        return _periodic.cos(self, x)

"""Python's operators as operations of the cell language."""

from __future__ import annotations

from typing import Any


class Operators:
    """Arithmetic, comparisons and conditions, each as one call of `_operation(name, *inputs)`."""

    __slots__ = ()

    def _operation(self, op: str, *inputs: Any) -> Any:
        raise NotImplementedError

    def __add__(self, other: Any) -> Any:
        return self._operation("add", self, other)

    def __radd__(self, other: Any) -> Any:
        return self._operation("add", other, self)

    def __sub__(self, other: Any) -> Any:
        return self._operation("subtract", self, other)

    def __rsub__(self, other: Any) -> Any:
        return self._operation("subtract", other, self)

    def __mul__(self, other: Any) -> Any:
        return self._operation("multiply", self, other)

    def __rmul__(self, other: Any) -> Any:
        return self._operation("multiply", other, self)

    def __truediv__(self, other: Any) -> Any:
        return self._operation("divide", self, other)

    def __rtruediv__(self, other: Any) -> Any:
        return self._operation("divide", other, self)

    def __neg__(self) -> Any:
        return self._operation("negate", self)

    def __abs__(self) -> Any:
        return self._operation("abs", self)

    def __and__(self, other: Any) -> Any:
        return self._operation("logical_and", self, other)

    def __rand__(self, other: Any) -> Any:
        return self._operation("logical_and", other, self)

    def __or__(self, other: Any) -> Any:
        return self._operation("logical_or", self, other)

    def __ror__(self, other: Any) -> Any:
        return self._operation("logical_or", other, self)

    def __invert__(self) -> Any:
        return self._operation("logical_not", self)

    def __lt__(self, other: Any) -> Any:
        return self._operation("less", self, other)

    def __le__(self, other: Any) -> Any:
        return self._operation("less_equal", self, other)

    def __gt__(self, other: Any) -> Any:
        return self._operation("greater", self, other)

    def __ge__(self, other: Any) -> Any:
        return self._operation("greater_equal", self, other)

    def __eq__(self, other: object) -> Any:
        return self._operation("equal", self, other)

    def __ne__(self, other: object) -> Any:
        return self._operation("not_equal", self, other)

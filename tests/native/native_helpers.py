"""Calling a support kernel by itself, on memory between guards."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np

from stepfold._llvm import ERRORS, GROUP, GROUP_WORDS, STATUS, STATUS_WORDS
from stepfold._native import address, support
from tests.runtime.scan_arrays import Array, assert_unharmed, guarded, guarded_integers, walled

_FUNCTION = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
_NAMES = {code: name for name, code in ERRORS.items()}


class Memory:
    """Arrays for one call: what is written lies between guards, what is read between walls."""

    def __init__(self) -> None:
        self._guards: dict[str, Array] = {}
        self._read: list[tuple[Array, Array]] = []
        self.status = self.integers("status", STATUS_WORDS)
        self.status[:] = 0

    def integers(self, name: str, shape: int | tuple[int, ...], dtype: Any = np.int64) -> Array:
        """Integers to be written."""
        inner, self._guards[name] = guarded_integers(shape, dtype)
        return inner

    def floats(self, name: str, shape: tuple[int, ...], dtype: Any) -> Array:
        """Floats to be written, NaN until then."""
        inner, self._guards[name] = guarded(shape, dtype)
        return inner

    def given(self, array: Any, dtype: Any = None) -> Array:
        """An array that is only read."""
        made = walled(np.asarray(array, dtype))
        self._read.append((made, made.copy()))
        return made

    def group(self, **fields: Any) -> Array:
        """A group's header; arrays stand for their addresses."""
        header = self.integers("group", GROUP_WORDS)
        header[:] = 0
        for name, value in fields.items():
            header[GROUP.index(name)] = address(value) if isinstance(value, np.ndarray) else value
        return header

    def set_status(self, **fields: int) -> None:
        for name, value in fields.items():
            self.status[STATUS.index(name)] = value

    def get_status(self, name: str) -> int:
        return int(self.status[STATUS.index(name)])

    @property
    def error(self) -> str | None:
        """What the kernel found wrong."""
        code = self.get_status("code")
        return _NAMES[code] if code else None

    def check(self) -> None:
        """Nothing beyond the arrays was written, and nothing of what is only read."""
        for name, memory in self._guards.items():
            assert_unharmed(memory, name)
        for array, before in self._read:
            np.testing.assert_array_equal(array, before)

    def call(self, kernel: str, **arguments: Any) -> None:
        """Call a support kernel; arrays stand for their addresses, None for no address."""
        code = support(kernel)
        names = code.kernel.arguments
        if "status" in names:
            arguments.setdefault("status", self.status)
        assert set(names) == set(arguments), set(names) ^ set(arguments)
        words = []
        for name in names:
            value = arguments[name]
            words.append(address(value) if isinstance(value, np.ndarray) else int(value or 0))
        block = np.array(words, np.int64)
        _FUNCTION(code.address)(block.ctypes.data)
        self.check()

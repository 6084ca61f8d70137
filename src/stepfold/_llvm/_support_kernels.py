"""The support kernels, which know no cell, by name; a number at the end is that of an element's or a token's
bits."""

from __future__ import annotations

from collections.abc import Callable

from ._copies import copy_kernel, transpose_kernel
from ._groups import distinct_kernel, index_kernel, partition_kernel, share_kernel
from ._layout import Kernel
from ._program import program_kernel
from ._residuals import check_group_kernel, open_kernel, seal_kernel
from ._rows import (
    add_rows_kernel,
    blank_kernel,
    clear_distinct_kernel,
    clear_kernel,
    clear_rows_kernel,
    gather_kernel,
    load_states_kernel,
    pad_rows_kernel,
    repeat_kernel,
    store_gradient_kernel,
    store_states_kernel,
)
from ._schedule import lengths_kernel, mask_kernel, packed_kernel, sort_kernel, whole_kernel
from ._target import Target, system, triple
from ._workers import SYSTEM_CALLS, workers_kernel
from ._xla import xla_kernel

_ROWS: dict[str, Callable[[int, int], Kernel]] = {
    "load_states": load_states_kernel,
    "store_states": store_states_kernel,
    "store_gradient": store_gradient_kernel,
    "repeat": repeat_kernel,
    "gather": gather_kernel,
    "blank": blank_kernel,
    "add_rows": add_rows_kernel,
    "pad_rows": pad_rows_kernel,
    "copy": copy_kernel,
    "transpose": transpose_kernel,
}
_TOKENS: dict[str, Callable[[int], Kernel]] = {"share": share_kernel, "distinct": distinct_kernel}
_INTEGERS: dict[str, Callable[[], Kernel]] = {
    "whole": whole_kernel,
    "lengths": lengths_kernel,
    "mask": mask_kernel,
    "packed": packed_kernel,
    "sort": sort_kernel,
    "partition": partition_kernel,
    "index": index_kernel,
    "seal": seal_kernel,
    "open": open_kernel,
    "check_group": check_group_kernel,
    "xla": xla_kernel,
    "clear": clear_kernel,
    "clear_rows": clear_rows_kernel,
    "clear_distinct": clear_distinct_kernel,
}
_NATIVE: dict[str, Callable[[str], Kernel]] = {"program": program_kernel, "workers": workers_kernel}


def support_names(target: Target) -> list[str]:
    """Return the names of the support kernels that a target has on this system."""
    has_futex = system(triple()) == "linux" and target.architecture in SYSTEM_CALLS
    native = [name for name in _NATIVE if name != "workers" or has_futex]
    return [*native, *_INTEGERS, *(f"{name}{bits}" for name in (*_TOKENS, *_ROWS) for bits in (32, 64))]


def support_kernel(name: str, target: Target) -> Kernel:
    """Return a support kernel for a target; KeyError if there is none of this name."""
    if name in _INTEGERS:
        return _INTEGERS[name]()
    if name in _NATIVE:
        return _NATIVE[name](target.architecture)
    what, bits = name[:-2], int(name[-2:])
    if what in _TOKENS:
        return _TOKENS[what](bits)
    return _ROWS[what](bits, target.lanes(bits))

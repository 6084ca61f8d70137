"""sin and cos as branch-free polynomials on vectors, of 32 and of 64 bits.

An argument is reduced to `rest = x - n pi / 2`, |rest| <= pi / 4, in 64 bits for both. Up to `RANGE` that is
as exact as the polynomials; beyond it the results lie between -1 and 1 and mean nothing. The coefficients
were fitted as those of `_functions` are.
"""

from __future__ import annotations

import math

from ._arithmetic import Arithmetic
from ._text import Value

RANGE = 1e8
"""The greatest argument of which sin and cos are exact to the last places."""

# pi / 2 in parts of 27 bits, so that the product of each, the last aside, with n < 2**26 is exact
_HALF_PI = {
    32: (1.570796325802803, 9.920935796805404e-10),
    64: (1.570796325802803, 9.920935184482005e-10, 6.123233932053594e-17, 6.36831716351095e-25),
}
_QUARTER_PI = math.pi / 4 * 1.0001

# (sin(r) / r - 1) / r**2 in r**2: 2**-28.0, 2**-57.9 (of sin)
_SIN = {
    32: (-0.166666546, 0.00833216029, -0.000195152183),
    64: (
        -0.16666666666666631,
        0.0083333333333221076,
        -0.0001984126982958033,
        2.7557313618060164e-06,
        -2.5050747223405063e-08,
        1.5896197873543584e-10,
    ),
}
# (cos(r) - 1 + r**2 / 2) / r**4 in r**2: 2**-33.0, 2**-64.0
_COS = {
    32: (0.0416666457, -0.00138873156, 2.4433082e-05),
    64: (
        0.041666666666666593,
        -0.001388888888887304,
        2.4801587288841367e-05,
        -2.7557314176233882e-07,
        2.0875700415583623e-09,
        -1.1358513938586821e-11,
    ),
}


def sin(v: Arithmetic, x: Value) -> Value:
    """The sine; the sign of zero is kept, NaN for infinity."""
    return v.where(v.equal(x, v.constant(0.0)), x, _wave(v, x, 0))


def cos(v: Arithmetic, x: Value) -> Value:
    """The cosine; NaN for infinity."""
    return _wave(v, x, 1)


def _wave(v: Arithmetic, x: Value, quarters: int) -> Value:
    """`sin(x + quarters pi / 2)`."""
    rest, quarter, wide = _reduced(v, x)
    square = v.multiply(rest, rest)
    odd = v.fma(v.multiply(rest, square), v.polynomial(square, _SIN[v.bits]), rest)
    even = v.polynomial(square, (1.0, -0.5, *_COS[v.bits]))
    if quarters:
        quarter = wide.integer_operation("add", quarter, quarters)
    result = v.where(_bit(wide, quarter, 1), even, odd)
    return v.where(_bit(wide, quarter, 2), v.negate(result), result)


def _reduced(v: Arithmetic, x: Value) -> tuple[Value, Value, Arithmetic]:
    """Return `rest`, and integers of 64 bits that end with those of n, with what computes with them."""
    f, wide = v.function, Arithmetic(v.function, 64, v.lanes)
    x = x if v.bits == 64 else f.emit(wide.type, f"fpext {x} to {wide.type}")
    rounding = wide.constant(1.5 * 2.0**52)
    shifted = wide.fma(x, wide.constant(2 / math.pi), rounding)
    whole = wide.subtract(shifted, rounding)
    rest = x
    for part in _HALF_PI[v.bits]:
        rest = wide.fma(whole, wide.constant(-part), rest)
    rest = wide.maximum(wide.minimum(rest, wide.constant(_QUARTER_PI)), wide.constant(-_QUARTER_PI))
    rest = rest if v.bits == 64 else f.emit(v.type, f"fptrunc {rest} to {v.type}")
    return rest, wide.to_bits(shifted), wide


def _bit(v: Arithmetic, integers: Value, bit: int) -> Value:
    """In which lanes a bit of the integers is set."""
    chosen = v.integer_operation("and", integers, bit)
    return v.function.emit(f"<{v.lanes} x i1>", f"icmp ne {chosen}, zeroinitializer")

"""exp, log, tanh, sigmoid and erf as branch-free polynomials on vectors, of 32 and of 64 bits.

Each table of coefficients was fitted in 50 decimal digits by Remez's exchange (the two for exp by Lawson's
weights) to the least greatest error of the function that it serves, relative unless said otherwise, and then
rounded; its comment gives that error. `tests/llvm/test_vector_functions.py` states the error bounds of the
finished functions, with and without FMA.

A power of two is made in the bits: adding `1.5 * 2**mantissa` to a value rounds it to an integer and
leaves that in the low bits of the sum, from where a shift moves it to the exponent. It needs no conversion
on any target.
"""

from __future__ import annotations

import math

from ._arithmetic import Arithmetic
from ._text import Value

Table = dict[int, tuple[float, ...]]

_MANTISSA = {32: 23, 64: 52}  # bits of it
_ONE = {32: 0x3F800000, 64: 0x3FF0000000000000}  # the bits of 1.0
_ROOT_HALF = {32: 0x3F3504F3, 64: 0x3FE6A09E667F3BCD}  # the bits of sqrt(0.5)
_LEAST_NORMAL = {32: 2.0**-126, 64: 2.0**-1022}
# ln 2 in two parts; any exponent times the first is exact, without FMA too
_LN2: Table = {
    32: (0.693145751953125, 1.428606765330187e-06),
    64: (0.6931471805601177, -1.7239444525614835e-13),
}

# (exp(r) - 1 - r) / r**2, |r| <= ln 2: 2**-26.0, 2**-56.2 (of exp)
_EXP: Table = {
    32: (0.500000351, 0.166666133, 0.0416612164, 0.0083361318, 0.00141055264, 0.00019610361),
    64: (
        0.4999999999999993,
        0.16666666666666935,
        0.041666666666702094,
        0.008333333333270111,
        0.0013888888883580672,
        0.00019841269892847477,
        2.480159082707983e-05,
        2.755730054519049e-06,
        2.7556158770843554e-07,
        2.5055064136265637e-08,
        2.106226940557018e-09,
        1.5932826297554037e-10,
    ),
}
# where exp has long become 0 or infinity; NaN passes through a clamp
_EXP_RANGE = {32: (-105.0, 89.0), 64: (-746.0, 710.0)}

# (exp(r) - 1) / r, |r| <= ln 2 / 2: 2**-28.3, 2**-57.9 (of exp)
_EXP_HALF: Table = {
    32: (1.0, 0.49999993345, 0.16666519101, 0.041668405938, 0.0083689022182, 0.00138142247),
    64: (
        1.0,
        0.5000000000000011,
        0.1666666666666641,
        0.041666666666529475,
        0.0083333333334952,
        0.0013888888943831672,
        0.0001984126950549313,
        2.4801492870584445e-05,
        2.7557586878693647e-06,
        2.7630335949929343e-07,
        2.5000048437706596e-08,
    ),
}
# where sigmoid has become 0 or 1; the exponent of a scale that keeps its fraction among the normal values
_SIGMOID_RANGE = {32: (-104.0, 40.0), 64: (-746.0, 40.0)}
_SIGMOID_SCALE = {32: -24, 64: -53}

# y / tanh(y) in y**2, |y| <= ln 2: 2**-29.6, 2**-55.6
_TANH: Table = {
    32: (1.0, 0.33333325386047363, -0.022220641374588013, 0.002106637926772237, -0.00018764167907647789),
    64: (
        1.0,
        0.3333333333333293,
        -0.02222222222194608,
        0.0021164021099241564,
        -0.00021164013821933046,
        2.1377338540731868e-05,
        -2.1627156142831667e-06,
        2.1564174027804275e-07,
        -1.796244305894633e-08,
    ),
}
_TANH_RANGE = {32: 9.5, 64: 20.0}  # where tanh has become 1

# (2 artanh(s) - 2 s) / s**3 in s**2, |s| <= (sqrt 2 - 1) / (sqrt 2 + 1): 2**-30.2, 2**-59.5
_LOG: Table = {
    32: (0.6666677594184875, 0.39977580308914185, 0.29870930314064026),
    64: (
        0.6666666666666734,
        0.3999999999941642,
        0.28571428742113003,
        0.22222198593340506,
        0.18183563598566338,
        0.153140624768137,
        0.14795887399042856,
    ),
}

# erf(x) / x - 1 in x**2, |x| <= 1: 2**-29.6, 2**-56.9 (of erf)
_ERF_NEAR: Table = {
    32: (0.12837917, -0.37612626, 0.11283585, -0.026853815, 0.0051883305, -0.00080102024, 7.8538498e-05),
    64: (
        0.12837916709551256,
        -0.3761263890318352,
        0.112837916709442,
        -0.026866170643113415,
        0.005223977606130842,
        -0.0008548325929766244,
        0.0001205529358693695,
        -1.4924712439534814e-05,
        1.6447132699786621e-06,
        -1.6206318752969208e-07,
        1.3710988704190523e-08,
        -7.779462971761597e-10,
    ),
}
# ln(1 - erf(x)), 0.95 <= x <= _ERF_RANGE; absolute error of erf 2**-25.3, 2**-49.6
_ERF_FAR: Table = {
    32: (-0.0022501836, -1.1188768, -0.65256703, -0.089889981, 0.015179005, -0.0012003989),
    64: (
        -1.4594057078954013e-06,
        -1.128364509088919,
        -0.6366877590253662,
        -0.10257927280078163,
        0.018751217310256058,
        0.0007443884673527365,
        -0.0022661929840535095,
        0.0010526478466140175,
        -0.0003113755110785102,
        6.581892694056155e-05,
        -9.989652932787927e-06,
        1.0408251481233206e-06,
        -6.683601078479129e-08,
        1.9952893851750865e-09,
    ),
}
_ERF_RANGE = {32: 3.95, 64: 6.0}  # where erf has become 1


def exp(v: Arithmetic, x: Value) -> Value:
    """`exp(x)`: right to the last denormal, and infinite beyond the greatest finite value.

    `x = n 2 ln 2 + rest`. However small or great `2**2n` is, `2**n` is a normal value: it is multiplied
    in twice.
    """
    high, low = _LN2[v.bits]
    _, rest, power = _reduce(v, _clamp(v, x, *_EXP_RANGE[v.bits]), (2 * high, 2 * low))
    root = v.from_bits(v.integer_operation("add", power, _ONE[v.bits]))
    quadratic = v.multiply(rest, v.polynomial(rest, _EXP[v.bits]))
    less_one = v.fma(quadratic, rest, rest)
    return v.multiply(v.fma(less_one, root, root), root)


def sigmoid(v: Arithmetic, x: Value) -> Value:
    """`1 / (1 + exp(-x))`: right to the last denormal.

    With `-x = n ln 2 - rest` the denominator is `((exp(-rest) - 1) 2**n + 1) + 2**n`, the order that
    rounds least. Both parts of the fraction are scaled down, so that it overflows nowhere.
    """
    high, low = _LN2[v.bits]
    _, rest, power = _reduce(v, _clamp(v, x, *_SIGMOID_RANGE[v.bits]), (-high, -low))
    scale = _SIGMOID_SCALE[v.bits]
    power = v.from_bits(v.integer_operation("add", power, _ONE[v.bits] + (scale << _MANTISSA[v.bits])))
    series = tuple(-coefficient * (-1.0) ** k for k, coefficient in enumerate(_EXP_HALF[v.bits]))
    less_one = v.multiply(rest, v.polynomial(rest, series))
    one = v.constant(2.0**scale)
    return v.divide(one, v.add(v.fma(less_one, power, one), power))


def tanh(v: Arithmetic, x: Value) -> Value:
    """The hyperbolic tangent; the sign of zero is kept.

    With `|x| = n 2 ln 2 + rest` and `u = rest / tanh(rest)`, `exp(2 rest) = (u + rest) / (u - rest)`. So
    it is `rest / u` where n = 0, and else, without cancellation, `1 - 2 / (exp(2|x|) + 1)`, that is
    `1 - 2 (u - rest) / (16**n (u + rest) + u - rest)`. One division serves both.
    """
    size = v.minimum(v.absolute(x), v.constant(_TANH_RANGE[v.bits]))
    whole, rest, power = _reduce(v, size, (2 * math.log(2),))
    power = v.from_bits(v.integer_operation("add", v.integer_operation("shl", power, 2), _ONE[v.bits]))
    u = v.polynomial(v.multiply(rest, rest), _TANH[v.bits])
    large = v.greater(whole, v.constant(0.0))
    above = v.where(large, v.subtract(rest, u), rest)
    below = v.where(large, v.fma(power, v.add(u, rest), v.negate(above)), u)
    result = v.divide(above, below)
    result = v.where(large, v.fma(result, v.constant(2.0), v.constant(1.0)), result)
    return v.copysign(result, x)


def log(v: Arithmetic, x: Value) -> Value:
    """The natural logarithm; with `x = 2**k (1 + f)` and `s = f / (2 + f)` it is `k ln 2 + 2 artanh(s)`.

    `f`, which is exact, enters last of all: `2 artanh(s) = f - (f**2/2 - s (f**2/2 + s**2 series))`.
    """
    mantissa = _MANTISSA[v.bits]
    small = v.less(x, v.constant(_LEAST_NORMAL[v.bits]))
    bits = v.to_bits(v.where(small, v.multiply(x, v.constant(2.0**mantissa)), x))
    above = v.integer_operation("sub", bits, _ROOT_HALF[v.bits])
    k = v.from_integers(v.integer_operation("ashr", above, mantissa))
    k = v.add(k, v.where(small, v.constant(-float(mantissa)), v.constant(0.0)))
    f = v.from_bits(v.integer_operation("sub", bits, v.integer_operation("and", above, -1 << mantissa)))
    f = v.subtract(f, v.constant(1.0))
    s = v.divide(f, v.add(f, v.constant(2.0)))
    square = v.multiply(s, s)
    half = v.multiply(v.multiply(f, v.constant(0.5)), f)
    first, second = _LN2[v.bits]
    rest = v.multiply(s, v.fma(square, v.polynomial(square, _LOG[v.bits]), half))
    rest = v.subtract(half, v.fma(k, v.constant(second), rest))
    result = v.fma(k, v.constant(first), v.subtract(f, rest))
    at_zero = v.where(v.equal(x, v.constant(0.0)), v.constant(-math.inf), v.constant(math.nan))
    result = v.where(v.greater(x, v.constant(0.0)), result, at_zero)
    return v.where(v.equal(x, v.constant(math.inf)), x, result)


def erf(v: Arithmetic, x: Value) -> Value:
    """The error function; the sign of zero is kept. A series near zero, and `1 - exp(series)` beyond."""
    size = v.minimum(v.absolute(x), v.constant(_ERF_RANGE[v.bits]))
    near = v.fma(size, v.polynomial(v.multiply(size, size), _ERF_NEAR[v.bits]), size)
    far = v.subtract(v.constant(1.0), exp(v, v.polynomial(size, _ERF_FAR[v.bits])))
    return v.copysign(v.where(v.less(size, v.constant(0.97)), near, far), x)


def _clamp(v: Arithmetic, x: Value, low: float, high: float) -> Value:
    return v.maximum(v.minimum(x, v.constant(high)), v.constant(low))


def _reduce(v: Arithmetic, x: Value, step: tuple[float, ...]) -> tuple[Value, Value, Value]:
    """Return `n`, `rest` and `n` in the exponent's bits: `x = n * step + rest` with `|rest| <= |step| / 2`.

    `step` is a sum of parts; all but the last must have exact products with `n`.
    """
    rounding = v.constant(1.5 * 2.0 ** _MANTISSA[v.bits])
    shifted = v.fma(x, v.constant(1 / sum(step)), rounding)
    whole = v.subtract(shifted, rounding)
    rest = x
    for part in step:
        rest = v.fma(whole, v.constant(-part), rest)
    return whole, rest, v.integer_operation("shl", v.to_bits(shifted), _MANTISSA[v.bits])

"""The activations of ONNX's recurrent operators as functions of the cell language."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .. import _language
from ._errors import OnnxError

Function = Callable[[Any], Any]


@dataclass(frozen=True)
class Activation:
    """A function by its name in ONNX, with its alpha and beta; those that it has not are None.

    Calling it computes the function. Equal activations are equal, so that their cells are made once.
    """

    name: str
    alpha: float | None
    beta: float | None

    def __call__(self, x: Any) -> Any:
        """Return the function of traced values or NumPy arrays."""
        return _FUNCTIONS[self.name].function(x, self.alpha, self.beta)


@dataclass(frozen=True)
class _Row:
    """A function of (x, alpha, beta), and what alpha and beta are if nobody says; "no" if it has none."""

    function: Callable[[Any, Any, Any], Any]
    alpha: float | str | None = "no"
    beta: float | str | None = "no"


def _leaky_relu(x: Any, alpha: Any, _: Any) -> Any:
    return _language.where(x >= 0.0, x, alpha * x)


def _elu(x: Any, alpha: Any, _: Any) -> Any:
    return _language.where(x >= 0.0, x, alpha * (_language.exp(_language.minimum(x, 0.0)) - 1.0))


def _hard_sigmoid(x: Any, alpha: Any, beta: Any) -> Any:
    return _language.clip(alpha * x + beta, 0.0, 1.0)


_FUNCTIONS: Mapping[str, _Row] = {
    "Relu": _Row(lambda x, a, b: _language.relu(x)),
    "Tanh": _Row(lambda x, a, b: _language.tanh(x)),
    "Sigmoid": _Row(lambda x, a, b: _language.sigmoid(x)),
    "Softsign": _Row(lambda x, a, b: _language.softsign(x)),
    "Softplus": _Row(lambda x, a, b: _language.softplus(x)),
    "Affine": _Row(lambda x, a, b: a * x + b, None, None),
    "LeakyRelu": _Row(_leaky_relu, 0.01),
    "ThresholdedRelu": _Row(lambda x, a, b: _language.where(x >= a, x, 0.0), 1.0),
    "ScaledTanh": _Row(lambda x, a, b: a * _language.tanh(b * x), None, None),
    "HardSigmoid": _Row(_hard_sigmoid, 0.2, 0.5),
    "Elu": _Row(_elu, 1.0),
}
"""By ONNX's names. None: nobody says what it is if it is left out, neither ONNX nor its operators."""

_BY_LOWER = {name.lower(): name for name in _FUNCTIONS}


def activations_of(
    names: Sequence[str], alphas: Sequence[float], betas: Sequence[float], where: str
) -> list[Activation]:
    """Return the activations of a node: each takes the next alpha and beta of those that it has.

    OnnxError, which says where, for a name that ONNX has not and for too many alphas or betas, or too few.
    """
    left = {"alpha": list(alphas), "beta": list(betas)}
    found = []
    for name in names:
        known = _BY_LOWER.get(str(name).lower())
        if known is None:
            raise OnnxError(
                f"{where}: the activation {name!r} is not served; those served are {', '.join(_FUNCTIONS)}"
            )
        row = _FUNCTIONS[known]
        chosen = [_taken(left[k], getattr(row, k), known, k, where) for k in ("alpha", "beta")]
        found.append(Activation(known, *chosen))
    for which, rest in left.items():
        if rest:
            raise OnnxError(
                f"{where}: activation_{which} has {len(rest)} more values than activations take: "
                "one for each activation that has it, in their order"
            )
    return found


def _taken(left: list[float], default: float | str | None, name: str, which: str, where: str) -> float | None:
    if isinstance(default, str):
        return None
    if left:
        return float(left.pop(0))
    if default is None:
        raise OnnxError(f"{where}: {name} needs a value of activation_{which}, which has no default")
    return default

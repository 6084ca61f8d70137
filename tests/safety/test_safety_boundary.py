"""PyTorch's operators called directly with what does not fit: an error, never a crash.

Programs that were exported elsewhere, and compilers, call the operators without the modules' checks.
"""

from __future__ import annotations

import json

import pytest
from safety_calls import cases
from safety_helpers import alone, in_forks, needs_fork

REFUSED = (
    "inputs: two axes",
    "inputs: four axes",
    "inputs: other features",
    "inputs: float16",
    "inputs: float64",
    "inputs: int64",
    "inputs: complex",
    "weights: none",
    "weights: one missing",
    "weights: one too many",
    "weights: transposed",
    "weights: one row",
    "weights: empty",
    "weights: scalar",
    "weights: more units",
    "weights: float64",
    "weights: int32",
    "initial: one of two",
    "initial: three of two",
    "initial: fewer rows",
    "initial: more rows",
    "initial: fewer units",
    "initial: one axis",
    "initial: empty",
    "initial: float64",
    "extra: one too many",
    "mask: other rows",
    "mask: other time",
    "mask: transposed",
    "mask: one axis",
    "mask: float32",
    "mask: uint8",
    "lengths: too long",
    "lengths: negative",
    "lengths: huge",
    "lengths: other rows",
    "lengths: float32",
    "lengths: two axes",
    "batch_sizes: too many",
    "batch_sizes: rising",
    "batch_sizes: zero",
    "batch_sizes: negative",
    "batch_sizes: huge",
    "batch_sizes: too few",
    "batch_sizes: empty",
    "recipe: empty",
    "recipe: no JSON",
    "recipe: a list",
    "recipe: other units",
    "recipe: no units",
    "recipe: huge units",
    "recipe: negative units",
    "backward: residuals empty",
    "backward: residuals too short",
    "backward: residuals too long",
    "backward: residuals of one element",
    "backward: residuals of zeros",
    "backward: residuals of garbage",
    "backward: residuals of NaN",
    "backward: residuals of fewer rows",
    "backward: residuals of another time",
    "backward: residuals of other units",
    "backward: residuals of another cell",
    "backward: residuals of a transposed shape",
    "backward: residuals of another dtype",
    "backward: residuals that nobody kept",
    "backward: three axes of residuals",
    "backward: output gradient of fewer rows",
    "backward: output gradient of fewer units",
    "backward: output gradient of one axis",
    "backward: output gradient float64",
    "backward: last gradient of one state",
    "backward: last gradient of fewer rows",
    "backward: last gradient float64",
    "backward: wanted too short",
)
"""Calls that must raise."""

HARMLESS = (
    "inputs: not contiguous",
    "inputs: broadcast",
    "weights: not contiguous",
    "initial: not contiguous",
    "mask: not contiguous",
    "mask: broadcast",
    "lengths: int8",
    "inputs: no rows",
    "inputs: no time",
    "backward: residuals not contiguous",
    "backward: output gradient broadcast",
    "backward: last gradient not contiguous",
    "backward: no gradients",
    *(f"backward: residuals with byte {k} of 200 spoilt" for k in range(0, 200, 10)),
)
"""Calls that may be refused or not, and must not crash."""


def every_call() -> None:
    """What the fixture below runs."""
    print(json.dumps(in_forks(cases())))


@pytest.fixture(scope="module")
def endings() -> dict[str, str]:
    """How each call ended, by its name."""
    found: dict[str, str] = json.loads(alone(every_call, timeout=120))
    return found


pytestmark = needs_fork


def test_every_call_is_listed(endings: dict[str, str]) -> None:
    assert set(endings) == {*REFUSED, *HARMLESS, "right"}
    assert endings["right"] == "returned"


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_fit_is_refused(endings: dict[str, str], name: str) -> None:
    assert endings[name].startswith("refused: "), endings[name]


@pytest.mark.parametrize("name", HARMLESS)
def test_what_may_fit_does_not_crash(endings: dict[str, str], name: str) -> None:
    assert endings[name].startswith(("refused: ", "returned")), endings[name]

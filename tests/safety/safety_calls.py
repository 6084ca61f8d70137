"""Calls of PyTorch's operators, right ones and wrong ones, by name."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np

from stepfold import cells

ROWS, TIME, FEATURES, UNITS = 4, 6, 3, 5


def cases() -> dict[str, Callable[[], object]]:
    """Every call by its name; what is right is made once, in the process that forks."""
    import torch
    from safety_operators import operator_backward, operator_call, operator_scan

    def some(*shape: int, dtype: Any = torch.float32) -> Any:
        random = torch.Generator().manual_seed(sum(shape))
        return torch.randn(*shape, generator=random).to(dtype)

    def call_of(cell: Any = cells.lstm, rows: int = ROWS, time: int = TIME, units: int = UNITS) -> Any:
        shapes = cell.parameter_shapes(features=FEATURES, units=units).values()
        weights = [some(*shape) for shape in shapes]
        return operator_call(
            cell, some(rows, time, FEATURES), weights, [some(rows, units) for _ in cell.states]
        )

    right = call_of()
    weights, initial, inputs = right["weights"], right["initial"], right["inputs"]
    mask = torch.ones(ROWS, TIME, dtype=torch.bool)

    def with_weight(changed: Any) -> Any:
        return {"weights": [changed, *weights[1:]]}

    def with_state(changed: Any) -> Any:
        return {"initial": [initial[0], changed]}

    def integers(*values: int) -> Any:
        return torch.tensor(values)

    def packed(*sizes: int) -> Any:
        return {"inputs": some(ROWS * TIME, FEATURES), "batch_sizes": torch.tensor(sizes, dtype=torch.int64)}

    def told(**changes: Any) -> Any:
        return {"text": json.dumps(json.loads(right["text"]) | changes)}

    forward: dict[str, dict[str, Any]] = {
        "inputs: two axes": {"inputs": inputs[0]},
        "inputs: four axes": {"inputs": inputs[None]},
        "inputs: other features": {"inputs": some(ROWS, TIME, FEATURES + 1)},
        "inputs: float16": {"inputs": inputs.half()},
        "inputs: float64": {"inputs": inputs.double()},
        "inputs: int64": {"inputs": inputs.long()},
        "inputs: complex": {"inputs": inputs.to(torch.complex64)},
        "inputs: not contiguous": {"inputs": some(TIME, ROWS, FEATURES).transpose(0, 1)},
        "inputs: broadcast": {"inputs": some(1, 1, FEATURES).expand(ROWS, TIME, FEATURES)},
        "inputs: no rows": {"inputs": some(0, TIME, FEATURES), "initial": [some(0, UNITS)] * 2},
        "inputs: no time": {"inputs": some(ROWS, 0, FEATURES)},
        "weights: none": {"weights": []},
        "weights: one missing": {"weights": weights[:-1]},
        "weights: one too many": {"weights": [*weights, weights[0]]},
        "weights: transposed": with_weight(weights[0].T),
        "weights: one row": with_weight(weights[0][:1]),
        "weights: empty": with_weight(torch.empty(0)),
        "weights: scalar": with_weight(torch.tensor(1.0)),
        "weights: more units": with_weight(some(UNITS + 60, FEATURES)),
        "weights: float64": with_weight(weights[0].double()),
        "weights: int32": with_weight(weights[0].int()),
        "weights: not contiguous": with_weight(some(FEATURES, UNITS).T),
        "initial: one of two": {"initial": initial[:1]},
        "initial: three of two": {"initial": [*initial, initial[0]]},
        "initial: fewer rows": with_state(some(1, UNITS)),
        "initial: more rows": with_state(some(ROWS + 1, UNITS)),
        "initial: fewer units": with_state(some(ROWS, 1)),
        "initial: one axis": with_state(some(UNITS)),
        "initial: empty": with_state(torch.empty(0)),
        "initial: float64": with_state(initial[1].double()),
        "initial: not contiguous": with_state(some(UNITS, ROWS).T),
        "extra: one too many": {"extra": [some(ROWS, UNITS)]},
        "mask: other rows": {"mask": mask[:1]},
        "mask: other time": {"mask": mask[:, :2]},
        "mask: transposed": {"mask": mask.T},
        "mask: one axis": {"mask": mask[0]},
        "mask: float32": {"mask": mask.float()},
        "mask: uint8": {"mask": mask.to(torch.uint8)},
        "mask: not contiguous": {"mask": mask.T.contiguous().T},
        "mask: broadcast": {"mask": mask[:1, :1].expand(ROWS, TIME)},
        "lengths: too long": {"lengths": integers(1, 2, 3, TIME + 1)},
        "lengths: negative": {"lengths": integers(1, 2, 3, -1)},
        "lengths: huge": {"lengths": integers(1, 2, 3, 2**62)},
        "lengths: other rows": {"lengths": integers(1, 2)},
        "lengths: float32": {"lengths": integers(1, 2, 3, 4).float()},
        "lengths: two axes": {"lengths": integers(1, 2, 3, 4)[None]},
        "lengths: int8": {"lengths": integers(1, 2, 3, 4).to(torch.int8)},
        "batch_sizes: too many": packed(*[ROWS] * (TIME + 1)),
        "batch_sizes: rising": packed(2, 3, 4, 4, 4, 4),
        "batch_sizes: zero": packed(ROWS, 0),
        "batch_sizes: negative": packed(ROWS, -1),
        "batch_sizes: huge": packed(ROWS, 2**62),
        "batch_sizes: too few": packed(ROWS, ROWS),
        "batch_sizes: empty": packed(),
        "recipe: empty": {"text": ""},
        "recipe: no JSON": {"text": "lstm"},
        "recipe: a list": {"text": "[]"},
        "recipe: other units": told(units=UNITS + 100),
        "recipe: no units": told(units=0),
        "recipe: huge units": told(units=2**40),
        "recipe: negative units": told(units=-5),
    }

    def residuals_of(call: Any) -> Any:
        # not made before the forks: a call starts threads
        return operator_scan(call)[2]

    def spoilt(residuals: Any, of: int, at: int) -> Any:
        found = residuals.clone().contiguous()
        memory = found.numpy().view(np.uint8).reshape(-1)
        place = at * (len(memory) - 1) // (of - 1)
        memory[place : place + 8] ^= 0xFF
        return found

    output, last = some(ROWS, TIME, UNITS), some(2, ROWS, UNITS)
    replaced: dict[str, Callable[[], Any]] = {
        "empty": lambda: residuals_of(right)[:0],
        "too short": lambda: residuals_of(right)[:-1],
        "too long": lambda: torch.cat([residuals_of(right)] * 2),
        "of one element": lambda: residuals_of(right).reshape(-1)[:1],
        "of zeros": lambda: torch.zeros_like(residuals_of(right)),
        "of garbage": lambda: _garbage(residuals_of(right)),
        "of NaN": lambda: _garbage(residuals_of(right), 0xFF),
        "of fewer rows": lambda: residuals_of(call_of(rows=2)),
        "of another time": lambda: residuals_of(call_of(time=9)),
        "of other units": lambda: residuals_of(call_of(units=8)),
        "of another cell": lambda: residuals_of(call_of(cells.gru)),
        "of a transposed shape": lambda: residuals_of(call_of(rows=TIME, time=ROWS)),
        "of another dtype": lambda: residuals_of(right).to(torch.float64),
        "that nobody kept": lambda: operator_scan(right, keep=False)[2],
        "not contiguous": lambda: torch.stack([residuals_of(right)] * 2, -1)[..., 0],
        **{
            f"with byte {k} of 200 spoilt": lambda k=k: spoilt(residuals_of(right), 200, k)
            for k in range(0, 200, 10)
        },
    }
    found: dict[str, Callable[[], object]] = {
        name: lambda changes=changes: operator_scan(right | changes) for name, changes in forward.items()
    }
    for name, make in replaced.items():
        found[f"backward: residuals {name}"] = lambda make=make: operator_backward(
            right, make(), output, last
        )
    gradients: dict[str, tuple[Any, Any]] = {
        "output gradient of fewer rows": (output[:1], last),
        "output gradient of fewer units": (output[..., :2], last),
        "output gradient of one axis": (output[0, 0], last),
        "output gradient float64": (output.double(), last),
        "output gradient broadcast": (output[:1, :1, :1].expand(ROWS, TIME, UNITS), last),
        "last gradient of one state": (output, last[:1]),
        "last gradient of fewer rows": (output, last[:, :1]),
        "last gradient float64": (output, last.double()),
        "last gradient not contiguous": (output, some(ROWS, 2, UNITS).transpose(0, 1)),
        "no gradients": (None, None),
    }
    for name, (by_output, by_last) in gradients.items():
        found[f"backward: {name}"] = lambda a=by_output, b=by_last: operator_backward(
            right, residuals_of(right), a, b
        )
    found["backward: three axes of residuals"] = lambda: operator_backward(
        right, residuals_of(right).reshape(-1)[None, None], output, last
    )
    found["backward: wanted too short"] = lambda: operator_backward(
        right, residuals_of(right), output, last, [True]
    )
    found["right"] = lambda: operator_backward(right, residuals_of(right), output, last)
    return found


def _garbage(residuals: Any, byte: int | None = None) -> Any:
    """Random bytes, or one byte, in the shape of residuals."""
    found = residuals.clone().contiguous()
    memory = found.numpy().view(np.uint8).reshape(-1)
    memory[...] = np.random.default_rng(0).integers(0, 256, len(memory)) if byte is None else byte
    return found

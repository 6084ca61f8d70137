"""Cells whose values have axes of their own as ONNX's Scan: what `Model.run` gives."""

from __future__ import annotations

import numpy as np
import pytest
from onnx_helpers import check, kinds

from stepfold import Cell
from stepfold.model import BidirectionalLayer, RecurrentLayer
from tests.axes_cells import ALL, AxesProblem
from tests.core.test_core_axes import decayed, projected

named = pytest.mark.parametrize("cell", ALL, ids=lambda c: c.name)


@named
def test_values_of_axes_of_their_own(cell: Cell) -> None:
    for dtype, reverse, masked in (
        ("float32", False, True),
        ("float32", True, False),
        ("float64", True, True),
    ):
        problem = AxesProblem(cell, dtype, lengths=(5, 0, 3))
        x, mask = np.concatenate(problem.inputs, axis=-1), problem.mask if masked else None
        for sequences in (False, True):
            proto = check([RecurrentLayer(cell, problem.params, reverse, sequences)], x, mask)
            assert "Scan" in kinds(proto)


def test_layers_and_directions_of_such_cells() -> None:
    below, above = AxesProblem(decayed, "float32"), AxesProblem(projected, "float32", seed=1)
    fewer = {n: v[:, :4] if n.startswith("W") else v for n, v in above.params.items()}
    layers = [
        RecurrentLayer(decayed, below.params, return_sequences=True),
        RecurrentLayer(projected, fewer),
    ]
    x = np.concatenate(below.inputs, axis=-1)
    check(layers, x, below.mask)
    both = [RecurrentLayer(projected, above.params, reverse) for reverse in (False, True)]
    check([BidirectionalLayer(*both)], above.inputs[0], above.mask)

"""Cells whose integers choose rows of parameters as ONNX: `Gather` before the `Scan`."""

from __future__ import annotations

import numpy as np
import pytest
from onnx_helpers import check, kinds

from stepfold import Cell
from stepfold.model import RecurrentLayer
from tests.lookup_cells import CELLS, LookupProblem


@pytest.mark.parametrize("cell", CELLS, ids=lambda c: c.name)
def test_values_of_rows(cell: Cell) -> None:
    for dtype, reverse, masked in (("float32", False, True), ("float64", True, False)):
        problem = LookupProblem(cell, dtype)
        columns = [v if v.ndim == 3 else v[..., None] for v in problem.inputs]
        x = np.concatenate(columns, -1).astype(dtype)
        mask = np.arange(6) < np.array([6, 0, 3])[:, None] if masked else None
        proto = check([RecurrentLayer(cell, problem.params, reverse, True)], x, mask)
        assert {"Gather", "Scan"} <= set(kinds(proto))

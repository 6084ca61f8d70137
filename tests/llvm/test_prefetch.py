"""Memory is asked for while arithmetic runs, in the kernels that wait for matrices and in no others."""

from __future__ import annotations

import pytest

from stepfold import cells


@pytest.mark.parametrize("kernel", ["infer", "train", "backward"])
def test_only_passes_over_saved_matrices_ask_ahead(kernel: str) -> None:
    matrices = cells.linear_attention.show("llvm", units=16, key=16, kernel=kernel)
    vectors = cells.lstm.show("llvm", units=16, kernel=kernel)
    asked = [line for line in matrices.splitlines() if "call void @llvm.prefetch" in line]
    assert bool(asked) == (kernel != "infer")
    hints = {"infer": set(), "train": {"i32 1, i32 2, i32 1)"}, "backward": {"i32 0, i32 2, i32 1)"}}
    assert {line.partition(", ")[2] for line in asked} == hints[kernel]
    assert "prefetch" not in vectors

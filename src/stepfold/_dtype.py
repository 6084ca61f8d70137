"""The dtypes that are computed in."""

from __future__ import annotations

from typing import Any

import numpy as np


def checked_dtype(dtype: Any) -> np.dtype[Any]:
    """Return float32 or float64 as a NumPy dtype; TypeError for anything else."""
    found: np.dtype[Any] = np.dtype(dtype)
    if found not in (np.dtype(np.float32), np.dtype(np.float64)):
        raise TypeError(
            f"dtype must be float32 or float64, not {found}; convert the arrays with .astype('float32')"
        )
    return found

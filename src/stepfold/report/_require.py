"""The packages that only reports need, imported when a report is written."""

from __future__ import annotations

from importlib import import_module
from typing import Any


def require(name: str) -> Any:
    """Return a module of matplotlib or jinja2; ImportError that names the cure if it is not there."""
    try:
        return import_module(name)
    except ImportError as error:
        package = name.partition(".")[0]
        raise ImportError(
            f'a report needs {package}, which cannot be imported ({error}): pip install "stepfold[app]"',
            name=package,
        ) from None

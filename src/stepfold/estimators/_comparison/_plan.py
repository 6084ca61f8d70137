"""What a comparison trains: its settings, each with a name that says only what varies, and their runs."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sklearn.base import clone
from sklearn.model_selection import ParameterGrid

from ..._cell import Cell
from ...cells import as_cell
from .._base import RecurrentEstimator
from .._settings import TAUGHT, Settings, plain, resolve
from .._taught import check_taught

_APART = {
    "random_state": "seeds says how often each setting is trained, and with which seeds",
    "callbacks": "a comparison may train in other processes, which callbacks do not reach",
    "verbose": "a comparison shows the progress of all its runs",
}
_HELD_OUT = 0.2


@dataclass(frozen=True)
class Setting:
    """One of the settings that are compared.

    Attributes:
        name: what tells it from the others, such as "gru, units 64".
        stem: the same for the names of folders.
        varied: the parameters that differ between the settings; a cell by its name.
        parameters: every parameter of the estimator, without the seed.
        choices: what that makes, defaults included, cells by name; without epochs that follow from the data.
        cells: the cells of its network, or of its networks.
    """

    name: str
    stem: str
    varied: dict[str, Any]
    parameters: dict[str, Any]
    choices: dict[str, Any]
    cells: tuple[Cell, ...]


def settings_of(
    estimator: Any, grid: Mapping[str, Sequence[Any]] | Sequence[Mapping[str, Sequence[Any]]], validated: bool
) -> list[Setting]:
    """Return the settings of a grid, each checked.

    Args:
        estimator: has the parameters that are not in the grid.
        grid: a list of values for each parameter, or several such grids, as in scikit-learn.
        validated: whether there are examples to validate with; if not, some are held out.

    Raises:
        TypeError, ValueError: an estimator, a parameter or a value that cannot be compared.
    """
    if not isinstance(estimator, RecurrentEstimator):
        raise TypeError(
            "compare takes a TextClassifier, a SequenceClassifier or a SequenceRegressor, "
            f"not a {type(estimator).__name__}"
        )
    if estimator.callbacks:
        raise ValueError(f"callbacks cannot be used here: {_APART['callbacks']}")
    chosen = [{name: plain(value) for name, value in each.items()} for each in ParameterGrid(grid)]
    estimators = [_with(estimator, each, validated) for each in chosen]
    grids = [grid] if isinstance(grid, Mapping) else grid
    names = list(dict.fromkeys(name for each in grids for name in each))
    values = [{name: _shown(name, getattr(each, name)) for name in names} for each in estimators]
    varied = [name for name in names if any(each[name] != values[0][name] for each in values)]
    found: dict[str, Setting] = {}
    for each, shown in zip(estimators, values, strict=True):
        cells = _cells_of(each)
        used = ", ".join(cell.name for cell in cells)
        apart = {name: shown[name] for name in varied} or {"cell": used}
        name = ", ".join(_label(name, value) for name, value in apart.items())
        if name in found:
            raise ValueError(
                f"the setting {name!r} is in the grid twice; give each value once, own cells names"
            )
        stem = "-".join(_label(name, value, "_") for name, value in apart.items())
        parameters = {k: v for k, v in each._parameters_for_json().items() if k not in _APART}
        choices = {**asdict(_resolved(each)), "cell": used}
        if parameters["epochs"] is None:
            del choices["epochs"]
        if preset := parameters.get("preset"):
            choices["preset"] = preset
        stem = re.sub(r"[^\w.+-]", "_", stem)[:120]
        found[name] = Setting(name, stem, apart, parameters, choices, cells)
    return list(found.values())


def _with(estimator: Any, chosen: Mapping[str, Any], validated: bool) -> Any:
    """Return the estimator with other parameters, if they can be used."""
    known = estimator.get_params(deep=False)
    for name in chosen:
        if name in _APART:
            raise ValueError(f"{name} cannot be compared: {_APART[name]}")
        if name not in known:
            raise ValueError(
                f"{type(estimator).__name__} has no parameter {name!r}; it has {', '.join(sorted(known))}"
            )
    found = clone(estimator).set_params(**chosen)
    if not validated and not found.validation_split:
        if chosen.get("validation_split") is not None:
            raise ValueError(
                "validation_split is 0, but settings are compared by examples that are held out; "
                "give a share above 0, or validation_data"
            )
        found.set_params(validation_split=_HELD_OUT)
    _resolved(found)
    _cells_of(found)
    if getattr(found, "preset", "") in TAUGHT:
        if "tokens" not in chosen:
            found.set_params(tokens=None)
        check_taught(found.preset, found._given())
    return found


def fingerprint(estimator: type[Any], parameters: Mapping[str, Any], seed: Any) -> str | None:
    """Return a text that is equal for runs of equal parameters; None if these make no estimator."""
    try:
        own = {name: value for name, value in parameters.items() if name not in _APART}
        defaults = estimator(**own)._defaults()
    except (TypeError, ValueError):
        return None
    for name, value in own.items():
        # Without a number of epochs it depends on the number of examples.
        if value is None and name != "epochs":
            own[name] = defaults.get(name)
    return json.dumps([own, seed], sort_keys=True)


def _resolved(estimator: Any) -> Settings:
    return resolve(estimator._settings_kind, estimator._defaults(), estimator._given())


def _cells_of(estimator: Any) -> tuple[Cell, ...]:
    """Return the cell that an estimator uses, or the different ones of its networks."""
    cell = estimator._given()["cell"] or estimator._defaults()["cell"]
    cells = cell if isinstance(cell, (list, tuple)) else [cell]
    return tuple({found.name: found for found in map(as_cell, cells)}.values())


def _shown(name: str, value: Any) -> Any:
    """Return how a value is told from others."""
    if isinstance(value, Cell):
        return value.name
    if name == "cell" and isinstance(value, str) and value.lstrip().startswith("{"):
        return Cell.from_json(value).name
    return dict(value) if isinstance(value, Mapping) else value


def _label(name: str, value: Any, space: str = " ") -> str:
    """Return a value with its parameter's name, where it does not speak for itself."""
    words = name.replace("_", space)
    if name == "cell" and value is not None:
        return str(value)
    if isinstance(value, bool):
        return words if value else f"no{space}{words}"
    shown = "default" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
    return f"{words}{space}{shown}"

"""Sequences of a long-form table one after the other, for files larger than memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ._errors import DataError
from ._files import plain_suffix
from ._sequences import StepRows, sequence_rows


def stream_sequences(
    path: str | Path, *, id: str = "id", time: str = "time", label: str = "label"
) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Yield the id and the steps, (time, features) float32, of each sequence of a file; one is in memory.

    Args:
        path: a long-form table (see ``load_sequences``) in which the rows of a sequence stand together.
        id: the column that tells sequences apart.
        time: the column that orders the rows of a sequence.
        label: a column that is left out, if it is there.

    Raises:
        DataError: as of ``load_sequences``, or the rows of a sequence stand apart; the message names the
            line.
    """
    path = Path(path)
    rows = sequence_rows(path, [id, time])
    _, names = next(rows)
    features = [k for k, name in enumerate(names) if name not in (id, time, label)]
    if not features:
        raise DataError(f"{path} has no columns but {', '.join(map(repr, names))}; features need columns too")
    unit = "row" if plain_suffix(path) == ".parquet" else "line"
    id_at, time_at = names.index(id), names.index(time)
    columns = [names[k] for k in features]
    seen: set[str] = set()
    steps, current = StepRows(path, unit, columns), None
    for row, values in rows:
        found = values[id_at]
        name = "" if found is None else str(found).strip()
        if current is not None and name != current:
            yield current, steps.finish()[0]
            steps = StepRows(path, unit, columns)
        if name != current and name in seen:
            raise DataError(
                f"{path}, {unit} {row}: other sequences stand between the rows of {id} {name!r}; sort the "
                f"file by {id!r}, since one sequence at a time is read"
            )
        steps.add(row, found, values[time_at], [values[k] for k in features])
        seen.add(name)
        current = name
    if current is None:
        raise DataError(f"{path} has a header but no rows; give a row for each timestep")
    yield current, steps.finish()[0]

"""What comes in, as types that msgspec checks while it reads the JSON."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec
from starlette.exceptions import HTTPException

Sequence = list[int | float | list[float]]
"""A sequence as JSON: a list of ids, or of the features of each timestep."""


class Predict(msgspec.Struct, forbid_unknown_fields=True):
    """The body of `POST /predict`: one of the first four, and the model's name where there are several."""

    text: str | None = None
    texts: list[str] | None = None
    sequence: Sequence | None = None
    sequences: list[Sequence] | None = None
    model: str | None = None


class Explain(msgspec.Struct, forbid_unknown_fields=True):
    """The body of `POST /explain`: a text or a sequence, and which named values of the cells to return."""

    text: str | None = None
    sequence: Sequence | None = None
    values: bool | list[str] = False
    model: str | None = None


class StreamMessage(msgspec.Struct, forbid_unknown_fields=True):
    """A message to a stream: a chunk of text, one token, or the next timesteps of a sequence."""

    text: str | None = None
    token: str | None = None
    sequence: Sequence | None = None


Body = TypeVar("Body", bound=msgspec.Struct)


def read(text: bytes | str, kind: type[Body]) -> Body:
    """Read JSON; HTTPException 400, which names the field, for anything else."""
    try:
        found = msgspec.json.decode(text, type=kind)
    except msgspec.ValidationError as error:
        raise HTTPException(400, f"{error}; {_wanted(kind)}") from None
    except UnicodeError:
        raise HTTPException(400, f"the text is not UTF-8; {_wanted(kind)}") from None
    except msgspec.DecodeError as error:
        raise HTTPException(400, f"{error}; {_wanted(kind)}") from None
    except RecursionError:
        raise HTTPException(400, f"the JSON is nested too deep; {_wanted(kind)}") from None
    return found


def chosen(given: msgspec.Struct, *names: str) -> tuple[str, Any]:
    """Return the name and the value of the one field that is there; HTTPException 400 for none or several."""
    found = [name for name in names if getattr(given, name) is not None]
    if len(found) != 1:
        listed = ", ".join(f'"{name}"' for name in names)
        raise HTTPException(400, f"give one of {listed}, not {len(found) or 'none'} of them")
    return found[0], getattr(given, found[0])


def _wanted(kind: type[msgspec.Struct]) -> str:
    names = ", ".join(f'"{name}"' for name in kind.__struct_fields__)
    return f"send a JSON object with some of {names}"

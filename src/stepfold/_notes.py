"""What an embedding notes beside the tensor that it returns, as Keras remembers masks: where it came from."""

from __future__ import annotations

import weakref
from typing import Any, TypeVar

_notes: dict[int, tuple[Any, list[int | None]]] = {}
Note = TypeVar("Note", bound=tuple[Any, ...])


def remember(tensor: Any, note: tuple[Any, ...]) -> None:
    """Note the arrays that a tensor was made of; what is computed from it is another tensor, without the
    note."""
    _notes[id(tensor)] = note, _versions(tensor, note)
    # beside it and not in it: what is saved or copied of a tensor is not to drag these along
    weakref.finalize(tensor, _notes.pop, id(tensor), None).atexit = False


def note_of(tensor: Any, kind: type[Note]) -> Note | None:
    """Return what `remember` noted, None if nothing was, or the tensor or what it was made of was changed in
    place since then."""
    found = _notes.get(id(tensor))
    if found is None or not isinstance(found[0], kind):
        return None
    note, versions = found
    return note if versions == _versions(tensor, note) else None


def _versions(tensor: Any, note: tuple[Any, ...]) -> list[int | None]:
    """PyTorch counts changes in place; JAX's arrays never change."""
    return [_version(array) for array in (tensor, *note)]


def _version(array: Any) -> int | None:
    try:
        return getattr(array, "_version", None)
    except RuntimeError:  # tensors of torch.inference_mode count none
        return None

"""Seeded tasks that measure how long a recurrent network remembers: NumPy arrays, nothing else is needed."""

from ._copy import copy, copy_with
from ._marked import adding, temporal_order
from ._task import Task

_all: list[Task] = [temporal_order, adding, copy]


def names() -> list[str]:
    """Return the names of all tasks."""
    return [task.name for task in _all]


def by_name(name: str) -> Task:
    """Return the task of that name; ValueError, listing the names, if there is none."""
    for task in _all:
        if task.name == name:
            return task
    raise ValueError(f"there is no task {name!r}; the tasks are {', '.join(names())}")


__all__ = ["Task", "adding", "by_name", "copy", "copy_with", "names", "temporal_order"]

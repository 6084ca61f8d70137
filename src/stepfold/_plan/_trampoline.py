"""Recursion without Python's stack: a step may be a chain of any number of operations."""

from __future__ import annotations

from collections.abc import Generator

Task = Generator["Task", None, None]
"""A recursive function as a generator: `yield f(x)` stands where the function would call itself."""


def run(task: Task) -> None:
    """Run a task to its end, and before it goes on each task that it yields."""
    stack = [task]
    while stack:
        called = next(stack[-1], None)
        if called is None:
            stack.pop()
        else:
            stack.append(called)

"""What arguments of the command line may be."""

import argparse
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from ..estimators import RunError


def at_least(lowest: int, *, below: int = 2**31) -> Callable[[str], int]:
    """Return a reader of integers from ``lowest`` to below ``below``."""

    def integer(text: str) -> int:
        if not text.isdecimal() or not lowest <= int(text) < below:
            raise argparse.ArgumentTypeError(f"{text!r} is no integer from {lowest} to {below - 1}")
        return int(text)

    return integer


def positive(text: str) -> float:
    """Read a number above 0."""
    value = _number(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is no number above 0")
    return value


def not_negative(text: str) -> float:
    """Read a number of at least 0."""
    value = _number(text)
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of at least 0")
    return value


def share(text: str) -> float:
    """Read a number from 0 to below 1."""
    value = _number(text)
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no share: give a number from 0 to below 1")
    return value


@contextmanager
def input_errors() -> Iterator[None]:
    """Turn an estimator's error about its inputs or parameters into one of the command."""
    try:
        yield
    except ValueError as error:
        raise RunError(" ".join(str(error).split())) from error


def list_of(read: Callable[[str], Any]) -> Callable[[str], list[Any]]:
    """Return a reader of values with commas between them, each of which stands there once."""

    def values(text: str) -> list[Any]:
        found = [read(each.strip()) for each in text.split(",")]
        if len(set(found)) < len(found):
            raise argparse.ArgumentTypeError(f"{text!r} has a value twice")
        return found

    return values


def command_line() -> str:
    """Return the command as it could be typed again."""
    return shlex.join(["stepfold", *sys.argv[1:]])


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no number") from None

"""The command ``stepfold``: results on standard output, progress and errors on standard error.

Exit status: 0 done, 1 training that failed, 2 an error in the call or the data, 130 interrupted.
"""

import argparse
import codecs
import importlib
import io
import os
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn, TextIO

from .._files import FULL, not_written
from ..data import DataError
from ..estimators import RunError
from ._processes import leave

_COMMANDS = (
    ("train", "_train", "fit a classifier or a regressor to IMDB's reviews or a file"),
    ("compare", "_compare", "train with several cells, settings and seeds, side by side"),
    ("predict", "_predict", "label and probability of texts or sequences"),
    ("evaluate", "_predict", "judge a trained model on labelled examples"),
    ("watch", "_watch", "what a model thinks after every word of a text"),
    ("serve", "_serve", "answer requests and streams with trained models"),
    ("export", "_export", "write a trained model to one file"),
    ("cells", "_show", "list the built-in cells by family"),
    ("show", "_show", "one cell: equations, loop, gradient, code"),
    ("cache", "_cache", "show, clear or fill the cache of compiled kernels"),
    ("probe", "_probe", "measure what cells can remember"),
)
"""Each subcommand, the module whose function ``add_`` and its name adds its arguments, and its help."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command with the given arguments (or those of the process) and return its exit status."""
    for stream in (sys.stdout, sys.stderr):
        _write_all(stream)
    try:
        status = _run(sys.argv[1:] if arguments is None else arguments)
    except Exception:
        leave(1)
        raise
    leave(status)
    return status


def _run(arguments: Sequence[str]) -> int:
    options = _options(arguments)
    options.arguments = list(arguments)
    # Keras chooses its backend when it is first imported; the layers are fastest on JAX.
    os.environ.setdefault("KERAS_BACKEND", "jax")
    main_thread = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, _interrupt) if main_thread else None
    try:
        status: int | None = options.run(options)
        sys.stdout.flush()
    except (DataError, RunError) as error:
        return _fail(f"error: {error}", 2)
    except ImportError as error:
        if 'pip install "stepfold' not in str(error):
            raise
        return _fail(f"error: {error}", 2)
    except BrokenPipeError:  # the reader of the output has closed the pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        if error.filename and error.errno in FULL:
            target = Path(os.fsdecode(error.filename))
            return _fail(f"error: {not_written(target, error)}. Make room, then give the command again", 2)
        return _fail(f"error: {error.filename or 'system'}: {error.strerror or error}", 2)
    except KeyboardInterrupt as error:
        return _fail(str(error) or "interrupted", 130)
    except RuntimeError as error:
        if type(error).__name__ != "TrainingError":  # whose module imports Keras
            raise
        return _fail(f"error: {error}", 1)
    finally:
        if main_thread:
            signal.signal(signal.SIGTERM, signal.SIG_DFL if before is None else before)
    return status or 0


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    """Parse the arguments. Texts may stand behind options too, where argparse does not look for them: the
    command's default `later` names them."""
    parser = _parser(next((each for each in arguments if not each.startswith("-")), ""))
    options, rest = parser.parse_known_args(arguments)
    later = getattr(options, "later", None)
    if later is None or any(each.startswith("-") and " " not in each for each in rest):
        if rest:
            parser.error(f"unrecognized arguments: {' '.join(rest)}")
    elif later == "texts":
        options.texts += rest
    elif len(given := [each for each in (options.text, *rest) if each is not None]) > 1:
        parser.error(f"{len(given)} texts, but one is read; put it in quotes: {' '.join(given)!r:.80}")
    else:
        options.text = given[0] if given else None
    return options


def _write_all(stream: TextIO) -> None:
    """Let a stream that is not UTF-8, as a pipe on Windows, write '?' for a character that it does not
    have."""
    if isinstance(stream, io.TextIOWrapper) and codecs.lookup(stream.encoding).name != "utf-8":
        stream.reconfigure(errors="replace")


def _interrupt(number: int, frame: object) -> NoReturn:
    """Let SIGTERM end the command as Ctrl-C does."""
    raise KeyboardInterrupt


def _fail(message: str, status: int) -> int:
    print(f"stepfold: {message}", file=sys.stderr)
    return status


class _Parser(argparse.ArgumentParser):
    """argparse, but with errors of one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {message} (see {self.prog} --help)\n")


def _parser(command: str) -> argparse.ArgumentParser:
    """Return the parser with the arguments of one command; only its module is imported."""
    parser = _Parser(
        prog="stepfold",
        description="Train recurrent networks on texts and sequences, judge them, show the built-in cells.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, module, about in _COMMANDS:
        subparser = commands.add_parser(name, help=about)
        if name == command:
            getattr(importlib.import_module(f".{module}", __package__), f"add_{name}")(subparser)
    return parser


if __name__ == "__main__":
    sys.exit(main())

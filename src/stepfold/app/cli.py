"""The command ``stepfold``: results on standard output, progress and errors on standard error.

Exit status: 0 done, 2 an error in the call or the data, 130 interrupted.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NoReturn

from ..data import DataError, text_of
from ._cache import add_cache
from ._run import RunError, RunFolder
from ._settings import IMDB, NAMES, OPTIMIZERS, Settings, option_name


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command with the given arguments (or those of the process) and return its exit status."""
    options = _parser().parse_args(arguments)
    # Keras chooses its backend when it is first imported; the layers are fastest on JAX.
    os.environ.setdefault("KERAS_BACKEND", "jax")
    try:
        options.run(options)
        sys.stdout.flush()
    except (DataError, RunError) as error:
        return _fail(f"error: {error}", 2)
    except BrokenPipeError:  # the reader of the output has closed the pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        return _fail(f"error: {error.filename or 'system'}: {error.strerror or error}", 2)
    except KeyboardInterrupt as error:
        return _fail(str(error) or "interrupted", 130)
    return 0


def _fail(message: str, status: int) -> int:
    print(f"stepfold: {message}", file=sys.stderr)
    return status


# Each command imports its own frameworks, so that --help and errors in the call are answered at once.


def _train(options: argparse.Namespace) -> None:
    given = {name: value for name, value in vars(options).items() if name in NAMES}
    if options.data == IMDB and given.keys() & {"text", "label"}:
        raise RunError("--text and --label name the columns of a file; the reviews of imdb have none")
    if options.data != IMDB and "source" in given:
        raise RunError("--data gives the path of imdb; for a file, its path alone is enough")
    settings = replace(Settings(), **given)
    run = RunFolder(options.out or os.path.join("runs", f"{_stem(settings.data)}-{settings.cell}"))
    if options.resume:
        settings = Settings.from_dict(run.read_config()["settings"]).continued(given)
    _cell_by_name(settings.cell)
    if not options.resume:
        run.begin(overwrite=options.overwrite)

    from ._train import train

    figures = train(settings, run, resume=options.resume)
    if options.json:
        print(json.dumps(figures))
        return
    print(
        f"validation accuracy {figures['val_accuracy']:.4f} (loss {figures['val_loss']}), the best of "
        f"{figures['epochs']} epochs of {figures['seconds_per_epoch']} s; "
        f"{figures['parameters']:,} parameters; saved in {run.path}"
    )


def _stem(data: str) -> str:
    return os.path.splitext(os.path.basename(data))[0]


def _predict(options: argparse.Namespace) -> None:
    texts = options.texts or _standard_input()
    if not texts:
        raise RunError(
            'there is no text to predict: stepfold predict RUN "text" …, or lines on standard input'
        )
    for text in texts:
        text_of(os.fsencode(text), "the command line")

    from ._predict import predict

    for text, (label, probability) in zip(texts, predict(RunFolder(options.folder), texts), strict=True):
        if options.json:
            line = {"label": label, "probability": round(probability, 6), "text": text}
            print(json.dumps(line))
        else:
            print(f"{label}\t{probability:.4f}\t{' '.join(text.split())}")


def _standard_input() -> list[str]:
    if sys.stdin.isatty():
        print("reading one text per line; end with Ctrl-D", file=sys.stderr)
    content = text_of(sys.stdin.buffer.read(), "standard input").removesuffix("\n")
    return [line.rstrip("\r") for line in content.split("\n")] if content else []


def _cells(options: argparse.Namespace) -> None:
    from .. import cells

    for name in cells.names():
        equations, _, _ = cells.by_name(name).show("maths").partition("\n\nParameters")
        print(f"{equations}\n")


def _show(options: argparse.Namespace) -> None:
    cell = _cell_by_name(options.cell)
    given = {name: value for name, value in vars(options).items() if name in _SHOW_OPTIONS}
    try:
        print(cell.show(options.view, **given))
    except (TypeError, ValueError) as error:  # an option or a value that this view does not take
        raise RunError(str(error)) from None


def _cell_by_name(name: str) -> Any:
    from .. import cells

    try:
        return cells.by_name(name)
    except ValueError as error:
        raise RunError(str(error)) from None


_SHOW_OPTIONS = ("units", "features", "dtype", "target", "kernel")


class _Parser(argparse.ArgumentParser):
    """argparse, but with errors of one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {message} (see {self.prog} --help)\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="stepfold",
        description="Train recurrent text classifiers, predict with them, show the built-in cells.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_train(commands.add_parser("train", help="train a classifier on IMDB's reviews or on a file"))

    predict = commands.add_parser("predict", help="label and probability of texts")
    predict.add_argument("folder", metavar="RUN", help="the folder that train wrote")
    predict.add_argument(
        "texts", metavar="TEXT", nargs="*", help="texts to predict; without any, the lines of standard input"
    )
    predict.add_argument("--json", action="store_true", help="print one JSON object per line")
    predict.set_defaults(run=_predict)

    every = commands.add_parser("cells", help="list the built-in cells with their equations")
    every.set_defaults(run=_cells)

    one = commands.add_parser(
        "show", help="one cell: equations, loop, gradient, code", argument_default=argparse.SUPPRESS
    )
    one.add_argument("cell", metavar="CELL", help="the cell's name (see stepfold cells)")
    views = ("maths", "latex", "graph", "gradient", "llvm", "asm")
    one.add_argument(
        "view", metavar="VIEW", nargs="?", choices=views, default="maths", help=f"one of {', '.join(views)}"
    )
    one.add_argument("--units", type=_at_least(1), metavar="N", help="for maths, llvm and asm")
    one.add_argument("--features", type=_at_least(1), metavar="N", help="for maths")
    one.add_argument("--dtype", metavar="NAME", help="float32 or float64; for llvm and asm")
    one.add_argument("--target", metavar="NAME", help="the processor, such as haswell; for llvm and asm")
    one.add_argument("--kernel", metavar="NAME", help="which of the kernels; for llvm and asm")
    one.set_defaults(run=_show)

    add_cache(
        commands.add_parser("cache", help="show, clear or fill the cache of compiled kernels"), _at_least(1)
    )
    return parser


def _add_train(parser: argparse.ArgumentParser) -> None:
    # No defaults here: what the user gave overrides Settings or the resumed run, and nothing else does.
    parser.argument_default = argparse.SUPPRESS
    default = Settings()
    parser.add_argument(
        "data", metavar="imdb|FILE", help="IMDB's 25,000 reviews, or a .csv, .tsv or .jsonl file"
    )
    parser.add_argument(
        "--data", dest="source", metavar="PATH", help="imdb.npz, aclImdb_v1.tar.gz or its folder"
    )
    parser.add_argument("--text", metavar="COLUMN", help=f"the file's column of texts ({default.text})")
    parser.add_argument("--label", metavar="COLUMN", help=f"the file's column of classes ({default.label})")

    def number(name: str, kind: Callable[[str], object], text: str) -> None:
        flag = "--" + option_name(name).replace("_", "-")
        value = getattr(default, name)
        parser.add_argument(
            flag, dest=name, type=kind, metavar="N", help=f"{text} ({'its own' if value is None else value})"
        )

    parser.add_argument(
        "--cell", metavar="NAME", help=f"the recurrent cell, see stepfold cells ({default.cell})"
    )
    number("units", _at_least(1), "units of each recurrent layer")
    number("layers", _at_least(1), "recurrent layers")
    parser.add_argument(
        "--bidirectional", action=argparse.BooleanOptionalAction, help="read in both directions (no)"
    )
    number("vocabulary_size", _at_least(5), "word ids are below this; rarer words are unknown")
    number("length", _at_least(1), "the last words of a text that are read")
    number("embedding", _at_least(1), "length of a word's vector")
    number("batch", _at_least(1), "texts a training step")
    number("epochs", _at_least(1), "passes over the training texts")
    parser.add_argument(
        "--optimizer", choices=OPTIMIZERS, help=f"how weights are adjusted ({default.optimizer})"
    )
    number("learning_rate", _positive, "the optimizer's step size")
    number("dropout", _share, "share of a layer's inputs that is dropped")
    number("recurrent_dropout", _share, "share of a layer's state that is dropped")
    parser.add_argument(
        "--mask", action=argparse.BooleanOptionalAction, help="skip padding (no, as in the tutorial)"
    )
    number("seed", _at_least(0, below=2**32), "decides split, first weights, order and dropout")
    parser.add_argument("--out", metavar="RUN", default=None, help="the run's folder (runs/DATA-CELL)")
    parser.add_argument(
        "--overwrite", action="store_true", default=False, help="replace the run in that folder"
    )
    parser.add_argument(
        "--resume", action="store_true", default=False, help="continue the run in that folder"
    )
    parser.add_argument(
        "--json", action="store_true", default=False, help="print the final figures as a line of JSON"
    )
    parser.set_defaults(run=_train)


def _at_least(lowest: int, *, below: int = 2**31) -> Callable[[str], int]:
    def integer(text: str) -> int:
        if not text.isdecimal() or not lowest <= int(text) < below:
            raise argparse.ArgumentTypeError(f"{text!r} is no integer from {lowest} to {below - 1}")
        return int(text)

    return integer


def _positive(text: str) -> float:
    value = _number(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is no number above 0")
    return value


def _share(text: str) -> float:
    value = _number(text)
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no share: give a number from 0 to below 1")
    return value


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no number") from None


if __name__ == "__main__":
    sys.exit(main())

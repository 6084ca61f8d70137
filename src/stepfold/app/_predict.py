"""The subcommands ``predict`` and ``evaluate``: what a trained model says of new examples."""

from __future__ import annotations

import argparse
import itertools
import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..data import load_sequences, open_table, stream_sequences, text_of
from ..estimators import RunError, RunFolder
from ._arguments import command_line, input_errors
from ._data import add_columns, columns_of, is_sequences, is_ts, sequence_columns, text_columns
from ._model import open_model
from ._predict_out import predict_out
from ._written import check_out

if TYPE_CHECKING:
    from ..model import Model

_LINES = 64
_TABLES = (".csv", ".tsv", ".jsonl", ".parquet", ".ts")
_LONGEST_NAME, _MOST_COLUMNS = 24, 20


@dataclass(frozen=True)
class Predictor:
    """What predicts: the estimator of a run, or a model from a file.

    Attributes:
        source: the estimator or the model.
        classes: the classes; None where values are predicted.
        reads_texts: whether its inputs are texts, not sequences.
    """

    source: Any
    classes: Sequence[Any] | None
    reads_texts: bool

    @property
    def key(self) -> str:
        """What an input's name is called in JSON and in tables."""
        return "text" if self.reads_texts else "sequence"

    def as_model(self) -> Model:
        """Return it as a model."""
        found: Model = self.source.to_model() if hasattr(self.source, "to_model") else self.source
        return found


def add_predict(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``predict`` to its parser."""
    parser.add_argument(
        "model", metavar="MODEL", help="the folder that train wrote, or a file that export wrote"
    )
    parser.add_argument(
        "texts",
        metavar="TEXT|FILE",
        nargs="*",
        help="texts, or one table of texts or sequences; without any, the lines of standard input",
    )
    parser.add_argument("--all", action="store_true", help="print the probability of every class")
    parser.add_argument("--json", action="store_true", help="print one JSON object per line")
    parser.add_argument(
        "--out", metavar="FILE",
        help="write a row for each input to this .csv, .tsv, .jsonl (or these as .gz) or .parquet; a table "
        "may be larger than memory, one of sequences if the rows of each stand together",
    )  # fmt: skip
    parser.add_argument(
        "--dask", metavar="ADDRESS",
        help="with --out: predict on the workers of the Dask scheduler there, such as tcp://10.0.0.1:8786",
    )  # fmt: skip
    add_columns(parser)
    parser.set_defaults(run=_predict, later="texts")


def add_evaluate(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``evaluate`` to its parser."""
    parser.add_argument("folder", metavar="RUN", help="the folder that train wrote")
    parser.add_argument("file", metavar="FILE", help="a table of labelled texts or sequences")
    parser.add_argument("--json", action="store_true", help="print the figures as a line of JSON")
    parser.add_argument("--out", metavar="DIR", help="where report.html goes (RUN/evaluations/FILE)")
    add_columns(parser)
    parser.set_defaults(run=_evaluate)


def _predict(options: argparse.Namespace) -> None:
    # The arguments and the folder are looked at before any framework is imported.
    for text in options.texts:
        text_of(os.fsencode(text), "the command line")
    columns = columns_of(options)
    file = options.texts[0] if len(options.texts) == 1 and _is_file(options.texts[0]) else None
    if file is None:
        _refuse_tables(options.texts)
    if _is_file(options.model):
        model = open_model(options.model)  # which needs none
        reads_texts, what = hasattr(model.inputs, "vocabulary"), f"{options.model} is a model of sequences"
    else:
        kind = RunFolder(options.model).read_config()["estimator"]
        model, reads_texts, what = None, kind == "TextClassifier", f"the run holds a {kind}"
    if not reads_texts and file is None:
        raise RunError(f"{what}, which predicts from a file of sequences; give its path")

    if options.out is not None:
        check_out(options.out, file)
    elif options.dask is not None:
        raise RunError("--dask is for many inputs, whose predictions go to a file: give --out FILE")

    if model is None:
        from ..estimators import load

        estimator = load(options.model)
        classes = estimator.classes_.tolist() if hasattr(estimator, "classes_") else None
        predictor = Predictor(estimator, classes, reads_texts)
    else:
        predictor = Predictor(model, model.labels, reads_texts)
    if options.out is not None:
        _predict_to_file(predictor, file, columns, options)
    elif file is None:
        texts: Iterable[str] = options.texts or _standard_input()
        spoken = _predict_in_blocks(predictor, texts, options)
        if next(spoken, None) is None and not options.texts:
            raise RunError(
                'there is no text to predict: stepfold predict MODEL "text" …, or lines on standard input'
            )
        for _ in spoken:
            pass
    elif reads_texts:
        table = open_table(file, text=columns.get("text", "text"), label=None)
        for _ in _predict_in_blocks(predictor, table.texts, options):
            pass
    else:
        where = sequence_columns(columns)
        found = load_sequences(file, **{**where, "label": None}, without=where.get("label", "label"))
        _print(predictor, found.sequences, list(found.ids), options)


def _predict_to_file(
    predictor: Predictor, file: str | None, columns: dict[str, str], options: argparse.Namespace
) -> None:
    total: int | None = None
    if predictor.reads_texts:
        texts: Iterable[str] = options.texts or _standard_input()
        if file is not None:
            table = open_table(file, text=columns.get("text", "text"), label=None)
            texts, total = table.texts, len(table)
        inputs: Iterable[tuple[str, Any]] = ((text, text) for text in texts)
    else:
        assert file is not None, "asked for above"
        if is_ts(file):
            found = load_sequences(file, label=None)
            inputs, total = zip(found.ids, found.sequences, strict=True), len(found.ids)
        else:
            inputs = stream_sequences(file, **sequence_columns(columns))
    with input_errors():
        model = predictor.as_model()  # runs any shape at once, where Keras would compile each
    predict_out(model, predictor.key, inputs, total, options.out, options.all, options.dask)


def _predict_in_blocks(
    predictor: Predictor, texts: Iterable[str], options: argparse.Namespace
) -> Iterator[int]:
    """Print the predictions block by block; yield the number of texts of each."""
    source = iter(texts)
    block = 1 if not options.texts else _LINES
    while part := list(itertools.islice(source, block)):
        _print(predictor, part, part, options)
        yield len(part)


def _print(predictor: Predictor, inputs: Any, names: list[str], options: argparse.Namespace) -> None:
    """Print a line for each input, at once, since a program may be waiting for it."""
    classes = predictor.classes
    if classes is not None:
        with input_errors():
            probabilities = predictor.source.predict_proba(inputs)
        for name, row in zip(names, probabilities, strict=True):
            likeliest = int(row.argmax())
            if options.json:
                line = {"label": classes[likeliest], "probability": round(float(row[likeliest]), 6)}
                if options.all:
                    line["probabilities"] = {
                        str(label): round(float(value), 6) for label, value in zip(classes, row, strict=True)
                    }
                print(_json({**line, predictor.key: name}))
            else:
                shown = f"{_one_line(classes[likeliest])}\t{row[likeliest]:.4f}"
                if options.all:
                    pairs = zip(classes, row, strict=True)
                    shown += "\t" + " ".join(f"{one_word(label)}={value:.4f}" for label, value in pairs)
                print(printable(f"{shown}\t{' '.join(name.split())}"))
    else:
        with input_errors():
            values = np.asarray(predictor.source.predict(inputs)).tolist()
        for name, value in zip(names, values, strict=True):
            if options.json:
                print(_json({"value": value, "sequence": name}))
            else:
                print(printable(f"{value}\t{_one_line(name)}"))
    sys.stdout.flush()


def _json(value: dict[str, Any]) -> str:
    """Return one line of JSON with real letters; what some readers take for the end of a line is escaped."""
    text = json.dumps(value, ensure_ascii=False)
    if printable(text) != text:  # halves of surrogate pairs, or a terminal of few letters
        return json.dumps(value)
    return text.translate({0x85: "\\u0085", 0x2028: "\\u2028", 0x2029: "\\u2029"})


def printable(text: str) -> str:
    """Return a text with what standard output cannot write as escapes."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)


def _one_line(name: Any) -> str:
    """Return a name as it is, or as a text of JSON where it has tabs, line ends or other controls."""
    text = str(name)
    return text if text.isprintable() else json.dumps(text, ensure_ascii=False)


def one_word(name: Any) -> str:
    """Return a name as it is, or as a text of JSON where it is empty or has spaces, quotes or ``=``."""
    text = _one_line(name)
    plain = text and not any(character.isspace() or character in '"=' for character in str(name))
    return text if plain or text != str(name) else json.dumps(text, ensure_ascii=False)


def _short_name(name: Any) -> str:
    """Return a name for a table, 24 characters at most."""
    text = _one_line(name)
    return text if len(text) <= _LONGEST_NAME else text[: _LONGEST_NAME - 1] + "…"


def _standard_input() -> Iterator[str]:
    """Yield the lines of standard input as they come."""
    if sys.stdin.isatty():
        print("reading one text per line; end with Ctrl-D", file=sys.stderr)
    for number, line in enumerate(sys.stdin.buffer, 1):
        yield text_of(line, "standard input", number).removesuffix("\n").removesuffix("\r")


def _refuse_tables(texts: Sequence[str]) -> None:
    """Refuse what was meant as a file: nobody writes a text that is called like a table."""
    for text in texts:
        if len(text.split()) == 1 and Path(text.lower().removesuffix(".gz")).suffix in _TABLES:
            if _is_file(text):
                raise RunError(f"{text} is a file among other inputs; give one file alone, or texts")
            raise RunError(
                f"there is no file {text[:200]}; check the path (a text of that name goes to standard input)"
            )


def _is_file(text: str) -> bool:
    return len(text) < 4096 and "\n" not in text and os.path.isfile(text)


def _evaluate(options: argparse.Namespace) -> None:
    run = RunFolder(options.folder)
    kind = run.read_config()["estimator"]
    columns = columns_of(options)
    if (kind == "TextClassifier") == is_sequences(options.file, columns):
        if kind == "TextClassifier":
            cure = "sequences: leave out --id and --time, or give a table of texts"
        else:
            cure = "texts: name the columns of its sequences (--id and --time), or give a .ts file"
        raise RunError(f"the run holds a {kind}, but {options.file} is read as {cure}")

    from ..estimators import evaluate, evaluate_regression, evaluation_report, load
    from ..report import write_evaluation_report

    estimator: Any = load(options.folder)
    found: Any
    if kind == "SequenceRegressor":
        read = load_sequences(options.file, **sequence_columns(columns), task="regress")
        inputs: Any = read.sequences
        with input_errors():
            found = evaluate_regression(estimator, inputs, read.targets)
    else:
        names = [str(name) for name in estimator.classes_.tolist()]
        if kind == "TextClassifier":
            table = open_table(options.file, **text_columns(columns), classes=names)
            inputs, labels = table.texts, table.labels
        else:
            read = load_sequences(options.file, **sequence_columns(columns), classes=names)
            inputs, labels = read.sequences, np.asarray(read.labels)
        with input_errors():
            found = evaluate(estimator, inputs, estimator.classes_[labels])
    # The figures first: where no report can be written, they are not lost.
    print(_json(found.to_dict()) if options.json else printable(_table(found)), flush=True)
    name = os.path.basename(options.file)
    content = evaluation_report(estimator, found, inputs, data=name, command=command_line())
    folder = RunFolder(options.out or run.evaluations / name).make()
    write_evaluation_report(folder / "report.html", content)


def _table(found: Any) -> str:
    """Return the figures as text."""
    if not hasattr(found, "classes"):
        return "\n".join(f"{name.replace('_', ' '):<24}{value}" for name, value in found.to_dict().items())
    names = [_short_name(each.label) for each in found.classes]
    width = max(map(len, [*names, "class"]))
    lines = [
        f"accuracy {found.accuracy:.4f} on {len(found.targets):,} examples, log loss {found.log_loss:.4f}",
        "",
        f"{'class':<{width}}  precision  recall      F1  examples",
    ]
    for name, each in zip(names, found.classes, strict=True):
        lines.append(
            f"{name:<{width}}  {each.precision:9.4f}  {each.recall:6.4f}  {each.f1:6.4f}  {each.examples:8,}"
        )
    if len(names) > _MOST_COLUMNS:
        return "\n".join([*lines, "", f"the confusion table of {len(names):,} classes is in --json"])
    cell = max(width, *(len(f"{count:,}") for count in found.confusion.ravel()))
    lines += [
        "",
        "rows: the true class, columns: the predicted one",
        " " * width + "  " + "  ".join(f"{n:>{cell}}" for n in names),
    ]
    for name, row in zip(names, found.confusion, strict=True):
        lines.append(f"{name:<{width}}  " + "  ".join(f"{count:>{cell},}" for count in row))
    return "\n".join(lines)

"""The subcommand ``watch``: a model reads a text, and what it thinks after every word is shown."""

from __future__ import annotations

import argparse
import codecs
import os
import re
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Protocol

from ..data import UNKNOWN, text_of
from ..estimators import RunError
from ._model import open_model
from ._watch_plain import PlainPage
from ._watched import Watched, Word

if TYPE_CHECKING:
    from ..model import Model

_BYTES = 2**16
_LONGEST_WORD = 10_000
_MOST_CHARACTERS = 5_000_000


class _Page(Protocol):
    def begin(self, watched: Watched, title: str) -> None: ...

    def word(self, watched: Watched, word: Word) -> None: ...

    def end(self, watched: Watched) -> None: ...


def add_watch(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``watch`` to its parser."""
    parser.add_argument(
        "model", metavar="MODEL", help="a file that export wrote, or a folder that train wrote"
    )
    parser.add_argument(
        "text", metavar="TEXT", nargs="?", help="without it, standard input is read as it comes"
    )
    parser.add_argument(
        "--class",
        dest="label",
        metavar="NAME",
        help="the class to watch (of two the second, of more the likeliest at the end)",
    )
    parser.add_argument("--plain", action="store_true", help="lines of plain text in a terminal, too")
    parser.set_defaults(run=_watch, later="text")


def _watch(options: argparse.Namespace) -> None:
    if options.text is not None:
        text_of(os.fsencode(options.text), "the command line")
    model = open_model(options.model)
    from ..model import Texts

    if not isinstance(model.inputs, Texts):
        raise RunError(f"{model.name} reads sequences of numbers, not texts; watch shows how a text is read")
    label = _label(model, options.label)
    if options.text is None and (model.pads or not model.reads_forward):
        print(f"{model.name} needs the whole text; reading until its end", file=sys.stderr)
        options.text = _whole_text()
    if options.text is None:
        _read_along(model, label, _page(options.plain, live=True))
    else:
        _explain(model, label, options.text, _page(options.plain, live=False))


def _label(model: Model, name: str | None) -> int | None:
    """Return which output to watch; None for the likeliest at the end."""
    names = [] if model.labels is None else list(map(str, model.labels))
    if name is None:
        return {0: 0, 2: 1}.get(len(names))
    if not names:
        raise RunError(f"{model.name} predicts values, not classes; leave --class out")
    if name not in names:
        raise RunError(f"there is no class {name!r}; the classes are {', '.join(names)}")
    return names.index(name)


def _page(plain: bool, *, live: bool) -> _Page:
    """Colours in a terminal where rich is installed, plain lines elsewhere."""
    if plain or not sys.stdout.isatty() or os.environ.get("TERM") == "dumb":
        return PlainPage()
    try:
        from ._watch_rich import RichPage
    except ModuleNotFoundError:
        return PlainPage()
    return RichPage(live=live)


def _explain(model: Model, label: int | None, text: str, page: _Page) -> None:
    from ..model import Texts

    found = model.explain(text)
    assert isinstance(model.inputs, Texts)
    count = len(model.inputs.vocabulary.tokens(text))
    if count > len(found.tokens):
        print(f"{model.name} reads the last {len(found.tokens):,} of {count:,} words", file=sys.stderr)
    last = found.outputs[-1] if len(found.outputs) else found.before
    chosen = int(last.argmax()) if label is None else label
    watched = _watched(model, chosen, float(found.before[chosen]))
    page.begin(watched, _title(model, watched))
    for token, known, output in zip(found.tokens, found.known, found.outputs[:, chosen], strict=True):
        page.word(watched, watched.read(token, known, float(output)))
    page.end(watched)


def _read_along(model: Model, label: int | None, page: _Page) -> None:
    """Read standard input word by word as it comes."""
    from ..model import Texts

    assert isinstance(model.inputs, Texts)
    if label is None:
        names = ", ".join(map(str, model.labels or ()))
        raise RunError(f"which class is to be watched? give --class, one of {names}")
    if sys.stdin.isatty():
        print("reading words as lines are entered; end with Ctrl-D", file=sys.stderr)
    stream = model.stream()
    watched = _watched(model, label, float(model.answers(stream.outputs_of())[0, label]))
    page.begin(watched, _title(model, watched))
    for piece in _words():
        known = [int(id_) != UNKNOWN for id_ in model.inputs.vocabulary.encode(piece)[1:]]
        for (token, outputs), is_known in zip(stream.read(piece), known, strict=True):
            page.word(watched, watched.read(token, is_known, float(model.answers(outputs)[0, label])))
    page.end(watched)


def _watched(model: Model, label: int, before: float) -> Watched:
    if model.labels is None:
        return Watched("value", before, is_share=False)
    return Watched(str(model.labels[label]), before, is_share=True)


def _title(model: Model, watched: Watched) -> str:
    return f"{model.name}: {f'probability of {watched.of}' if watched.is_share else 'value'} after each word"


def _pieces() -> Iterator[str]:
    """Yield standard input as it comes; DataError if it is not UTF-8."""
    decode = codecs.getincrementaldecoder("utf-8")("surrogateescape").decode
    source: Any = sys.stdin.buffer
    while part := source.read1(_BYTES):
        yield _checked(decode(part))
    yield _checked(decode(b"", True))


def _checked(text: str) -> str:
    return text_of(text.encode("utf-8", "surrogateescape"), "standard input")


def _whole_text() -> str:
    """Return standard input, which may be some millions of characters."""
    found = ""
    for piece in _pieces():
        found += piece
        if len(found) > _MOST_CHARACTERS:
            raise RunError(
                f"standard input has more than {_MOST_CHARACTERS:,} characters; give a shorter text"
            )
    return found


def _words() -> Iterator[str]:
    """Yield the words of standard input, each as soon as white space follows it."""
    held = ""
    for piece in _pieces():
        *whole, held = re.split(r"\s+", held + piece)
        yield from filter(None, whole)
        while len(held) > _LONGEST_WORD:
            yield held[:_LONGEST_WORD]
            held = held[_LONGEST_WORD:]
    if held:
        yield held

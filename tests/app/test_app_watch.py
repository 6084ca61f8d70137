"""The command watch: a text word by word, with what the model says after each."""

from __future__ import annotations

import io
import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from ensemble_helpers import ensemble_model
from stepfold import cells
from stepfold.app import _watch
from stepfold.app._watch_rich import RichPage
from stepfold.app._watched import Watched, sparkline
from stepfold.app.cli import main
from stepfold.data import KerasWords
from stepfold.model import (
    BidirectionalLayer,
    DenseLayer,
    EmbeddingLayer,
    Layer,
    Model,
    RecurrentLayer,
    Sequences,
    Texts,
    write_model,
)

WORDS = KerasWords(("good", "bad", "film", "the", "was"))
TEXT = "The film was bad, [bold] zyx good!"


def model(*, both: bool = False, outputs: int = 1, labels: Any = ("no", "yes")) -> Model:
    random = np.random.default_rng(0)
    params = cells.gru.init(4, 6, seed=1)
    layer: Layer = RecurrentLayer(cells.gru, params)
    if both:
        layer = BidirectionalLayer(layer, RecurrentLayer(cells.gru, params, reverse=True))
    kernel = random.normal(0, 2, (12 if both else 6, outputs)).astype(np.float32)
    table = EmbeddingLayer(random.normal(0, 1, (WORDS.size, 4)).astype(np.float32), mask_zero=True)
    last = DenseLayer(kernel, None, "sigmoid" if outputs == 1 else "softmax")
    return Model((table, layer, last), Texts(WORDS, 50), labels, name="small")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    folder = tmp_path_factory.mktemp("models")
    models = {
        "small": model(),
        "both": model(both=True),
        "ensemble": ensemble_model(),
        "three": model(outputs=3, labels=("a", "b", "c")),
        "value": Model(model().layers, Texts(WORDS, 50), None),
        "numbers": Model((DenseLayer(np.ones((2, 1), np.float32)),), Sequences(2), None),
    }
    for name, each in models.items():
        write_model(each, folder / f"{name}.safetensors")
    return SimpleNamespace(**{name: str(folder / f"{name}.safetensors") for name in models})


class Slow(io.RawIOBase):
    """Standard input that comes a few bytes at a time."""

    def __init__(self, text: bytes) -> None:
        self.parts = [text[k : k + 5] for k in range(0, len(text), 5)]

    def read1(self, size: int) -> bytes:
        return self.parts.pop(0) if self.parts else b""


def given(monkeypatch: pytest.MonkeyPatch, text: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=Slow(text), isatty=lambda: False))


def test_an_ensemble_is_watched(files, capsys, monkeypatch):
    found = ensemble_model().explain(TEXT)
    given(monkeypatch, TEXT.encode())
    for arguments in ([files.ensemble, TEXT], [files.ensemble]):
        assert main(["watch", *arguments]) == 0
        out = capsys.readouterr().out
        assert "ensemble: probability of pos after each word" in out
        assert out.endswith(f"\npos: {found.outputs[-1][1]:.3f}\n")


@pytest.mark.parametrize("name", ["small", "both"])
def test_a_text_and_standard_input_say_the_same(name, files, capsys, monkeypatch):
    assert main(["watch", getattr(files, name), TEXT]) == 0
    shown = capsys.readouterr().out
    title, before, *lines = shown.splitlines()
    explained = model(both=name == "both").explain(TEXT)
    assert title == f"{name}: probability of yes after each word"
    assert before.split() == [f"{explained.before[1]:.3f}", *["(before", "the", "first", "word)"]]
    assert [line.split()[2] for line in lines[:7]] == ["the", "film", "was", "bad", "bold", "zyx", "good"]
    for line, output in zip(lines[:7], explained.outputs, strict=True):
        assert float(line.split()[0]) == pytest.approx(output[1], abs=6e-4)
    assert "(not in the vocabulary)" in lines[4]
    assert lines[-1] == f"yes: {explained.outputs[-1, 1]:.3f}"
    assert lines[-3].startswith("up:")
    given(monkeypatch, TEXT.encode())
    assert main(["watch", getattr(files, name)]) == 0
    assert capsys.readouterr().out == shown


def test_the_class_to_watch(files, capsys, monkeypatch):
    explained = model(outputs=3, labels=("a", "b", "c")).explain(TEXT).outputs[-1]
    assert main(["watch", files.three, TEXT]) == 0
    likeliest = "abc"[explained.argmax()]
    assert capsys.readouterr().out.endswith(f"\n{likeliest}: {explained.max():.3f}\n")
    assert main(["watch", files.three, TEXT, "--class", "b"]) == 0
    assert capsys.readouterr().out.endswith(f"\nb: {explained[1]:.3f}\n")
    given(monkeypatch, b"good film")
    for arguments, message in (
        ([files.three, TEXT, "--class", "d"], "there is no class 'd'; the classes are a, b, c"),
        ([files.three], "which class is to be watched? give --class, one of a, b, c"),
        ([files.value, TEXT, "--class", "a"], "value predicts values, not classes; leave --class out"),
        ([files.numbers, TEXT], "numbers reads sequences of numbers, not texts"),
        ([files.small + "x", TEXT], "does not exist; give a model"),
    ):
        assert main(["watch", *arguments]) == 2
        assert message in capsys.readouterr().err


def test_values_texts_without_words_and_input_that_is_no_text(files, capsys, monkeypatch):
    assert main(["watch", files.value, TEXT]) == 0
    assert "value: value after each word" in capsys.readouterr().out
    for text in ("", " ?! "):
        assert main(["watch", files.small, text]) == 0
        assert "up:   no word\ndown: no word\nyes: 0." in capsys.readouterr().out
    given(monkeypatch, b"good \xff film")
    assert main(["watch", files.small]) == 2
    assert "byte 0xff is not UTF-8" in capsys.readouterr().err
    given(monkeypatch, b"\x1b[31mgood\x07 " + b"x" * 25_000)
    assert main(["watch", files.small]) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "\x07" not in out


def test_the_text_may_stand_behind_an_option_and_is_one_text(files, capsys):
    assert main(["watch", files.three, "--class", "b", TEXT]) == 0
    assert capsys.readouterr().out.startswith("three: probability of b")
    assert main(["watch", "--class", "b", files.three, "--plain", "- good"]) == 0
    assert capsys.readouterr().out.count("\n") == 8
    for arguments, message in (
        (["good", "film"], "2 texts, but one is read; put it in quotes: 'good film'"),
        (["--class", "b", "good", "film"], "2 texts, but one is read"),
        (["good", "--clas"], "expected one argument"),
        (["good", "--unknown"], "unrecognized arguments: --unknown"),
    ):
        with pytest.raises(SystemExit) as exit_:
            main(["watch", files.three, *arguments])
        assert exit_.value.code == 2
        assert message in capsys.readouterr().err


def test_long_texts_and_long_words(files, capsys):
    assert main(["watch", files.small, "good film " * 30 + "x" * 99]) == 0
    out, error = capsys.readouterr()
    assert error == "small reads the last 50 of 61 words\n"
    assert out.count("  good\n") + out.count("  film\n") == 49
    assert f"  {'x' * 39}…  (not in the vocabulary)\n" in out


def shown(width: int, *, live: bool = False, **options: Any) -> tuple[str, str]:
    """The page of a terminal as text: without and with its colours."""
    file = io.StringIO()
    console = Console(width=width, force_terminal=True, color_system="256", file=file, record=True, **options)
    page, watched = RichPage(console, live=live), Watched("yes", 0.5, is_share=True)
    page.begin(watched, "small: probability of yes after each word")
    for text, known, after in (
        ("a", True, 0.51),
        ("[b]ad", True, 0.2),
        ("zyx", False, 0.25),
        ("good", True, 0.9),
    ):
        page.word(watched, watched.read(text, known, after))
    page.end(watched)
    return console.export_text(), file.getvalue()


def test_a_terminal_has_colours_numbers_and_a_line():
    plain, coloured = shown(60)
    lines = [line.rstrip() for line in plain.splitlines()]
    assert lines[3:5] == ["a     [b]ad  zyx   good", "51 %  20 %   25 %  90 %"]
    assert [line[:6].strip() for line in lines[6:10]] == ["100 %", "", "", "0 %"]
    assert lines[-3:] == [
        "up    good +65 points   zyx +5 points   a +1 points",
        "down  [b]ad -31 points",
        "yes: 90 %",
    ]
    assert "48;5;" in coloured  # behind the words that moved it strongly
    assert "38;5;" in coloured
    assert all(len(line) <= 20 for line in shown(20)[0].splitlines()[3:9])
    assert "a 51 %  [b]ad 20 %  zyx 25 %  good 90 %" in shown(60, live=True)[0]
    without = shown(60, no_color=True)[1]
    assert "8;5;" not in without


def test_where_there_is_no_terminal_or_no_rich_lines_are_plain(monkeypatch):
    assert type(_watch._page(False, live=False)).__name__ == "PlainPage"
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert type(_watch._page(False, live=False)).__name__ == "RichPage"
    assert type(_watch._page(True, live=False)).__name__ == "PlainPage"
    monkeypatch.delitem(sys.modules, "stepfold.app._watch_rich")
    monkeypatch.setitem(sys.modules, "rich.console", None)
    assert type(_watch._page(False, live=False)).__name__ == "PlainPage"


def test_what_turned_it_and_the_line():
    watched = Watched("yes", 0.5, is_share=True)
    for k, after in enumerate((0.501, 0.7, 0.4, float("nan"), 0.4, 0.41, 0.9)):
        watched.read(f"w{k}", True, after)
    assert [word.text for word in watched.turns(1)] == ["w6", "w1", "w5"]
    assert [word.text for word in watched.turns(-1)] == ["w2"]
    assert sparkline(watched.heights(99)) == "▅▅▆▄▄▄█"
    assert len(watched.heights(3)) == 3

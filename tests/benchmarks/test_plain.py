"""The plain network of the reviews: its second layer reads scores, and the whole on a few texts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from benchmarks import plain
from benchmarks.plain import Classifier, Examples, Reviews, Settings, padded, predict

SETTINGS = Settings(
    embedding=8,
    units=8,
    second_vocabulary=12,
    second_embedding=4,
    second_units=4,
    epochs=10,
    batch_size=8,
    length=9,
)


def few_reviews() -> Reviews:
    random = np.random.default_rng(0)
    texts, labels = [], np.repeat([0, 1], 60)
    for label in labels:
        words = random.choice(["the", "film", "was", "it", "and"], 8).tolist()
        words[random.integers(8)] = ("awful", "splendid")[label]
        texts.append(" ".join(words))
    return Reviews(texts, labels)


def test_padding_does_not_change_a_text() -> None:
    torch.manual_seed(0)
    model = Classifier(12, np.ones(4, np.float32), replace(SETTINGS, units=3))
    texts = [np.arange(2, 2 + n) % 12 for n in (1, 9, 4)]
    alone = np.concatenate([predict(model, [text]) for text in texts])
    np.testing.assert_allclose(predict(model, texts), alone, atol=1e-6)


def test_long_texts_lose_their_middle_and_scores_stay_beside_their_words() -> None:
    texts = [np.arange(2, 14), np.arange(20, 23)]
    scores = np.arange(15.0, dtype=np.float32)[:, None] * np.ones((1, 2), np.float32)
    examples = Examples(texts, np.array([0, 1]), scores, 6)
    rows = np.array([1, 0])
    ids, lengths = padded(examples.texts(rows))
    assert ids[:, 1].tolist() == [0, 2, 3, 10, 11, 12, 13, 0]
    assert lengths.tolist() == [5, 8]
    found = examples.scores(rows).numpy() * examples.deviations
    np.testing.assert_allclose(found[:, 1, 0], [0, 0, 1, 8, 9, 10, 11, 0], atol=1e-5)
    np.testing.assert_allclose(found[:, 0, 0], [0, 12, 13, 14, 0, 0, 0, 0], atol=1e-5)
    assert examples.labels(rows).tolist() == [1, 0]


@pytest.mark.parametrize("teaching", plain.TEACHING)
def test_all_of_it_on_a_few_texts(teaching: str, capsys: pytest.CaptureFixture[str]) -> None:
    reviews = few_reviews()
    settings = replace(SETTINGS, teaching=teaching, rates=(5e-2, 5e-2, 5e-2))
    assert plain.measure(reviews, reviews, settings)["accuracy"] == 1.0
    lines = [line.split() for line in capsys.readouterr().err.splitlines() if line.startswith("epoch")]
    errors = [float(line[5].rstrip(",")) for line in lines]
    assert (errors[-1] < errors[0] / 2) == (teaching != "none")


def test_the_command_keeps_its_figures(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reviews = few_reviews()
    every = SimpleNamespace(texts=reviews.texts, labels=reviews.labels, classes=("negative", "positive"))
    monkeypatch.setattr(plain, "imdb_texts", lambda: every)
    asked = []

    def measure(learnt: Reviews, tests: Reviews, settings: Settings) -> dict[str, float]:
        asked.append((len(learnt.texts), len(tests.texts), tests.labels.tolist(), settings.cell.name))
        return {"accuracy": 0.75}

    monkeypatch.setattr(plain, "measure", measure)
    file, out = tmp_path / "more.jsonl", tmp_path / "kept.json"
    file.write_text('{"text": "splendid", "label": "positive"}\n{"text": "awful", "label": 0}\n')
    for arguments in (["--splits", "b1"], ["--splits", "b1"], ["--test", str(file), "--cell", "lstm"]):
        monkeypatch.setattr("sys.argv", ["plain", *arguments, "--out", str(out)])
        plain.main()
    assert asked == [(96, 24, [0] * 12 + [1] * 12, "multiplicative_gru"), (120, 2, [1, 0], "lstm")]
    assert capsys.readouterr().out.count("mean 0.7500") == 3

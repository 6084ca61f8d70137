"""The plain network of the reviews: language models, the second task, and the whole on a few texts."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.nn import functional

from benchmarks import plain
from benchmarks._language_models import LanguageSettings, _loss, _Sampler, language_models
from benchmarks.plain import Classifier, Settings, predict

LANGUAGE = LanguageSettings(
    vocabulary_size=12, embedding=8, units=8, epochs=2, rows=4, steps=16, common=4, sampled=16
)
SETTINGS = Settings(units=8, epochs=8, batch_size=8, length=9, rates=(1e-1, 1e-1, 1e-1, 1e-1), frozen=5)


def test_a_sample_of_all_words_is_the_softmax() -> None:
    counts = np.arange(1, 13)
    sampler = _Sampler(counts, LanguageSettings(vocabulary_size=12, common=3, sampled=4000))
    wanted = torch.tensor([0, 5, 11, 11, 2])
    words, corrections, place = sampler.draw(wanted, np.random.default_rng(0))
    assert sorted(words.tolist()) == list(range(12))
    torch.manual_seed(0)
    outputs, table, bias = torch.randn(5, 4), torch.randn(12, 4), torch.randn(12)
    found = _loss(outputs, place[wanted], table[words], bias[words], corrections, sampler.common)
    expected = functional.cross_entropy(outputs @ table.T + bias, wanted)
    assert found.item() == pytest.approx(expected.item(), abs=2e-2)  # words are missing with some 1e-20


def test_the_share_of_a_sample_makes_up_for_the_words_that_are_left_out() -> None:
    counts = np.arange(1, 301)
    sampler = _Sampler(counts, LanguageSettings(vocabulary_size=300, common=10, sampled=60))
    random, values = np.random.default_rng(0), np.random.default_rng(1).uniform(0, 1, 300)
    totals = []
    for _ in range(400):
        words, corrections, _ = sampler.draw(torch.tensor([0]), random)
        many = len(corrections)
        totals.append(float((torch.from_numpy(values)[words[:many]] * corrections.exp()).sum()))
    assert np.mean(totals) == pytest.approx(values.sum(), rel=0.02)


def test_language_models_learn_what_follows(capsys: pytest.CaptureFixture[str]) -> None:
    texts = [np.array([3, 4, 5, 6] * 6, np.int64) for _ in range(8)]
    found = language_models(texts, replace(LANGUAGE, epochs=30, learning_rate=6e-2))
    assert found.table.shape == (12, 8)
    losses = [float(line.split()[5].rstrip(",")) for line in capsys.readouterr().err.splitlines()]
    assert losses[0] > 1.3 > 1.0 > losses[-1]  # log(4) without the order


def test_padding_does_not_change_a_text() -> None:
    torch.manual_seed(0)
    model = Classifier(12, 4, Settings(units=3))
    texts = [np.arange(2, 2 + n) % 12 for n in (1, 9, 4)]
    alone = np.concatenate([predict(model, [text]) for text in texts])
    np.testing.assert_allclose(predict(model, texts), alone, atol=1e-6)


def test_all_of_it_on_a_few_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    texts, labels = [], np.repeat([0, 1], 60)
    for label in labels:
        words = random.choice(["the", "film", "was", "it", "and"], 8).tolist()
        words[random.integers(8)] = ("awful", "splendid")[label]
        texts.append(" ".join(words))
    monkeypatch.setattr(plain, "imdb_texts", lambda: SimpleNamespace(texts=texts, labels=labels))
    for language in (LANGUAGE, None):
        assert plain.measure(1, language, SETTINGS)["accuracy"] == 1.0

import os
import signal
import subprocess
import sys
import warnings

import numpy as np
import pytest

pytest.importorskip("sklearn")
pytest.importorskip("keras")

from stepfold.estimators._ensemble._ensemble import EvidenceEnsemble
from stepfold.estimators._ensemble._examples import Member, TextsWithEvidence, batches
from stepfold.estimators._ensemble._tokens import UNKNOWN, EncodedTexts
from stepfold.estimators._ensemble._training import LinearSchedule, best_shift
from stepfold.keras import SlowPathWarning

WORDS = [("good", "great"), ("bad", "poor"), ("strange", "odd")]
# Keras's own saving of variables does not know the newest argument of __array__ yet.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword")

SMALL = (
    Member(seed=0, epochs=2, embedding=4, units=4, batch_size=8, learning_rate=0.02),
    Member(seed=1, epochs=1, embedding=4, units=4, batch_size=8, add_logit=False),
)


def corpus(classes, texts=48, seed=0):
    random = np.random.default_rng(seed)
    labels = np.arange(texts) % classes
    made = [
        " ".join([*random.choice(["the", "film", "is", "wörd", "."], 6), *random.choice(WORDS[k], 2)])
        for k in labels
    ]
    return made, labels


def encoded():
    return EncodedTexts(np.array([2, 3, 9, 4, 5, 6, 7, 8, 2], np.int32), np.array([0, 2, 2, 8, 9]))


def test_long_texts_keep_their_first_and_last_tokens():
    side = np.arange(9, dtype=np.float32)[:, None]
    examples = TextsWithEvidence.cut(
        encoded(), side, np.zeros((4, 1), np.float32), vocabulary_size=6, length=3
    )
    np.testing.assert_array_equal(examples.ids, [2, 3, UNKNOWN, UNKNOWN, UNKNOWN, 2])
    np.testing.assert_array_equal(examples.channels[:, 0], [0, 1, 2, 6, 7, 8])
    np.testing.assert_array_equal(examples.offsets, [0, 2, 2, 5, 6])


def test_padding_is_on_the_right():
    side = np.arange(9, dtype=np.float32)[:, None] + 1
    logits = np.arange(4, dtype=np.float32)[:, None]
    examples = TextsWithEvidence.cut(encoded(), side, logits, vocabulary_size=10, length=9)
    ids, channels, found = examples.padded(np.array([3, 1, 0]), 4)
    np.testing.assert_array_equal(ids, [[2, 0, 0, 0], [0, 0, 0, 0], [2, 3, 0, 0]])
    np.testing.assert_array_equal(channels[:, :, 0], [[9, 0, 0, 0], [0, 0, 0, 0], [1, 2, 0, 0]])
    np.testing.assert_array_equal(found, [[3], [1], [0]])


def test_batches_hold_every_text_once():
    lengths = np.random.default_rng(0).integers(0, 1500, 101)
    found = list(batches(lengths, 8))
    np.testing.assert_array_equal(np.sort(np.concatenate([rows for rows, _ in found])), np.arange(101))
    assert all(lengths[rows].max() <= width for rows, width in found)


def test_the_learning_rate_rises_and_falls():
    schedule = LinearSchedule(0.1, warm_up=10, steps=110, last=0.3)
    rates = [float(schedule(step)) for step in (0, 9, 59, 109)]
    np.testing.assert_allclose(rates, [0.01, 0.1, 0.065, 0.03], rtol=1e-5)


def test_the_shift_makes_mean_probabilities_the_shares_of_classes():
    random = np.random.default_rng(0)
    labels = random.integers(0, 3, 500)
    logits = (2 * np.eye(3)[labels] + random.normal(size=(500, 3)) + [1, 0, -1]).astype(np.float32)
    shifted = np.exp(logits + best_shift(logits, labels))
    shares = (shifted / shifted.sum(axis=1, keepdims=True)).mean(axis=0)
    np.testing.assert_allclose(shares, np.bincount(labels) / 500, atol=1e-4)
    one = logits[:, 1:2]
    shares = (1 / (1 + np.exp(-one - best_shift(one, labels == 1)))).mean()
    np.testing.assert_allclose(shares, (labels == 1).mean(), atol=1e-4)
    assert np.isfinite(best_shift(np.ones((4, 1), np.float32), np.ones(4))).all()


@pytest.mark.slow
@pytest.mark.parametrize("classes", [2, 3])
def test_a_saved_ensemble_gives_the_same_logits(classes, tmp_path):
    texts, labels = corpus(classes)
    ensemble = EvidenceEnsemble(SMALL, vocabulary_size=30, jobs=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error", SlowPathWarning)
        ensemble.fit(texts, labels, classes)
    logits = ensemble.predict_logits(texts)
    assert logits.shape == (len(texts), 1 if classes == 2 else classes)
    probabilities = ensemble.predict_proba(texts)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
    assert np.mean(probabilities.argmax(axis=1) == labels) > 0.9
    ensemble.save(tmp_path)
    again = EvidenceEnsemble.load(tmp_path)
    np.testing.assert_allclose(again.predict_logits(texts), logits, rtol=1e-5, atol=1e-5)
    assert not list(tmp_path.glob("part-*"))


@pytest.mark.slow
def test_members_side_by_side_are_those_in_turn(capfd):
    texts, labels = corpus(2)
    in_turn = EvidenceEnsemble(SMALL, vocabulary_size=30, jobs=1).fit(texts, labels, 2)
    side_by_side = EvidenceEnsemble(SMALL, vocabulary_size=30, jobs=2).fit(texts, labels, 2)
    np.testing.assert_allclose(side_by_side.predict_logits(texts), in_turn.predict_logits(texts), atol=0.03)
    assert "network 2: epoch 1, loss" in capfd.readouterr().err


LONG = """
import numpy as np
from stepfold.estimators._ensemble._ensemble import EvidenceEnsemble
from stepfold.estimators._ensemble._examples import Member

members = [Member(seed=seed, epochs=10000, embedding=4, units=4, batch_size=8) for seed in range(2)]
texts = ["a good film", "a bad film"] * 30
EvidenceEnsemble(members, vocabulary_size=30, jobs=2).fit(texts, np.arange(60) % 2, 2)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="asks /proc for the processes")
def test_an_interrupted_training_leaves_no_process():
    with subprocess.Popen([sys.executable, "-c", LONG], stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        assert any(b"epoch 1," in line for line in process.stderr)
        with open(f"/proc/{process.pid}/task/{process.pid}/children") as file:
            children = [int(child) for child in file.read().split()]
        assert len(children) >= 2, "a process for each network"
        process.send_signal(signal.SIGINT)
        assert b"KeyboardInterrupt" in process.stderr.read()
        process.wait(timeout=30)
    for child in children:
        with pytest.raises(ProcessLookupError):
            os.kill(child, 0)


def test_a_folder_of_something_else_is_refused(tmp_path):
    (tmp_path / "ensemble.json").write_text("[1]")
    with pytest.raises(ValueError, match="is no ensemble; take the folder that save wrote"):
        EvidenceEnsemble.load(tmp_path)

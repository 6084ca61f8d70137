import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import warnings

import numpy as np
import pytest

pytest.importorskip("sklearn")
pytest.importorskip("keras")

import stepfold
from stepfold.estimators._ensemble._ensemble import EvidenceEnsemble
from stepfold.estimators._ensemble._evidence import NgramEvidence
from stepfold.estimators._ensemble._examples import Member, TextsWithEvidence, batches
from stepfold.estimators._ensemble._tokens import EncodedTexts, ReviewVocabulary
from stepfold.estimators._ensemble._training import LinearSchedule, best_shift
from stepfold.keras import SlowPathWarning
from stepfold.model.ngrams import UNKNOWN

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


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Return the folder of an ensemble whose networks were not trained."""
    folder = tmp_path_factory.mktemp("ensemble")
    texts, labels = corpus(2)
    ensemble = EvidenceEnsemble([SMALL[1]], vocabulary_size=30)
    ensemble._vocabulary, ids = ReviewVocabulary.learn(texts)
    ensemble._evidence = NgramEvidence(ensemble._vocabulary)
    ensemble._evidence.fit_transform(ids, labels, 2)
    ensemble._channels, ensemble._scores = ensemble._evidence.channels, 1
    ensemble._networks = [ensemble._network(SMALL[1])]
    ensemble.save(folder)
    np.testing.assert_allclose(
        EvidenceEnsemble.load(folder).predict_logits(texts), ensemble.predict_logits(texts), atol=1e-6
    )
    return folder


@pytest.mark.parametrize("classes", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_as_a_model_it_says_the_same(classes, tmp_path):
    texts, labels = corpus(classes)
    ensemble = EvidenceEnsemble(SMALL, vocabulary_size=8, length=20)
    ensemble._vocabulary, ids = ReviewVocabulary.learn(texts)
    assert ensemble._vocabulary.size > 8, "some words have no row in the tables"
    ensemble._evidence = NgramEvidence(ensemble._vocabulary, block=2)
    ensemble._evidence.fit_transform(ids, labels, classes)
    ensemble._channels, ensemble._scores = ensemble._evidence.channels, ensemble._evidence.scores
    ensemble._networks = [ensemble._network(member) for member in SMALL]
    random = np.random.default_rng(0)
    for network in ensemble._networks:
        network.set_weights([random.normal(0, 0.5, each.shape) for each in network.get_weights()])
    others = [*texts[:5], "", "the", "unheard of", "It isn't GOOD, 7 / 10... odd film", " ".join(texts[:9])]
    model = ensemble.to_model(range(classes), "best")
    expected = ensemble.predict_proba(others)
    np.testing.assert_allclose(model.predict_proba(others), expected, atol=1e-5)
    assert np.ptp(expected[:, 0]) > 0.1
    assert model.labels == tuple(range(classes))
    stepfold.export(model, tmp_path / "best.safetensors")
    found = stepfold.load(tmp_path / "best.safetensors").predict_proba(others)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    explanation = model.explain(others[-1])
    np.testing.assert_allclose(explanation.outputs[-1], expected[-1], atol=1e-5)
    with pytest.raises(ValueError, match=r"layer 1 \(ensemble\) of best reads from the last timestep"):
        model.stream()


def test_a_network_without_evidence_is_no_part_of_a_model(saved):
    ensemble = EvidenceEnsemble.load(saved)
    ensemble._members = [dataclasses.replace(ensemble._members[0], evidence=False)]
    with pytest.raises(ValueError, match="without evidence cannot be a part of a Model; train it with"):
        ensemble.to_model(range(2), "best")


def cut(file):
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def flipped(file):
    raw = bytearray(file.read_bytes())
    raw[len(raw) // 2] ^= 255
    file.write_bytes(raw)


def setting(*path, value):
    def change(file):
        stored = json.loads(file.read_text(encoding="utf-8"))
        place = stored
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = value
        file.write_text(json.dumps(stored), encoding="utf-8")

    return change


def array(name, change):
    def changed(file):
        with np.load(file) as stored:
            arrays = dict(stored)
        arrays[name] = change(arrays[name])
        np.savez(file, **{key: value for key, value in arrays.items() if value is not None})

    return changed


@pytest.mark.parametrize(
    ("name", "damage", "message"),
    [
        ("ensemble.json", lambda file: file.write_text("[1]"), "is no ensemble of this version; take"),
        ("ensemble.json", cut, "is damaged or cut short ("),
        ("ensemble.json", setting("length", value="9"), "'length' is '9', not a positive integer"),
        ("ensemble.json", setting("members", value=[]), "'members' is [], not a list of settings"),
        (
            "ensemble.json",
            setting("members", 0, "units", value=True),
            "'units' of network 1 is True, not",
        ),
        ("ensemble.json", setting("members", 0, "cell", value=3), "'cell' of network 1 is 3, not str | None"),
        ("ensemble.json", setting("members", 0, "x", value=3), "network 1 has other settings than seed, ep"),
        ("ensemble.json", setting("vocabulary_size", value=9), "it has ids below 11, they have 9"),
        ("words.json", lambda file: file.unlink(), "words.json is missing"),
        ("words.json", lambda file: file.write_text("{}"), "is damaged: it is no list of words"),
        ("words.json", setting(0, value="film"), "is damaged: a word is in it twice"),
        ("evidence.npz", lambda file: file.unlink(), "evidence.npz is missing"),
        ("evidence.npz", cut, "evidence.npz is damaged or cut short (File is not a zip file)"),
        ("evidence.npz", flipped, "evidence.npz is damaged"),
        (
            "evidence.npz",
            array("bias", lambda a: None),
            "its arrays are marked.keys1, marked.keys2",
        ),
        ("evidence.npz", array("ratios", lambda a: a[1:]), "'ratios' is float32 ("),
        ("evidence.npz", array("weights", lambda a: a * np.nan), "'weights' has values that are no finite"),
        ("evidence.npz", array("words.keys1", lambda a: a[::-1]), "'words.keys1' is no row of ascending"),
        ("evidence.npz", array("words.vocabulary_size", lambda a: a + 1), "with another vocabulary than one"),
        ("network1.keras", lambda file: file.unlink(), "network1.keras is missing"),
        ("network1.keras", cut, "network1.keras is damaged or cut short (File is not a zip file)"),
        ("network1.keras", flipped, "network1.keras is damaged"),
    ],
)
def test_what_is_damaged_is_named(saved, tmp_path, name, damage, message):
    folder = shutil.copytree(saved, tmp_path / "ensemble")
    damage(folder / name)
    with pytest.raises(ValueError) as caught:
        EvidenceEnsemble.load(folder)
    assert message in str(caught.value)
    assert "they have" in message or str(folder / name) in str(caught.value)

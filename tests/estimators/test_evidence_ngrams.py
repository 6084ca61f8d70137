import numpy as np
import pytest

pytest.importorskip("sklearn")

from stepfold.estimators._ensemble._evidence import NgramEvidence, folded
from stepfold.estimators._ensemble._ngrams import Groups, learn_ngrams
from stepfold.estimators._ensemble._tokens import ReviewVocabulary

WORDS = [("good", "great", "fine"), ("bad", "poor", "dull"), ("strange", "odd", "weird")]


def corpus(classes, texts=60, seed=0):
    random = np.random.default_rng(seed)
    labels = np.arange(texts) % classes
    common = [f"word{k}" for k in range(20)]
    made = []
    for label in labels:
        words = [*random.choice(common, 8), *random.choice(WORDS[label], 2)]
        random.shuffle(words)
        made.append(" ".join(words))
    return made, labels


def test_equal_ngrams_have_equal_features_and_different_ones_have_not():
    random = np.random.default_rng(1)
    ids, offsets = random.integers(1, 7, 400).astype(np.int32), np.arange(0, 401, 20)
    groups = Groups(np.arange(20), np.arange(20) % 4, 4)
    table, features, counts = learn_ngrams(ids, offsets, groups, 3, 7)
    seen = {}
    for at in range(400):
        for n in range(1, 4):
            begin = at - n + 1
            gram = tuple(ids[begin : at + 1].tolist())
            if begin < at // 20 * 20 or 1 in gram:  # 1 is the unknown word
                assert features[at, n - 1] == -1
            else:
                seen.setdefault(gram, []).append((at, features[at, n - 1]))
    numbers = []
    for found in seen.values():
        blocks = {at // 20 for at, _ in found}
        assert len({number for _, number in found}) == 1
        number = found[0][1]
        assert (number == -1) == (len(blocks) < 2)
        if number >= 0:
            numbers.append(number)
            assert counts[number].tolist() == [sum(b % 4 == g for b in blocks) for g in range(4)]
    assert sorted(numbers) == list(range(table.size))
    np.testing.assert_array_equal(table.features(ids, offsets), features)


def test_blocks_are_consecutive_texts_of_a_class_and_folds_whole_blocks():
    labels = np.array([0, 1] * 100)
    groups, fold = folded(labels, 2, folds=5, block=4)
    for block in np.unique(groups.block):
        rows = np.flatnonzero(groups.block == block)
        assert len(rows) == 4
        assert len(set(labels[rows])) == len(set(fold[rows])) == 1
        assert rows[-1] - rows[0] == 6
    assert np.bincount(fold).tolist() == [40] * 5


def test_tiny_classes_have_folds():
    labels = np.array([0, 0, 0, 1, 1, 1])
    groups, fold = folded(labels, 2, folds=5, block=10)
    assert len(np.unique(groups.block)) == 6
    assert fold.max() < 5


@pytest.mark.parametrize("classes", [2, 3])
def test_evidence_tells_the_classes_apart(classes):
    texts, labels = corpus(classes)
    vocabulary, encoded = ReviewVocabulary.learn(texts)
    evidence = NgramEvidence(vocabulary)
    found = evidence.fit_transform(encoded, labels, classes)
    scores = 1 if classes == 2 else classes
    assert found.channels.shape == (len(encoded.ids), 10 * scores) == (len(encoded.ids), evidence.channels)
    assert found.channels.dtype == found.logits.dtype == np.float32
    assert found.logits.shape == (len(texts), scores)
    others, expected = corpus(classes, seed=5)
    logits = evidence.transform(vocabulary.encode(others)).logits
    chosen = logits[:, 0] > 0 if classes == 2 else logits.argmax(axis=1)
    assert np.mean(chosen == expected) > 0.9


def test_a_texts_evidence_does_not_know_its_own_label():
    texts, labels = corpus(2, texts=100)
    vocabulary, encoded = ReviewVocabulary.learn(texts)
    before = NgramEvidence(vocabulary).fit_transform(encoded, labels, 2)
    _, fold = folded(labels, 2, 5, 10)
    inside = np.flatnonzero(fold == 2)
    pairs = inside.reshape(-1, 2)  # neighbours of either class, in the file's order
    turned = labels.copy()
    turned[pairs] = labels[pairs[:, ::-1]]
    assert (turned != labels).sum() == len(inside)
    # which n-grams there are depends on blocks and so on labels; their scores in the fold may not
    after = NgramEvidence(vocabulary).fit_transform(encoded, turned, 2)
    _, fold_after = folded(turned, 2, 5, 10)
    assert (fold_after == fold).all()
    rows = np.repeat(fold == 2, encoded.lengths)
    np.testing.assert_array_equal(after.channels[rows, 0], before.channels[rows, 0])
    # the regression is solved up to a tolerance
    np.testing.assert_allclose(after.channels[rows, 1], before.channels[rows, 1], atol=0.02)
    assert np.abs(after.channels[~rows, 0] - before.channels[~rows, 0]).max() > 0.2


def test_channels_follow_from_the_counts_of_blocks():
    texts, labels = corpus(2, texts=100)
    vocabulary, encoded = ReviewVocabulary.learn(texts)
    found = NgramEvidence(vocabulary).fit_transform(encoded, labels, 2)
    groups, fold = folded(labels, 2, 5, 10)
    at = int(np.flatnonzero(encoded.ids == vocabulary.encode(["good"]).ids[0])[0])
    own = fold[np.searchsorted(encoded.offsets, at, "right") - 1]
    holding = {groups.block[k] for k, text in enumerate(texts) if "good" in text.split() and fold[k] != own}
    counts = [sum(groups.group[block] % 2 == label for block in holding) for label in (0, 1)]
    expected = np.log((counts[1] + 3) / (counts[0] + 3))
    assert found.channels[at, 0] == pytest.approx(expected, rel=1e-5)


def test_the_order_of_interleaved_classes_is_kept():
    texts, labels = corpus(2, texts=100)
    order = np.argsort(labels, kind="stable")
    vocabulary, encoded = ReviewVocabulary.learn(texts)
    mixed = NgramEvidence(vocabulary).fit_transform(encoded, labels, 2)
    parted = NgramEvidence(vocabulary).fit_transform(encoded.take(order), labels[order], 2)
    np.testing.assert_allclose(mixed.logits[order], parted.logits, atol=1e-3)


@pytest.mark.parametrize(
    ("texts", "labels", "classes"),
    [
        ([""] * 6, [0, 1] * 3, 2),
        (["a b", "c d"], [0, 1], 2),
        (["a b c"] * 6, [0] * 6, 2),
        (["a b c", "d e f"] * 6, [0, 1] * 6, 3),
        (["a b c", *["d e f"] * 20], [0] + [1] * 20, 2),
    ],
    ids=["no words", "two texts", "one class", "a class without texts", "a class of one text"],
)
def test_little_to_learn_from_gives_finite_evidence(texts, labels, classes):
    vocabulary, encoded = ReviewVocabulary.learn(texts)
    evidence = NgramEvidence(vocabulary)
    found = evidence.fit_transform(encoded, np.array(labels), classes)
    assert np.isfinite(found.channels).all()
    assert np.isfinite(found.logits).all()
    assert found.channels.shape == (len(encoded.ids), evidence.channels)
    assert np.isfinite(evidence.transform(vocabulary.encode(["a b", "", "unknown"])).logits).all()


def test_ngrams_that_are_as_common_in_every_class_say_nothing():
    texts = ["same words good"] * 20 + ["same words bad"] * 180
    labels = np.array([0] * 20 + [1] * 180)
    vocabulary, encoded = ReviewVocabulary.learn(texts)
    evidence = NgramEvidence(vocabulary)
    evidence.fit_transform(encoded, labels, 2)
    common, good, bad = evidence.transform(vocabulary.encode(["same", "good", "bad"])).channels[:, 0]
    assert common == pytest.approx(0, abs=0.05)
    assert good < -1 < 0.05 < bad


def test_evidence_as_arrays():
    texts, labels = corpus(3)
    vocabulary, encoded = ReviewVocabulary.learn(texts)
    evidence = NgramEvidence(vocabulary)
    evidence.fit_transform(encoded, labels, 3)
    again = NgramEvidence.from_arrays(vocabulary, evidence.to_arrays())
    for one, other in zip(evidence.transform(encoded), again.transform(encoded), strict=True):
        np.testing.assert_array_equal(one, other)

"""Words, ids, padding and the split, against Keras's own where Keras has them."""

import json
from collections import Counter

import numpy as np
import pytest

from stepfold.data import DataError, KerasWords, Vocabulary, encode_all, pad, split, tokenise

TEXTS = ["The cat, the dog;\tand THE bird!", "A dog <br /><br />barks...", "état d'Été\nthe end"]


def test_words_are_split_at_keras_separators_and_single_spaces_only():
    assert tokenise('a!b"c#d$e%f&g(h)i*j+k,l-m.n/o:p;q<r=s>t?u@v[w\\x]y^z_1`2{3|4}5~6\t7\n8  9') == [
        bytes([c]) for c in b"abcdefghijklmnopqrstuvwxyz123456789"
    ]
    assert tokenise("it's one\x0bword\rand\u00a0more") == [
        b"it's",
        "one\x0bword\rand\u00a0more".encode(),
    ]


def test_only_ascii_becomes_lower_case():
    assert tokenise("ÉTÉ Is HOT") == ["ÉtÉ".encode(), b"is", b"hot"]


def test_ids_count_from_four_by_descending_frequency_and_first_appearance():
    sequences, vocabulary = encode_all(TEXTS, 10000)
    counted = Counter(word for text in TEXTS for word in tokenise(text)).most_common()
    assert vocabulary.words == tuple(word.decode() for word, _ in counted)
    assert vocabulary.words[:2] == ("the", "dog")
    assert sequences[0].tolist() == [
        1,
        4,
        vocabulary.words.index("cat") + 4,
        4,
        5,
        *sequences[0].tolist()[5:],
    ]
    assert [sequence.tolist() for sequence in sequences] == [
        vocabulary.encode(text).tolist() for text in TEXTS
    ]
    assert all(sequence.dtype == np.int32 for sequence in sequences)


def test_every_id_is_below_the_vocabulary_size():
    sequences, vocabulary = encode_all(TEXTS, 6)
    assert vocabulary.words == ("the", "dog")
    assert vocabulary.size == 6
    assert sequences[1].tolist() == [1, 2, 5, 2, 2, 2]


def test_a_vocabulary_is_stored_as_json(tmp_path):
    _, vocabulary = encode_all([*TEXTS, 'quote " back \\ \ud800'], 10000)
    path = tmp_path / "vocabulary.json"
    path.write_text(vocabulary.to_json(), encoding="utf-8")
    assert Vocabulary.load(path) == vocabulary
    assert vocabulary.decode(vocabulary.encode("the DOG swims")) == "<start> the dog <unknown>"


def test_an_id_outside_the_vocabulary_is_named():
    vocabulary = KerasWords(("good", "bad"))
    for id_ in (6, -1):
        with pytest.raises(
            DataError, match=rf"id {id_} is outside the vocabulary: ids run from 0 to 5; encode"
        ):
            vocabulary.decode([4, id_])


@pytest.mark.parametrize("content", ["", "[]", '{"format": "other", "words": []}', '{"words": ["a"]', '"x"'])
def test_a_file_that_is_no_vocabulary_is_refused(tmp_path, content):
    path = tmp_path / "vocabulary.json"
    path.write_text(content)
    with pytest.raises(DataError, match=r"vocabulary\.json holds no vocabulary \(.*\); take the one"):
        Vocabulary.load(path)
    path.write_text(json.dumps({"format": "stepfold vocabulary 1", "words": [1]}))
    with pytest.raises(DataError, match="holds no vocabulary"):
        Vocabulary.load(path)


def test_texts_without_words_are_refused():
    with pytest.raises(DataError, match="no words at all; check which column holds the text"):
        encode_all(["...", "", "?"], 100)


def test_padding_is_on_the_left_of_the_last_words():
    sequences = [np.array(ids, np.int32) for ids in ([1, 5], [1, 5, 6, 7, 8], [1, 5, 6])]
    assert pad(sequences, 3).tolist() == [[0, 1, 5], [6, 7, 8], [1, 5, 6]]
    assert pad(sequences, 3).dtype == np.int32
    with pytest.raises(DataError, match="length must be at least 1, got 0"):
        pad(sequences, 0)


def test_the_split_is_stratified_shuffled_and_complete():
    labels = np.array([0] * 50 + [1] * 30 + [2] * 2, np.int32)
    train, held = split(labels, "abc", seed=3)
    assert sorted([*train, *held]) == list(range(82))
    assert np.bincount(labels[held]).tolist() == [10, 6, 1]
    assert np.any(np.diff(labels[train]) < 0), "the classes must be mixed"
    again, _ = split(labels, "abc", seed=3)
    other, _ = split(labels, "abc", seed=4)
    assert again.tolist() == train.tolist() != other.tolist()


def test_a_class_that_cannot_be_split_is_named():
    with pytest.raises(
        DataError, match="class 'b' has 1 text, too few to train on one and validate on another"
    ):
        split(np.array([0, 0, 1], np.int32), "ab", seed=0)
    with pytest.raises(DataError, match="all 3 texts carry the same label, 'a'; a classifier needs two"):
        split(np.array([0, 0, 0], np.int32), "a", seed=0)


def test_of_too_many_different_words_the_rarest_are_forgotten(monkeypatch):
    monkeypatch.setattr("stepfold.data._keras_words._MOST_COUNTED", 50)
    texts = [f"the cat once{k} twice{k // 2} the" for k in range(200)]
    assert KerasWords.learn(texts, 6).words == ("the", "cat")
    assert len(KerasWords.learn(texts, 10_000).words) <= 54

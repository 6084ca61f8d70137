"""Vocabularies for any language: how texts are split, what is learnt, how it is stored."""

import json
import random
import sys
import unicodedata
from pathlib import Path

import numpy as np
import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st

from stepfold.data import (
    VOCABULARIES,
    DataError,
    KerasWords,
    Ragged,
    ReviewWords,
    Subwords,
    UnicodeWords,
    Vocabulary,
    unknown_share,
    vocabulary_from_json,
)
from stepfold.data._unicode import _WORD, _splitter, normalise
from stepfold.data._words import split_words

TEXTS = [
    "Der Ärger war groß, „toll“ war es nicht!",
    "ÄRGER? Toll, toll – GROSS und 'toll'.",
    "この映画は良い。",
    "映画が好き！ it’s FINE 😀👍🏽 it's",
    "c'est l'été, naïve e-mail 7/10 der_die",
]
KINDS = [KerasWords, UnicodeWords, Subwords]


def test_unicode_words_agree_whatever_their_case_and_quotes():
    words = UnicodeWords.learn(TEXTS, 1000)
    assert words.tokens("Ärger ärger ÄRGER „toll“ »Toll« 'toll' groß GROSS") == [
        *("ärger", "ärger", "ärger", "toll", "toll", "toll", "gross", "gross")
    ]
    assert words.tokens("it’s it's IT'S") == ["it's"] * 3
    assert words.tokens("ﬁne Ａ１ 7/10 der_die e-mail") == [
        "fine",
        "a1",
        "7",
        "10",
        "der",
        "die",
        "e",
        "mail",
    ]
    assert words.tokens("No!! 😀 (so-so): …") == ["no", "!", "!", "😀", "so", "so"]
    assert words.tokens("e\u0301te\u0301") == ["été"], "composed and decomposed letters agree"
    assert words.words[:2] == ("toll", "!") or words.words[:2] == ("!", "toll")


def test_scripts_without_spaces_are_split_by_character():
    words = UnicodeWords.learn(TEXTS, 1000)
    assert words.tokens("この映画は良い。 スマホ 안녕 ไทย") == [*"この映画は良いスマホ", "안녕", *"ไทย"]
    ids = words.encode("映画")
    assert ids[0] == 1
    assert np.all(ids[1:] >= 4), "characters that were seen have ids"


@pytest.mark.parametrize("kind", KINDS)
def test_what_every_vocabulary_promises(kind):
    vocabulary = kind.learn(TEXTS, 200)
    assert isinstance(vocabulary, Vocabulary)
    assert vocabulary.size == 4 + len(vocabulary.words) <= 200
    ids = vocabulary.encode_all(TEXTS)
    assert isinstance(ids, Ragged)
    assert ids.values.dtype == np.int32
    for text, row in zip(
        [*TEXTS, "", "Ω unseen ?"], [*ids, *vocabulary.encode_all(["", "Ω unseen ?"])], strict=True
    ):
        assert row.tolist() == vocabulary.encode(text).tolist()
        assert row[0] == 1
        assert len(vocabulary.tokens(text)) == len(row) - 1
        assert row.max() < vocabulary.size
    assert vocabulary.encode("").tolist() == [1]
    assert vocabulary_from_json(vocabulary.to_json()) == vocabulary
    assert VOCABULARIES[kind.kind] is kind
    assert kind.learn(TEXTS, 200) == vocabulary, "learning is the same every time"
    with pytest.raises(
        DataError, match=rf"id {vocabulary.size} is outside the vocabulary: ids run from 0 to"
    ):
        vocabulary.decode([vocabulary.size])
    with pytest.raises(DataError, match="no words at all; check which column holds the text"):
        kind.learn(["...", ""], 100)
    with pytest.raises(
        DataError, match="a vocabulary of 4 ids has no room for words: the first 4 are special"
    ):
        kind.learn(TEXTS, 4)


def test_the_vocabulary_of_reviews():
    words = ReviewWords.learn(["It isn't good, 7 / 10... it isn't", "<br />GOOD!!!"], 8)
    assert words.words == ("it", "isn't", "good", ",")
    assert words.tokens("Isn't it 9/10?!") == ["isn't", "it", "9/10", "?", "!"]
    assert words.encode("Isn't it 9/10?!").tolist() == [1, 5, 4, 2, 2, 2]
    assert [row.tolist() for row in words.encode_all(["", "good it"])] == [[1], [1, 6, 4]]
    assert vocabulary_from_json(words.to_json()) == words
    assert VOCABULARIES["reviews"] is ReviewWords
    with pytest.raises(DataError, match="no words at all; check which column holds the text"):
        ReviewWords.learn([" ", ""], 100)
    halves = ReviewWords.learn(["a \ud800 b \udc00c"], 100)
    assert halves.encode("\ud800 b").tolist() == [1, 5, 6]
    assert vocabulary_from_json(halves.to_json()) == halves


@pytest.mark.parametrize("kind", KINDS)
def test_halves_of_surrogate_pairs_are_no_crash(kind):
    vocabulary = kind.learn(["a \ud800 b \udc00c"], 100)
    assert vocabulary.encode("\ud800 b").dtype == np.int32
    assert vocabulary_from_json(vocabulary.to_json()) == vocabulary


def test_special_marks_in_a_text_are_words():
    for kind in KINDS[1:]:
        vocabulary = kind.learn(["<start> <padding> start padding"], 100)
        assert np.all(vocabulary.encode("<start> <padding>")[1:] >= 4)


def test_ids_are_below_the_size_and_the_commonest_words_have_them():
    words = UnicodeWords.learn(["b b c a a", "d"], 6)
    assert words.words == ("a", "b"), "words of equal count by their spelling"
    assert words.encode("a b c").tolist() == [1, 4, 5, 2]
    assert words.decode(words.encode("A b C")) == "<start> a b <unknown>"


def test_subwords_make_rare_words_of_pieces():
    texts = ["unlikely likely unhappy happy unhappily"] * 5 + ["映画館 映画 映画"] * 5
    subwords = Subwords.learn(texts, 90)
    assert subwords.tokens("Unlikely")[0] == "unlikely"
    pieces = subwords.tokens("unhappiest 映画")
    assert len(pieces) > 2
    assert "##" in "".join(pieces)
    assert subwords.decode(subwords.encode("UNHAPPY unlikely, happyhappy 映画")) == (
        "<start> unhappy unlikely happyhappy 映画"
    )
    assert subwords.decode(subwords.encode("happy Ω happy")) == "<start> happy <unknown> happy"
    assert "▁映画" in subwords.words, "runs without spaces are learnt from"


def test_the_share_of_unknown_words():
    words = UnicodeWords(("a", "b"))
    ids = words.encode_all(["a b c", "c d", ""])
    assert unknown_share(ids) == 3 / 5
    assert unknown_share(ids, [0, 2]) == 1 / 3
    assert unknown_share(ids, [2]) == 0


def test_many_ids_go_to_a_file_without_a_name(tmp_path, monkeypatch):
    monkeypatch.setattr("stepfold.data._growing._IN_MEMORY", 1000)
    words = UnicodeWords(("a", "b"))
    texts = ["a b c " * (k % 7) for k in range(5000)]
    in_memory, in_file = words.encode_all(texts), words.encode_all(texts, tmp_path)
    assert np.array_equal(in_memory.values, in_file.values)
    assert np.array_equal(in_memory.offsets, in_file.offsets)
    assert not in_file.values.flags.owndata
    assert not in_file.values.flags.writeable
    assert list(tmp_path.iterdir()) == []
    assert in_file.padded([0, 4999], 3).tolist() == in_memory.padded([0, 4999], 3).tolist()
    with pytest.raises(
        DataError, match=r"cannot write .* MB of word ids to a file in .*nowhere: No such file"
    ):
        words.encode_all(texts, tmp_path / "nowhere")


def test_a_full_disk_is_named(monkeypatch):
    monkeypatch.setattr("stepfold.data._growing._IN_MEMORY", 1000)
    full = Path("/dev/full")
    monkeypatch.setattr(
        "stepfold.data._growing.tempfile.TemporaryFile", lambda dir: full.open("wb", buffering=0)
    )
    with pytest.raises(DataError, match=r"word ids to a file in there: No space left on device; make room"):
        UnicodeWords(("a",)).encode_all(["a b c"] * 1000, "there")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"kind": "morphemes"}, "its kind is none of keras, words, subwords"),
        ({"kind": ["words"]}, "its kind is none of"),
        ({"words": "ab"}, "its words are no list of at most 5,000,000 texts"),
        ({"words": {"a": 1}}, "its words are no list"),
        ({"words": ["a", 1]}, "one of its words is no text of at most 65,536 characters"),
        ({"words": ["a", "b" * 100_000]}, "one of its words is no text of at most"),
        ({"words": ["a", "a"]}, "a word stands in it twice"),
        ({"words": ["a", "\ud800"]}, "one of its words is no valid Unicode"),
        ({"words": ["a", "<unknown>"]}, "one of its words is the name of a special id"),
        ({"merges": None}, "its merges are no list"),
        ({"merges": [["a", "b"]] * 99}, "or more than its words"),
        ({"merges": [["a", "b"]]}, "one of its merges is no pair of words that make a third"),
        ({"merges": [["a"]]}, "one of its merges is no pair"),
        ({"merges": [["a", 2]]}, "one of its merges is no pair"),
        ({"format": 1}, "its format is not 'stepfold vocabulary 1'"),
    ],
)
def test_stored_vocabularies_with_wrong_contents_are_named(change, reason):
    stored = json.loads(Subwords.learn(["a b"], 100).to_json())
    with pytest.raises(
        DataError, match=rf"^the text holds no vocabulary \(.*{reason}.*\); take the one"
    ) as caught:
        vocabulary_from_json(json.dumps(stored | change))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "[" * 200_000, "9" * 100_000, '"x"', "null", "{}"])
def test_stored_vocabularies_that_are_none_are_named(text, tmp_path):
    with pytest.raises(DataError, match="holds no vocabulary"):
        vocabulary_from_json(text)


def test_an_absurdly_long_file_is_not_read_whole(tmp_path, monkeypatch):
    monkeypatch.setattr("stepfold.data._stored._LONGEST_FILE", 2**20)
    path = tmp_path / "vocabulary.json"
    path.write_bytes(b" " * (2**20 + 1))
    with pytest.raises(DataError, match=r"holds no vocabulary \(it has more than 1 MiB\)"):
        Vocabulary.load(path)
    with pytest.raises(DataError, match=r"cannot read .*none: No such file"):
        Vocabulary.load(tmp_path / "none")


def test_of_very_long_texts_an_even_sample_is_learnt_from(monkeypatch):
    monkeypatch.setattr("stepfold.data._unicode._LEARNT_CHARACTERS", 100)
    texts = [f"common only{k}" for k in range(100)]  # every twelfth of these 1,290 characters
    assert UnicodeWords.learn(texts, 1000).words == (
        "common",
        *sorted(f"only{k}" for k in range(0, 100, 13)),
    )


def test_texts_that_can_be_read_once_only_are_refused():
    for kind in KINDS[1:]:
        with pytest.raises(
            TypeError, match="texts must be a list, or something else that can be iterated over"
        ):
            kind.learn(iter(TEXTS), 100)


ASSIGNED = [
    chr(code)
    for code in range(sys.maxunicode + 1)
    if unicodedata.category(chr(code)) not in ("Cn", "Cs") and chr(code) not in "▁"
]
SPLITTER = _splitter(_WORD)


def library_words(text):
    return [word for word, _ in SPLITTER.pre_tokenize_str(text)]


@pytest.mark.slow
@pytest.mark.skipif(
    tuple(map(int, unicodedata.unidata_version.split("."))) > (16, 0, 0),
    reason="this Python knows characters that the library does not",
)
def test_every_character_is_split_as_by_the_library():
    mixed = random.Random(0).sample(ASSIGNED, len(ASSIGNED))
    text = "".join(c + d for c, d in zip(mixed, "a' ก́!" * len(mixed), strict=False))
    parts = [text[k : k + 4096] for k in range(0, len(text), 4096)]
    assert [split_words(part) for part in parts] == [library_words(part) for part in parts]


FAMILIAR = "aZé'’!? ,-▁ー々ไทยำ်ကក្映画カ゛ﬁß́̈😀🏽‍\u3099\uff9e七½²ǅ\n"


@given(st.text(st.sampled_from(FAMILIAR), max_size=20))
def test_words_of_difficult_texts_are_those_of_the_library(text):
    words = UnicodeWords(("a", "é", "映", "!"))
    assert words.tokens(text) == library_words(normalise(text))
    unknown = tokenizers.models.WordLevel({"?": 2, "a": 4, "é": 5, "映": 6, "!": 7}, unk_token="?")
    library = tokenizers.Tokenizer(unknown)
    library.pre_tokenizer = SPLITTER
    ids = [
        2 if each == "?" else words.words.index(each) + 4 if each in words.words else 2
        for each in words.tokens(text)
    ]
    assert words.encode(text).tolist() == [1, *ids]
    assert library.encode(normalise(text)).ids == ids

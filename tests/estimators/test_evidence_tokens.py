import numpy as np

from stepfold.data import review_tokens
from stepfold.estimators._ensemble._tokens import EncodedTexts, ReviewVocabulary
from stepfold.model.ngrams import FIRST_WORD, UNKNOWN, in_scope


def test_tokens_of_a_review():
    text = "Isn't BAD... 7 / 10!!! Well-made<br /><br />(really?) 80s, 1,000.50 ****"
    assert review_tokens(text) == [
        "isn't", "bad", "…", "7/10", "!!", "well", "-", "made", "(", "really", "?", ")", "80s", ",",
        "1,000.50", "****",
    ]  # fmt: skip


def test_tokens_of_other_languages():
    assert review_tokens("Ärger, „toll“! Straße") == ["ärger", ",", "„", "toll", "“", "!", "strasse"]
    assert review_tokens("良い映画。") == ["良", "い", "映", "画", "。"]
    assert review_tokens("हिन्दी फ़िल्म") == ["हिन्दी", "फ़िल्म"]
    assert review_tokens("Привет, МИР") == ["привет", ",", "мир"]


def test_a_text_that_is_ascii_has_the_same_tokens_as_one_that_is_not():
    text = "It's 3/10: don't... see it -- EVER!! :( mp3"
    assert review_tokens(text + " ä") == [*review_tokens(text), "ä"]


def test_the_vocabulary_counts_and_encodes():
    texts = ["good good film", "bad film", "film once"]
    vocabulary, encoded = ReviewVocabulary.learn(texts)
    assert vocabulary.words == ("film", "good")
    np.testing.assert_array_equal(encoded.ids, [3, 3, 2, UNKNOWN, 2, 2, UNKNOWN])
    np.testing.assert_array_equal(encoded.offsets, [0, 3, 5, 7])
    again = vocabulary.encode(texts)
    np.testing.assert_array_equal(again.ids, encoded.ids)
    np.testing.assert_array_equal(again.offsets, encoded.offsets)
    assert vocabulary.encode([]).ids.shape == (0,)
    assert vocabulary.encode(["", "film"]).offsets.tolist() == [0, 0, 1]


def test_rows_of_a_stream():
    encoded = EncodedTexts(np.arange(2, 8, dtype=np.int32), np.array([0, 1, 1, 4, 6]))
    taken = encoded.take(np.array([3, 1, 0]))
    np.testing.assert_array_equal(taken.ids, [6, 7, 2])
    np.testing.assert_array_equal(taken.offsets, [0, 2, 2, 3])


def test_negations_mark_five_tokens_up_to_punctuation_or_the_end():
    texts = ["it is not a good film , really", "i don't like this long slow dull film", "no", "good"]
    vocabulary, encoded = ReviewVocabulary.learn(texts, at_least=1)
    marked = in_scope(encoded.ids, encoded.offsets, vocabulary.negations, vocabulary.stops)
    words = [vocabulary.words[k - FIRST_WORD] for k in encoded.ids]
    assert [word for word, mark in zip(words, marked, strict=True) if mark] == [
        "a", "good", "film", "like", "this", "long", "slow", "dull",
    ]  # fmt: skip

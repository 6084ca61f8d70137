"""Data sets: labelled texts and sequences of numbers from files, vocabularies, ragged storage and splits."""

from ._corpus import Corpus, pad
from ._errors import DataError, text_of
from ._imdb import imdb_texts, load_imdb
from ._keras_words import KerasWords, encode_all, tokenise
from ._labels import labels_for
from ._ragged import Ragged
from ._review_words import ReviewWords, review_tokens
from ._sequence_stream import stream_sequences
from ._sequences import load_sequences
from ._split import split, split_blocks
from ._stored import VOCABULARIES, vocabulary_from_json
from ._table import Texts, TextTable, load_table, open_table
from ._targets import LabelledSequences
from ._unicode import Subwords, UnicodeWords
from ._vocabulary import FIRST_WORD, PADDING, START, UNKNOWN, Vocabulary, unknown_share

__all__ = [
    "FIRST_WORD",
    "PADDING",
    "START",
    "UNKNOWN",
    "VOCABULARIES",
    "Corpus",
    "DataError",
    "KerasWords",
    "LabelledSequences",
    "Ragged",
    "ReviewWords",
    "Subwords",
    "TextTable",
    "Texts",
    "UnicodeWords",
    "Vocabulary",
    "encode_all",
    "imdb_texts",
    "labels_for",
    "load_imdb",
    "load_sequences",
    "load_table",
    "open_table",
    "pad",
    "review_tokens",
    "split",
    "split_blocks",
    "stream_sequences",
    "text_of",
    "tokenise",
    "unknown_share",
    "vocabulary_from_json",
]

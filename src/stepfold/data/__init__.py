"""Data sets of labelled texts: IMDB's reviews and a user's own tables, as word ids."""

from ._corpus import Corpus, pad, split
from ._errors import DataError, text_of
from ._imdb import load_imdb
from ._table import load_table
from ._vocabulary import FIRST_WORD, PADDING, START, UNKNOWN, Vocabulary, encode_all, tokenise

__all__ = [
    "FIRST_WORD",
    "PADDING",
    "START",
    "UNKNOWN",
    "Corpus",
    "DataError",
    "Vocabulary",
    "encode_all",
    "load_imdb",
    "load_table",
    "pad",
    "split",
    "text_of",
    "tokenise",
]

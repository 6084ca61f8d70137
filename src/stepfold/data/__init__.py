"""Data sets of labelled texts: IMDB's reviews and a user's own tables, as word ids."""

from stepfold.data._corpus import Corpus, pad, split
from stepfold.data._errors import DataError
from stepfold.data._imdb import load_imdb
from stepfold.data._table import load_table
from stepfold.data._words import FIRST_WORD, PADDING, START, UNKNOWN, Vocabulary, encode_all, tokenise

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
    "tokenise",
]

"""N-grams as evidence: what is looked up and added up of them, for models and for the training of `best`.

Wang & Manning (2012), "Baselines and bigrams: simple, good sentiment and topic classification".
"""

from ._scores import Evidence, NgramScores, channels_of
from ._tables import (
    FIRST_WORD,
    NONE,
    PADDING,
    UNKNOWN,
    Integers,
    Ngrams,
    candidates,
    first_and_last,
    in_scope,
    numbered,
)

__all__ = [
    "FIRST_WORD",
    "NONE",
    "PADDING",
    "UNKNOWN",
    "Evidence",
    "Integers",
    "NgramScores",
    "Ngrams",
    "candidates",
    "channels_of",
    "first_and_last",
    "in_scope",
    "numbered",
]

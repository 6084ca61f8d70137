"""The presets best and plain: n-gram evidence, and recurrent networks that read it, or tell it from words.

``_tokens`` knows the words, ``_ngrams`` and ``_evidence`` learn what n-grams speak for (how texts become
tokens is in ``stepfold.data``, what n-grams say of them in ``stepfold.model.ngrams``), ``_network`` and
``_training`` are one network that reads evidence, ``_tagger`` is one that tells it, ``_side_by_side`` trains
several in processes; ``_ensemble`` is the whole of best, ``_plain`` that of plain, which imports Keras.
"""

from ._ensemble import MEMBERS, EvidenceEnsemble
from ._examples import Member, Tagger

__all__ = ["MEMBERS", "EvidenceEnsemble", "Member", "Tagger"]

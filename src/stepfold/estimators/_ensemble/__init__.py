"""The preset best: n-gram evidence, and recurrent networks that read it beside the words.

``_tokens`` knows the words, ``_ngrams`` and ``_evidence`` learn what n-grams speak for (how texts become
tokens is in ``stepfold.data``, what n-grams say of them in ``stepfold.model.ngrams``), ``_network`` and
``_training`` are one network, ``_side_by_side`` trains several in processes, ``_ensemble`` is the whole.
"""

from ._ensemble import MEMBERS, EvidenceEnsemble
from ._examples import Member

__all__ = ["MEMBERS", "EvidenceEnsemble", "Member"]

"""The preset best: n-gram evidence, and recurrent networks that read it beside the words.

``_tokens`` cuts texts into tokens, ``_ngrams`` and ``_evidence`` say what n-grams speak for, ``_network``
and ``_training`` are one network, ``_side_by_side`` trains several in processes, ``_ensemble`` is the whole.
"""

from ._ensemble import MEMBERS, EvidenceEnsemble
from ._examples import Member
from ._tokens import tokenise

__all__ = ["MEMBERS", "EvidenceEnsemble", "Member", "tokenise"]

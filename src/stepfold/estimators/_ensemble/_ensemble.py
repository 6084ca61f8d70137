"""The preset `best`: n-gram evidence, and networks that read it, trained side by side and averaged."""

import dataclasses
import json
import os
import sys
import time
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..._processors import processors
from ...model import Model
from ...model.ngrams import Evidence
from ._evidence import NgramEvidence
from ._examples import Member, TextsWithEvidence
from ._side_by_side import Part, train_parts
from ._stored import (
    EVIDENCE,
    FORMAT,
    SETTINGS,
    WORDS,
    network_file,
    read_evidence,
    read_network,
    read_settings,
    read_vocabulary,
)
from ._tokens import EncodedTexts, ReviewVocabulary

MEMBERS = (
    Member(seed=0, epochs=3, cell="lstm", add_logit=True),
    Member(seed=1, epochs=4, cell="gru", add_logit=False),
)
"""Two of different kinds, which train for as long: the regression with a recurrent correction, and a network
that weighs the n-grams itself."""


class EvidenceEnsemble:
    """A classifier of texts: the mean of recurrent networks that see words and what n-grams say about them.

    Args:
        members: the networks' settings.
        vocabulary_size: ids below it have an embedding: those of the commonest words.
        length: of longer texts the networks see the first and last tokens; n-grams are taken from the whole.
        seed: is added to every member's.
        jobs: how many networks are trained at a time, each in a process with one thread; None: one a
            processor.
    """

    def __init__(
        self,
        members: Sequence[Member] = MEMBERS,
        *,
        vocabulary_size: int = 4000,
        length: int = 1000,
        seed: int = 0,
        jobs: int | None = None,
    ) -> None:
        self._members = [dataclasses.replace(member, seed=member.seed + seed) for member in members]
        self._vocabulary_size, self._length, self._jobs = vocabulary_size, length, jobs

    def fit(
        self,
        texts: Iterable[str],
        labels: NDArray[np.integer[Any]],
        classes: int,
        keep: Path | None = None,
        verbose: int = 1,
    ) -> "EvidenceEnsemble":
        """Learn from texts.

        Texts about the same thing (a film, a product) should stand together, as in the reviews' own order:
        they are then counted and left out together. Progress is written to standard error; an interruption
        stops the training.

        Args:
            texts: read once.
            labels: (texts,) integers below `classes`.
            classes: their number, two at least.
            keep: a folder for networks that are done, which are not trained again; None for none.
            verbose: 0 for no lines of progress on standard error.
        """
        jobs = self._jobs or processors()
        began = time.perf_counter()
        self._vocabulary, encoded = ReviewVocabulary.learn(texts)
        self._evidence = NgramEvidence(self._vocabulary, jobs=jobs)
        found = self._evidence.fit_transform(encoded, labels, classes)
        examples = self._cut(encoded, found)
        line = f"n-grams of {len(labels):,} texts, {time.perf_counter() - began:.0f} s"
        if verbose:
            print(line, file=sys.stderr, flush=True)
        self._channels, self._scores = found.channels.shape[1], found.logits.shape[1]
        parts = [Part(member, self._embedded) for member in self._members]
        self.trained = train_parts(parts, examples, labels, self._scores, jobs, keep, verbose)
        self._networks = [self._network(member) for member in self._members]
        for network, trained in zip(self._networks, self.trained, strict=True):
            network.set_weights(trained.weights)
        return self

    @property
    def cells(self) -> list[str]:
        """The names of the members' cells, each once."""
        return list(dict.fromkeys(member.cell for member in self._members if member.cell is not None))

    @property
    def scores(self) -> int:
        """The number of logits: one for two classes, else one a class."""
        return self._evidence.scores

    @property
    def networks(self) -> list[Any]:
        """The members as Keras models, see `evidence_network`."""
        return self._networks

    def predict_logits(self, texts: Iterable[str]) -> NDArray[np.float32]:
        """Return logits: (texts, 1), that of the second of two classes, or (texts, classes)."""
        from ._training import predict_logits

        examples = self._examples(texts)
        logits = [
            predict_logits(network, examples, member)
            for network, member in zip(self._networks, self._members, strict=True)
        ]
        return np.asarray(np.mean(logits, axis=0), np.float32)

    def evidence_logits(self, texts: Iterable[str]) -> NDArray[np.float32]:
        """Return the logits of the n-grams' regression alone, shaped as those of `predict_logits`."""
        return self._examples(texts).logits

    def _examples(self, texts: Iterable[str]) -> TextsWithEvidence:
        encoded = self._vocabulary.encode(texts)
        found = self._evidence.transform(encoded)
        return self._cut(encoded, found)

    def _cut(self, encoded: EncodedTexts, found: Evidence) -> TextsWithEvidence:
        return TextsWithEvidence.cut(
            encoded, found.channels, found.logits, self._vocabulary_size, self._length
        )

    def predict_proba(self, texts: Iterable[str]) -> NDArray[np.float32]:
        """Return each class's probability, (texts, classes)."""
        logits = self.predict_logits(texts)
        if logits.shape[1] == 1:
            logits = np.concatenate((np.zeros_like(logits), logits), axis=1)
        shares = np.exp(logits - logits.max(axis=1, keepdims=True))
        return np.asarray(shares / shares.sum(axis=1, keepdims=True), np.float32)

    def to_model(self, labels: Iterable[Any], name: str) -> Model:
        """Return the classifier as data that runs without Keras; `labels` are its classes."""
        from ._to_model import ensemble_model

        return ensemble_model(
            self._vocabulary.words,
            self._evidence.ngrams,
            zip(self._members, self._networks, strict=True),
            embedded=self._embedded,
            length=self._length,
            labels=labels,
            name=name,
        )

    def save(self, folder: str | Path) -> None:
        """Write settings, vocabulary, n-grams and a ``.keras`` file a network into an existing folder."""
        from .._network import save_network

        folder = Path(folder)
        settings = {
            "format": FORMAT,
            "vocabulary_size": self._vocabulary_size,
            "length": self._length,
            "members": [dataclasses.asdict(member) for member in self._members],
        }
        _replace(folder / SETTINGS, lambda part: part.write_text(json.dumps(settings, indent=1)))
        words = json.dumps(self._vocabulary.words, ensure_ascii=False)
        _replace(folder / WORDS, lambda part: part.write_text(words, encoding="utf-8"))
        arrays: Any = self._evidence.to_arrays()
        _replace(folder / EVIDENCE, lambda part: np.savez_compressed(part, **arrays))
        for k, network in enumerate(self._networks):
            _replace(network_file(folder, k), partial(save_network, network))

    @classmethod
    def load(cls, folder: str | Path) -> "EvidenceEnsemble":
        """Return the classifier that `save` wrote.

        Raises:
            ValueError: a file is missing, damaged, or does not belong to the others.
        """
        folder = Path(folder)
        members, vocabulary_size, length = read_settings(folder)
        found = cls(members, vocabulary_size=vocabulary_size, length=length)
        found._vocabulary = read_vocabulary(folder)
        found._evidence = read_evidence(folder, found._vocabulary)
        found._channels, found._scores = found._evidence.channels, found._evidence.scores
        found._networks = []
        for k, member in enumerate(members):
            channels = found._channels if member.evidence else 0
            file = network_file(folder, k)
            found._networks.append(read_network(file, found._embedded, channels, found._scores))
        return found

    @property
    def _embedded(self) -> int:
        return min(self._vocabulary_size, self._vocabulary.size)

    def _network(self, member: Member) -> Any:
        from ._training import make_network

        return make_network(member, self._embedded, self._channels, self._scores)


def _replace(path: Path, write: Any) -> None:
    part = path.with_name(f"part-{path.name}")
    write(part)
    os.replace(part, path)

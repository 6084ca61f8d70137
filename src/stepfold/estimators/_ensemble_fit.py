"""Fits the ensemble of the preset ``best`` for a ``TextClassifier``."""

from __future__ import annotations

import dataclasses
import hashlib
import time
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from ..data import Ragged, Vocabulary
from ._base import RecurrentEstimator
from ._batches import Examples, pair_of
from ._callbacks import interruptible
from ._checked_texts import CheckedTexts
from ._classes import Classifying
from ._ensemble import MEMBERS, EvidenceEnsemble, Member
from ._forked import check_process
from ._run import RunError, RunFolder
from ._settings import EnsembleSettings, resolve
from ._stored_values import seed_begun_with
from ._taught import OF_NETWORKS, check_taught, interruption_message, judged

_OF_ENSEMBLE = ("vocabulary_size", "length")


def _new_ensemble(settings: EnsembleSettings, seed: int) -> EvidenceEnsemble:
    """Return the ensemble that settings describe."""
    members: list[Member] = []
    for k, member in enumerate(MEMBERS):
        values = {name: getattr(settings, name) for name in OF_NETWORKS}
        values |= {name: values[name][k] for name in settings.one_a_network}
        members.append(dataclasses.replace(member, **values))
    sizes = {name: getattr(settings, name) for name in _OF_ENSEMBLE}
    return EvidenceEnsemble(members, seed=seed, **sizes)


class EnsembleFitting(Classifying, RecurrentEstimator):
    """The part of a ``TextClassifier`` that knows the preset "best"."""

    def fit(
        self,
        X: Any,
        y: Any,
        *,
        validation_data: tuple[Any, Any] | None = None,
        folder: str | Path | None = None,
        resume: bool = False,
    ) -> Self:
        """Fit the network to texts and their labels; see ``RecurrentEstimator.fit``.

        With the preset "best", texts about the same thing (a film, a product) should stand side by side, as
        the reviews do: n-grams are counted by such neighbourhoods.
        """
        if self.preset != "best":
            return super().fit(X, y, validation_data=validation_data, folder=folder, resume=resume)
        return self._fit_ensemble(X, y, validation_data, folder, resume)

    def _fit_ensemble(
        self,
        X: Any,
        y: Any,
        validation_data: tuple[Any, Any] | None,
        folder: str | Path | None,
        resume: bool,
    ) -> Self:
        check_process()
        check_taught(self.preset, self._given())
        settings: Any = resolve(self._settings_kind, self._defaults(), self._given())
        run = self._run_of(folder, resume)
        self._forget()
        self.seed_ = seed = self._seed()
        if run is not None and resume:
            self.seed_ = seed = seed_begun_with(run, self.random_state, seed)
        ensemble = _new_ensemble(settings, seed)
        texts, targets = list(CheckedTexts(X)), self._learn_classes(y)
        if len(texts) != len(targets):
            raise ValueError(f"inconsistent numbers of samples: {len(texts)} texts but {len(targets)} labels")
        every = Examples(Ragged(targets, np.arange(len(targets) + 1)), targets)  # for the split
        rows, held = self._split(every, settings, seed, validation_data is not None)
        rows, held = np.sort(rows), np.sort(held)
        self.settings_: Any = settings
        self.vocabulary_: Vocabulary | None = None
        self.vocabulary_size_ = 0
        digest = _digest(texts, targets)
        if run is not None:
            self._begin(run, digest, resume)
            run.members.mkdir(exist_ok=True)
        source, checked = [texts[row] for row in held], targets[held]
        if validation_data is not None:
            texts_held, given = pair_of(validation_data)
            source = list(CheckedTexts(texts_held))
            checked, held = self._encode_targets(given), np.arange(len(source))
            if len(source) != len(checked):
                raise ValueError(f"validation_data has {len(source)} inputs but {len(checked)} targets")
        began = time.perf_counter()
        chosen = [texts[row] for row in rows]
        with interruptible(interruption_message(run)):
            ensemble.fit(
                chosen, targets[rows], len(self.classes_), None if run is None else run.members, self.verbose
            )
        seconds = round(time.perf_counter() - began, 2)
        self.network_ = ensemble
        self.history_ = _history_of(ensemble)
        self.results_ = {
            "loss": round(self.history_["loss"][-1], 4),
            "best_epoch": len(self.history_["loss"]),
            "epochs": len(self.history_["loss"]),
            "seconds": seconds,
            "seconds_per_epoch": round(seconds / len(self.history_["loss"]), 2),
            "parameters": _parameters_of(ensemble),
            "training_examples": len(rows),
            "held_out": len(held),
            "split": settings.split if validation_data is None else "given",
        }
        if len(held):
            self._judge_ensemble(source, checked, held)
        else:
            self.example_ = self._example(chosen, 0, targets[rows[0]])
        if run is not None:
            self._save_network(run)
            self._write(run, digest)
        return self

    def _judge_ensemble(self, texts: list[str], targets: NDArray[np.int32], rows: NDArray[np.int64]) -> None:
        """Keep what a report shows of the held-out texts."""
        self.evaluation_ = self._evaluation(self._network_output(texts), targets, rows)
        self.results_.update(judged(self.evaluation_))
        self.mistakes_ = {k: texts[k] for k in self.evaluation_.mistakes}
        shown = next((k for k, text in self.mistakes_.items() if 200 < len(text) < 1200), 0)
        self.example_ = self._example(texts, shown, targets[shown])

    def _network_output(self, X: Any) -> NDArray[np.float32]:
        check_is_fitted(self, "network_")
        if not isinstance(self.network_, EvidenceEnsemble):
            return super()._network_output(X)
        check_process()
        texts = list(CheckedTexts(X))
        if not texts:
            return np.zeros((0, self._outputs()), np.float32)
        found: NDArray[np.float32] = self.network_.predict_proba(texts)
        return found[:, 1:] if len(self.classes_) == 2 else found

    def _save_network(self, run: RunFolder) -> None:
        if not isinstance(self.network_, EvidenceEnsemble):
            super()._save_network(run)
            return
        run.members.mkdir(exist_ok=True)
        self.network_.save(run.members)
        for file in run.members.glob("network*.npz"):  # what fit would have gone on from
            file.unlink()

    def _load_network(self, run: RunFolder) -> Any:
        return _load_ensemble(run, self._outputs()) if self.preset == "best" else super()._load_network(run)


def _history_of(ensemble: EvidenceEnsemble) -> dict[str, list[float]]:
    """Return the mean over the networks of each epoch's loss, and the seconds that they took together."""
    epochs = max(len(each.losses) for each in ensemble.trained)
    losses = [np.mean([t.losses[k] for t in ensemble.trained if k < len(t.losses)]) for k in range(epochs)]
    seconds = [sum(t.seconds[k] for t in ensemble.trained if k < len(t.seconds)) for k in range(epochs)]
    return {"loss": [float(loss) for loss in losses], "seconds": [round(float(s), 3) for s in seconds]}


def _load_ensemble(run: RunFolder, scores: int) -> EvidenceEnsemble:
    """Return the ensemble of a run; ``RunError`` if it is missing, damaged, or has other outputs."""
    cure = "copy the folder again from where the model was trained, or train again (--overwrite)"
    if not (run.members / "ensemble.json").exists():
        raise RunError(
            f"{run.path} holds no model yet: it was not trained to the end; "
            "continue with resume=True (--resume)"
        )
    try:
        ensemble = EvidenceEnsemble.load(run.members)
    except ValueError as error:
        raise RunError(f"{error}; {cure}") from None
    if ensemble.scores != scores:
        raise RunError(
            f"{run.members} and {run.config} do not belong together: the networks have {ensemble.scores} "
            f"outputs, the classes {scores}; {cure}"
        )
    return ensemble


def _parameters_of(ensemble: EvidenceEnsemble) -> int:
    """Return the number of trainable values of all networks."""
    return sum(int(np.prod(v.shape)) for network in ensemble.networks for v in network.trainable_variables)


def _digest(texts: list[str], targets: NDArray[np.int32]) -> str:
    """Return a digest of texts and targets."""
    state = hashlib.blake2b(targets.tobytes(), digest_size=16)
    for text in texts:
        state.update(text.encode("utf-8", "surrogatepass") + b"\0")
    return state.hexdigest()

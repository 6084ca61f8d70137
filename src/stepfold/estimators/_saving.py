"""Writing an estimator to a folder and reading it back, as data without code."""

from __future__ import annotations

import json
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, Self

import keras
from sklearn.utils.validation import check_is_fitted

from ..cells import as_cell
from ._network import load_network, save_network
from ._parameters import Parameters, weights_for_json
from ._run import RunError, RunFolder
from ._settings import Settings, changeable, resolve
from ._stored_values import stored_history, stored_seed


class SavedEstimator(Parameters):
    """The part of an estimator that knows its folder."""

    # What a class below says.

    @property
    def _settings_kind(self) -> type[Settings]:
        return Settings

    def _learnt(self) -> dict[str, Any]:
        """Return what was learnt before the network, for JSON."""
        raise NotImplementedError

    def _restore(self, learnt: dict[str, Any], run: RunFolder) -> None:
        """Take back what ``_learnt`` returned."""
        raise NotImplementedError

    def _save_network(self, run: RunFolder) -> None:
        run.write(run.model, partial(save_network, self.network_))

    def _load_network(self, run: RunFolder) -> Any:
        return load_network(run.model)

    def _save_vocabulary(self, run: RunFolder) -> None:
        """Write the vocabulary, if there is one."""

    def save(self, folder: str | Path, *, overwrite: bool = True) -> None:
        """Write the fitted estimator to a folder, which ``load`` reads. Nobody's code is in it.

        Raises:
            RunError: the folder holds other files, or a saved estimator and ``overwrite`` is False.
            NotFittedError: the estimator was not fitted.
        """
        check_is_fitted(self, "network_")
        run = RunFolder(folder)
        run.begin(overwrite=overwrite)
        run.clear()
        self._save_network(run)
        self._write(run, None)

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Return the estimator that ``save``, or ``fit`` with a folder, left there.

        Raises:
            RunError: no saved estimator, one of another class, or a damaged file.
            DataError: a damaged vocabulary.
        """
        run = RunFolder(folder)
        config = run.read_config()
        if config["estimator"] != cls.__name__:
            raise RunError(
                f"{run.path} holds a {config['estimator']}, not a {cls.__name__}; load it with that class"
            )
        try:
            strange = config["parameters"].keys() - cls().get_params().keys()
            if strange:
                raise ValueError(f"there is no parameter {min(strange)[:40]!r}")
            estimator = cls(**config["parameters"])
            if isinstance(estimator.cell, str) and estimator.cell.startswith("{"):
                estimator.cell = as_cell(estimator.cell)
            estimator.settings_ = resolve(estimator._settings_kind, config["settings"], {})
        except (KeyError, TypeError, ValueError) as error:
            raise RunError(f"{run.config} is damaged or of another version ({error}); train again") from None
        estimator.history_, estimator.results_ = stored_history(config, run)
        if (seed := stored_seed(config, run)) is not None:
            estimator.seed_ = seed
        estimator._restore(config, run)
        network = estimator._load_network(run)
        if isinstance(network, keras.Model) and (reason := estimator._misfit(network)):
            raise RunError(
                f"{run.model} and {run.config} do not belong together: {reason}; "
                "copy both from where the model was trained, or train again (--overwrite)"
            )
        estimator.network_ = network
        return estimator

    def _misfit(self, network: Any) -> str:
        """Return in which way a loaded network differs from what was learnt before it; "" if in none."""
        raise NotImplementedError

    def _begin(self, run: RunFolder, digest: str, resume: bool) -> None:
        """Prepare the run's folder before training."""
        if resume:
            begun = run.read_config()
            self._check_settings(begun["settings"], run)
            if begun.get("digest") != digest:
                raise RunError(
                    f"the examples differ from those that {run.path} was begun with; give the same data, "
                    "or begin another run in another folder (--out)"
                )
            self._write(run, digest)
            return
        run.begin(overwrite=True)
        made = run.clear()
        try:
            self._write(run, digest)
        except RunError:
            run.clear()
            run.remove_empty(made)
            raise

    def _check_settings(self, begun: dict[str, Any], run: RunFolder) -> None:
        """Refuse to go on with other settings than those that a run was begun with."""
        now: dict[str, Any] = json.loads(json.dumps(self._settings_for_json()))
        for name in sorted(now.keys() - changeable(getattr(self, "preset", None))):
            if now[name] != begun.get(name):
                raise RunError(
                    f"the run in {run.path} was begun with {name}={str(begun.get(name))[:60]}, not "
                    f"{str(now[name])[:60]}; give the same, or begin another run in another folder (--out)"
                )

    def _settings_for_json(self) -> dict[str, Any]:
        return {**asdict(self.settings_), "class_weight": weights_for_json(self.settings_.class_weight)}

    def _write(self, run: RunFolder, digest: str | None) -> None:
        self._save_vocabulary(run)
        run.write_config(
            {
                "estimator": type(self).__name__,
                "parameters": self._parameters_for_json(),
                "settings": self._settings_for_json(),
                **self._learnt(),
                "digest": digest,
                "seed": getattr(self, "seed_", None),
                "history": getattr(self, "history_", {}),
                "results": getattr(self, "results_", {}),
            }
        )

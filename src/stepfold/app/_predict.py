"""Predicts the label and the probability of texts with a trained model."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..data import Vocabulary, pad
from ._model import load
from ._run import RunError, RunFolder
from ._settings import Settings


class Prediction(NamedTuple):
    """The likeliest class of a text and its probability."""

    label: str
    probability: float


def predict(run: RunFolder, texts: Sequence[str]) -> list[Prediction]:
    """Return the prediction of a run's saved model for each text.

    Raises:
        RunError: no run, a damaged model, or a run that was trained on ids without their words.
        DataError: a damaged vocabulary.
    """
    config = run.read_config()
    classes = config["classes"]
    length = Settings.from_dict(config["settings"]).length
    if not run.vocabulary.exists():
        raise RunError(
            f"{run.path} was trained on word ids alone, so it cannot read a text: "
            "put imdb_word_index.json beside imdb.npz and train again"
        )
    vocabulary = Vocabulary.load(run.vocabulary)
    if vocabulary.size != config["size"]:
        raise RunError(
            f"{run.vocabulary} has ids up to {vocabulary.size - 1} but the model up to {config['size'] - 1}: "
            "the ids of one are outside the other; copy the vocabulary from where the model was trained"
        )
    model = load(run)
    scores = np.asarray(model.predict(pad([vocabulary.encode(text) for text in texts], length), verbose=0))
    if scores.shape[1] == 1:
        scores = np.concatenate((1 - scores, scores), axis=1)
    likeliest = scores.argmax(axis=1)
    return [Prediction(classes[k], float(row[k])) for k, row in zip(likeliest, scores, strict=True)]

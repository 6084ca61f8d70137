"""Trains a text classifier: reads the data, builds the model, runs Keras's loop, fills the run's folder."""

import contextlib
import hashlib
import json
import math
import sys
from typing import Any

from ..data import Corpus, load_imdb, load_table, pad, split
from . import _history as history
from ._callbacks import Batches, EpochOrder, Interruptions, RunWriter
from ._model import build, parameters
from ._run import RunError, RunFolder
from ._settings import IMDB, Settings


def load_corpus(settings: Settings) -> Corpus:
    """Return the labelled texts that the settings name."""
    if settings.data == IMDB:
        return load_imdb(settings.source, vocabulary_size=settings.vocabulary_size)
    return load_table(
        settings.data, text=settings.text, label=settings.label, vocabulary_size=settings.vocabulary_size
    )


def train(settings: Settings, run: RunFolder, *, resume: bool) -> dict[str, Any]:
    """Train to the settings' number of epochs and write the results to the run's folder.

    Returns:
        The final figures (see ``history.figures``).

    Raises:
        DataError: data that cannot be used.
        RunError: a checkpoint that does not fit, or data that changed since the run was begun.
        KeyboardInterrupt: after Ctrl-C; the results so far are saved, and the message says where.
    """
    _log("reading the texts …")
    corpus = load_corpus(settings)
    inputs = pad(corpus.sequences, settings.length)
    train_rows, val_rows = split(corpus.labels, corpus.classes, seed=settings.seed)
    digest = hashlib.blake2b(inputs.tobytes() + corpus.labels.tobytes(), digest_size=16).hexdigest()
    _log(
        f"{len(inputs):,} texts in {len(corpus.classes)} classes, {corpus.vocabulary_size:,} words: "
        f"{len(train_rows):,} to train on, {len(val_rows):,} to validate"
    )

    model = build(settings, corpus.vocabulary_size, len(corpus.classes))
    writer = RunWriter(run)
    epochs_before = 0
    if resume:
        if run.read_config()["digest"] != digest:
            raise RunError(
                f"the texts differ from those that {run.path} was begun with; give the same data, "
                "or begin another run with another --out"
            )
        epochs_before = writer.restore(model)
        _log(f"continuing {run.path} after epoch {epochs_before} of {settings.epochs}")
    else:
        run.clear()
        if corpus.vocabulary is not None:
            run.write_text(run.vocabulary, corpus.vocabulary.to_json())
    config = {
        "settings": settings.to_dict(),
        "classes": corpus.classes,
        "digest": digest,
        "size": corpus.vocabulary_size,
    }
    run.write_text(run.config, json.dumps(config, indent=2, ensure_ascii=False) + "\n")

    batches = Batches(inputs[train_rows], corpus.labels[train_rows], settings.batch, settings.seed)
    interruptions = Interruptions()
    # Keras prints its progress on standard output, which is reserved for results here.
    with interruptions.handled(), contextlib.redirect_stdout(sys.stderr):
        try:
            model.fit(
                batches,
                validation_data=(inputs[val_rows], corpus.labels[val_rows]),
                validation_batch_size=max(settings.batch, 100),  # divides 5,000: no odd batch to compile for
                epochs=settings.epochs,
                initial_epoch=epochs_before,
                shuffle=False,  # `Batches` shuffles
                verbose=1 if sys.stderr.isatty() else 2,
                callbacks=[EpochOrder(batches), writer, interruptions],
            )
        except KeyboardInterrupt:
            if writer.rows:
                run.write(run.curves, lambda part: history.draw(writer.rows, part))
            raise KeyboardInterrupt(_interruption_message(run, writer.rows, settings.epochs)) from None
    run.write(run.curves, lambda part: history.draw(writer.rows, part))
    result = history.figures(writer.rows, parameters(model))
    if not math.isfinite(writer.rows[-1]["loss"]):
        _log("the loss is no longer a number; a smaller --learning-rate may help")
    return result


def _interruption_message(run: RunFolder, rows: list[history.Row], epochs: int) -> str:
    cure = "continue with the same command and --resume"
    if not rows:
        return f"interrupted before the first epoch ended: there is no model yet; {cure}"
    chosen = history.best(rows)
    return (
        f"interrupted after {len(rows)} of {epochs} epochs: the best model so far "
        f"(epoch {int(chosen['epoch'])}, validation accuracy {chosen['val_accuracy']:.4f}) "
        f"is saved in {run.path}; {cure}"
    )


def _log(message: str) -> None:
    print(message, file=sys.stderr, flush=True)

"""The options of training: one for each parameter of the estimators, by the same name with hyphens."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from ..estimators import PRESETS
from ._arguments import at_least, not_negative, positive, share

# What the command calls some parameters beside their own names.
_SHORT = {"vocabulary_size": "--words", "batch_size": "--batch"}
_HELP: dict[str, tuple[Callable[[str], Any] | tuple[str, ...] | None, str]] = {
    "cell": (None, "the recurrent cell, see stepfold cells"),
    "units": (at_least(1), "units of each recurrent layer"),
    "layers": (at_least(1), "recurrent layers"),
    "bidirectional": (bool, "read in both directions"),
    "pooling": (("last", "max", "mean", "max_mean"), "what the output layer sees of the states over time"),
    "tokens": (("words", "subwords", "keras"), "what texts are cut into"),
    "vocabulary_size": (at_least(5), "token ids are below this; rarer tokens are unknown"),
    "length": (at_least(1), "the last tokens of a text that are read"),
    "embedding": (at_least(1), "length of a token's vector"),
    "mask": (bool, "skip padding"),
    "word_dropout": (share, "share of the tokens that count as unknown in training"),
    "embedding_dropout": (share, "share of the features dropped from all vectors of a text in training"),
    "dropout": (share, "share of a recurrent layer's inputs that is dropped in training"),
    "recurrent_dropout": (share, "share of a recurrent layer's state that is dropped in training"),
    "output_dropout": (share, "share of the output layer's inputs that is dropped in training"),
    "recurrent_initializer": (("orthogonal", "identity", "glorot_uniform"), "first recurrent weights"),
    "epochs": (at_least(1), "passes over the training examples"),
    "batch_size": (at_least(1), "examples a training step"),
    "optimizer": (("adam", "adamw", "nadam", "rmsprop", "sgd"), "how weights are adjusted"),
    "learning_rate": (positive, "the optimizer's step size"),
    "schedule": (("constant", "linear", "cosine"), "how the learning rate falls"),
    "clip_norm": (not_negative, "the most that the gradients' norm may be; 0 for no limit"),
    "weight_averaging": (share, "share of training, at its end, over which weights are averaged"),
    "early_stopping": (at_least(0), "epochs without a better validation after which to stop; 0 for never"),
    "validation_split": (share, "share of the examples that is held out; 0 to train on everything"),
    "split": (
        ("random", "blocks"),
        "hold out examples at random, or the last ones of each class in the file",
    ),
    "class_weight": (("balanced",), "weigh classes by how rare they are"),
}
NAMES = tuple(_HELP)
"""The parameters that have an option."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add an option for each parameter. What is not given is left out: then the preset says."""
    standard = PRESETS["standard"]
    for name, (kind, text) in _HELP.items():
        flags = [option_of(name), *([_SHORT[name]] if name in _SHORT else [])]
        default = standard[name]
        shown = (
            {None: "its own", True: "yes", False: "no"}.get(default, default)
            if default is not False
            else "no"
        )
        options: dict[str, Any] = {"dest": name, "help": f"{text} ({shown})", "default": argparse.SUPPRESS}
        if kind is bool:
            parser.add_argument(*flags, action=argparse.BooleanOptionalAction, **options)
        elif isinstance(kind, tuple):
            parser.add_argument(*flags, choices=kind, **options)
        else:
            parser.add_argument(*flags, type=kind or str, metavar="NAME" if kind is None else "N", **options)


def option_of(name: str) -> str:
    """Return how a parameter is given on the command line."""
    return "--seed" if name == "random_state" else f"--{name.replace('_', '-')}"


def given_options(options: argparse.Namespace) -> dict[str, Any]:
    """Return the parameters that were given."""
    return {name: value for name, value in vars(options).items() if name in NAMES}

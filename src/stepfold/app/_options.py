"""The options of training: one for each parameter of the estimators, by the same name with hyphens."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from typing import Any

from ..estimators import CHOICES, PRESETS, SEQUENCES
from ._arguments import at_least, list_of, not_negative, positive, share

Kind = Callable[[str], Any] | tuple[str, ...] | None

# What the command calls some parameters beside their own names.
_SHORT = {"vocabulary_size": "--words", "batch_size": "--batch"}
_HELP: dict[str, tuple[Kind, str]] = {
    "cell": (None, "the recurrent cell, see stepfold cells"),
    "units": (at_least(1), "units of each recurrent layer"),
    "layers": (at_least(1), "recurrent layers"),
    "bidirectional": (bool, "read in both directions"),
    "pooling": (CHOICES["pooling"], "what the output layer sees of the states over time"),
    "tokens": (tuple(name for name in CHOICES["tokens"] if name != "ids"), "what texts are cut into"),
    "vocabulary_size": (at_least(5), "token ids are below this; rarer tokens are unknown"),
    "length": (at_least(1), "the last tokens of a text that are read"),
    "embedding": (at_least(1), "length of a token's vector"),
    "mask": (bool, "skip padding"),
    "word_dropout": (share, "share of the tokens that count as unknown in training"),
    "embedding_dropout": (share, "share of the values of the tokens' vectors that is dropped in training"),
    "dropout": (share, "share of a recurrent layer's inputs that is dropped in training"),
    "recurrent_dropout": (share, "share of a recurrent layer's state that is dropped in training"),
    "output_dropout": (share, "share of the output layer's inputs that is dropped in training"),
    "recurrent_initializer": (CHOICES["recurrent_initializer"], "first recurrent weights"),
    "epochs": (at_least(1), "passes over the training examples; by default more where there are few"),
    "batch_size": (at_least(1), "examples a training step"),
    "optimizer": (CHOICES["optimizer"], "how weights are adjusted"),
    "learning_rate": (positive, "the optimizer's step size"),
    "schedule": (CHOICES["schedule"], "how the learning rate falls"),
    "clip_norm": (not_negative, "the most that the gradients' norm may be; 0 for no limit"),
    "weight_averaging": (share, "share of training, at its end, over which weights are averaged"),
    "early_stopping": (at_least(0), "epochs without a better validation after which to stop; 0 for never"),
    "validation_split": (share, "share of the examples that is held out; 0 to train on everything"),
    "split": (
        CHOICES["split"],
        "hold out examples at random, or the last ones of each class in the file",
    ),
    "class_weight": (("balanced",), "weigh classes by how rare they are"),
}
NAMES = tuple(_HELP)
"""The parameters that have an option."""


def add_options(parser: argparse.ArgumentParser, *, lists: bool = False) -> None:
    """Add an option for each parameter. What is not given is left out: then the preset says.

    The help names the defaults of texts (of the preset standard), and those of sequences where they differ.
    With ``lists`` an option takes several values, with commas between them.
    """
    for name, (kind, text) in _HELP.items():
        flags = [option_of(name), *([_SHORT[name]] if name in _SHORT else [])]
        shown = _shown(PRESETS["standard"][name])
        other = _shown(SEQUENCES[name])
        if other != shown:
            shown = f"{shown}; sequences: {other}"
        options: dict[str, Any] = {"dest": name, "help": f"{text} ({shown})", "default": argparse.SUPPRESS}
        if lists:
            add_list(parser, *flags, *(["--cells"] if name == "cell" else []), kind=kind, **options)
        elif kind is bool:
            parser.add_argument(*flags, action=argparse.BooleanOptionalAction, **options)
        elif isinstance(kind, tuple):
            parser.add_argument(*flags, choices=kind, **options)
        else:
            parser.add_argument(*flags, type=kind or str, metavar="NAME" if kind is None else "N", **options)


def _shown(default: Any) -> str:
    """Return how the help writes a default."""
    if isinstance(default, bool):
        return "yes" if default else "no"
    return f"{default:g}" if isinstance(default, float) else str(default).lower()


def add_list(parser: argparse.ArgumentParser, *flags: str, kind: Kind, **options: Any) -> None:
    """Add an option that takes several values of a kind, with commas between them."""
    if kind is bool:
        shown: dict[str, Any] = {"metavar": "yes,no", "nargs": "?", "const": [True]}
        parser.add_argument(*flags, type=list_of(_yes), **shown, **options)
        no: dict[str, Any] = {
            "dest": options["dest"],
            "default": argparse.SUPPRESS,
            "help": argparse.SUPPRESS,
        }
        parser.add_argument(f"--no-{flags[0][2:]}", action="store_const", const=[False], **no)
        return
    name = ",".join(kind) if isinstance(kind, tuple) else "NAME,…" if kind is None else "N,…"
    read = partial(_choice, kind) if isinstance(kind, tuple) else kind or str
    parser.add_argument(*flags, type=list_of(read), metavar=name, **options)


def _choice(choices: tuple[str, ...], text: str) -> str:
    if text not in choices:
        raise argparse.ArgumentTypeError(f"invalid choice: {text!r} (choose from {', '.join(choices)})")
    return text


def _yes(text: str) -> bool:
    if text not in ("yes", "no"):
        raise argparse.ArgumentTypeError(f"{text!r} is neither yes nor no")
    return text == "yes"


def option_of(name: str) -> str:
    """Return how a parameter is given on the command line."""
    return "--seed" if name == "random_state" else f"--{name.replace('_', '-')}"


def given_options(options: argparse.Namespace) -> dict[str, Any]:
    """Return the parameters that were given."""
    return {name: value for name, value in vars(options).items() if name in NAMES}

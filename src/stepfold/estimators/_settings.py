"""Every choice of a training run, the presets that fill them in, and what may be said of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Literal

OPTIMIZERS = ("adam", "adamw", "nadam", "rmsprop", "sgd")
POOLINGS = ("last", "max", "mean", "max_mean")
SCHEDULES = ("constant", "linear", "cosine")
SPLITS = ("random", "blocks")
INITIALIZERS = ("orthogonal", "identity", "glorot_uniform")
TOKENS = ("words", "subwords", "reviews", "keras", "ids")
TAUGHT = ("best", "plain")
"""The presets whose networks learn from n-grams."""


def changeable(preset: str | None) -> frozenset[str]:
    """Return the settings that may change when a run goes on; none where networks are trained one by one."""
    return frozenset() if preset in TAUGHT else frozenset({"epochs", "early_stopping"})


@dataclass(frozen=True)
class Settings:
    """The settings of a recurrent network and of its training.

    Attributes:
        cell: the name of a built-in cell, or the JSON text of one.
        units: units of each recurrent layer.
        layers: recurrent layers, one above the other.
        bidirectional: whether each layer reads in both directions.
        pooling: what the output layer sees: the last state, or the maximum, the mean, or both over time.
        dropout: share of a recurrent layer's inputs that is dropped in training.
        recurrent_dropout: share of the state that is dropped on its way to the next timestep.
        output_dropout: share of the output layer's inputs that is dropped.
        recurrent_initializer: what recurrent kernels begin with.
        epochs: passes over the training examples. Where none are given, few examples get more of them (see
            ``enough_epochs``).
        batch_size: examples a training step.
        optimizer: how weights are adjusted.
        learning_rate: the optimizer's step size; None for its own.
        schedule: how the learning rate falls over the run.
        clip_norm: the most that the norm of all gradients may be; 0 for no limit.
        weight_averaging: the share of training, at its end, over which weights are averaged; 0 for none.
        early_stopping: epochs without a better validation result after which training ends; 0 for none.
        validation_split: share of the examples that is held out; 0 to train on everything.
        split: "random", with the same share of every class, or "blocks": the last part of each class in the
            order given, for examples whose neighbours are alike.
        class_weight: None, "balanced", or a mapping from class to weight.
    """

    cell: str
    units: int
    layers: int
    bidirectional: bool
    pooling: str
    dropout: float
    recurrent_dropout: float
    output_dropout: float
    recurrent_initializer: str
    epochs: int
    batch_size: int
    optimizer: str
    learning_rate: float | None
    schedule: str
    clip_norm: float
    weight_averaging: float
    early_stopping: int
    validation_split: float
    split: str
    class_weight: Mapping[Any, float] | Literal["balanced"] | None

    one_a_network: ClassVar[tuple[str, ...]] = ()
    """The settings that have a value for each network of an ensemble."""


@dataclass(frozen=True)
class TextSettings(Settings):
    """The settings of a classifier of texts.

    Attributes:
        tokens: "words" of any language, "subwords" learnt from the texts, "reviews" (words, ratings and
            punctuation), "keras" (ASCII words as in Keras's data sets), or "ids" where the texts are lists of
            ids already.
        vocabulary_size: every token's id is below it; rarer tokens count as unknown.
        length: the last tokens of a text that are read.
        embedding: length of a token's vector.
        mask: whether padding is skipped.
        word_dropout: share of the tokens that count as unknown in training.
        embedding_dropout: share of the values of the tokens' vectors that is dropped in training.
    """

    tokens: str
    vocabulary_size: int
    length: int
    embedding: int
    mask: bool
    word_dropout: float
    embedding_dropout: float


@dataclass(frozen=True)
class EnsembleSettings(TextSettings):
    """The settings of the preset "best": several networks, which differ in two of them.

    Attributes:
        cell: the cell of each network.
        epochs: the epochs of each network.
    """

    cell: tuple[str, ...]  # type: ignore[assignment]
    epochs: tuple[int, ...]  # type: ignore[assignment]

    one_a_network: ClassVar[tuple[str, ...]] = ("cell", "epochs")


_TUTORIAL: dict[str, Any] = {
    "cell": "lstm",
    "units": 32,
    "layers": 1,
    "bidirectional": False,
    "pooling": "last",
    "dropout": 0.0,
    "recurrent_dropout": 0.0,
    "output_dropout": 0.0,
    "recurrent_initializer": "orthogonal",
    "epochs": 6,
    "batch_size": 32,
    "optimizer": "rmsprop",
    "learning_rate": None,
    "schedule": "constant",
    "clip_norm": 0.0,
    "weight_averaging": 0.0,
    "early_stopping": 0,
    "validation_split": 0.2,
    "split": "random",
    "class_weight": None,
    "tokens": "words",
    "vocabulary_size": 10000,
    "length": 500,
    "embedding": 32,
    "mask": False,
    "word_dropout": 0.0,
    "embedding_dropout": 0.0,
}

PRESETS: dict[str, dict[str, Any]] = {
    "tutorial": _TUTORIAL,
    "standard": {
        **_TUTORIAL,
        "pooling": "max_mean",
        "mask": True,
        "embedding_dropout": 0.3,
        "output_dropout": 0.3,
        "epochs": 3,
        "optimizer": "adam",
        "learning_rate": 0.003,
        "clip_norm": 1.0,
        "weight_averaging": 0.5,
    },
    "best": {
        **_TUTORIAL,
        "cell": ("lstm", "gru"),
        "units": 64,
        "bidirectional": True,
        "pooling": "max_mean",
        "mask": True,
        "word_dropout": 0.2,
        "embedding_dropout": 0.5,
        "output_dropout": 0.5,
        "epochs": (3, 4),
        "optimizer": "adam",
        "learning_rate": 0.002,
        "schedule": "linear",
        "clip_norm": 1.0,
        "weight_averaging": 0.65,
        "vocabulary_size": 4000,
        "length": 1000,
        "embedding": 64,
        "split": "blocks",
    },
    "plain": {
        **_TUTORIAL,
        "units": 128,
        "bidirectional": True,
        "pooling": "max_mean",
        "mask": True,
        "tokens": "reviews",
        "word_dropout": 0.05,
        "embedding_dropout": 0.05,
        "output_dropout": 0.5,
        "epochs": 4,
        "optimizer": "adam",
        "learning_rate": 0.01,
        "schedule": "linear",
        "clip_norm": 1.0,
        "weight_averaging": 0.6,
        "vocabulary_size": 50000,
        "length": 1000,
        "embedding": 256,
        "split": "blocks",
    },
}
"""What each preset sets; a parameter that a user gives takes its place."""

SEQUENCES: dict[str, Any] = {
    **PRESETS["standard"],
    "schedule": "linear",
    "units": 64,
    "bidirectional": True,
    "epochs": 10,
    "batch_size": 16,
    "weight_averaging": 0.3,
    "output_dropout": 0.2,
    "validation_split": 0.0,
}
"""The defaults for sequences of numbers, of which there are often a few hundred only."""


def resolve(kind: type[Settings], defaults: Mapping[str, Any], given: Mapping[str, Any]) -> Settings:
    """Return the settings: what was given, and the defaults where it is None; ValueError if one is wrong."""
    names = [field.name for field in fields(kind)]
    values = {name: defaults[name] if given.get(name) is None else plain(given[name]) for name in names}
    for name in kind.one_a_network:
        values[name] = _one_a_network(name, values[name])
    for k in range(_NETWORKS if kind.one_a_network else 1):
        _check({**values, **{name: values[name][k] for name in kind.one_a_network}})
    return kind(**values)


_NETWORKS = len(PRESETS["best"]["cell"])


def _one_a_network(name: str, value: Any) -> tuple[Any, ...]:
    """Return a value for each network: the one that was given for all, or a list of them."""
    found = tuple(value) if isinstance(value, (list, tuple)) else (value,) * _NETWORKS
    if len(found) != _NETWORKS:
        raise ValueError(f"{name} must be one value or {_NETWORKS}, one a network, not {_short(value)}")
    return found


_LEAST_STEPS, _MOST_EPOCHS = 1000, 150


def enough_epochs(settings: Settings, examples: int) -> int:
    """Return the epochs for so many examples: the defaults', or as many as make 1,000 steps, 150 at most."""
    steps = max(examples // settings.batch_size, 1)
    return min(max(settings.epochs, -(-_LEAST_STEPS // steps)), max(_MOST_EPOCHS, settings.epochs))


def plain(value: Any) -> Any:
    """Return NumPy's numbers, as a grid search gives them, as Python's; other values as they are."""
    return value.item() if hasattr(value, "item") else value


_MOST = 2**31
_LEAST = {
    "units": 1,
    "layers": 1,
    "epochs": 1,
    "batch_size": 1,
    "early_stopping": 0,
    "vocabulary_size": 5,
    "length": 1,
    "embedding": 1,
}
_SHARES = (
    "dropout",
    "recurrent_dropout",
    "output_dropout",
    "validation_split",
    "word_dropout",
    "embedding_dropout",
)
CHOICES = {
    "pooling": POOLINGS,
    "optimizer": OPTIMIZERS,
    "schedule": SCHEDULES,
    "split": SPLITS,
    "recurrent_initializer": INITIALIZERS,
    "tokens": TOKENS,
}


def _check(values: Mapping[str, Any]) -> None:
    for name, least in _LEAST.items():
        value = values.get(name, least)
        if isinstance(value, bool) and name == "early_stopping":
            continue
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value < _MOST:
            raise ValueError(f"{name} must be an integer of at least {least}, not {_short(value)}")
    if not isinstance(values["cell"], str):
        raise ValueError(f"cell must be the name of a cell or its JSON text, not {_short(values['cell'])}")
    for name in ("bidirectional", "mask"):
        if not isinstance(values.get(name, False), bool):
            raise ValueError(f"{name} must be True or False, not {_short(values[name])}")
    for name in (*_SHARES, "weight_averaging", "learning_rate", "clip_norm"):
        value = values.get(name, 0)
        none = value is None and name in ("learning_rate", "clip_norm")
        if isinstance(value, bool) or not (none or isinstance(value, (int, float))):
            raise ValueError(f"{name} must be a number, not {_short(value)}")
    for name in _SHARES:
        if not 0 <= values.get(name, 0) < 1:
            raise ValueError(f"{name} must be a share from 0 to below 1, not {_short(values[name])}")
    if not 0 <= values["weight_averaging"] <= 1:
        raise ValueError(f"weight_averaging must be a share from 0 to 1, not {values['weight_averaging']!r}")
    for name, choices in CHOICES.items():
        if name in values and values[name] not in choices:
            raise ValueError(f"{name} must be one of {', '.join(choices)}, not {_short(values[name])}")
    weights = values["class_weight"]
    if weights is not None and weights != "balanced" and not isinstance(weights, Mapping):
        raise ValueError(f"class_weight must be 'balanced' or a weight for each class, not {_short(weights)}")
    if values["learning_rate"] == 0:
        raise ValueError("learning_rate must be above 0; None takes the optimizer's own")
    for name in ("learning_rate", "clip_norm"):
        value = values[name]
        if value is not None and not 0 <= value < float("inf"):
            raise ValueError(f"{name} must be a number of at least 0, not {value!r}")


def _short(value: Any) -> str:
    """Return how a value is written, 40 characters at most."""
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."

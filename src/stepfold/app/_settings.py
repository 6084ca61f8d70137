"""The settings of a run and their defaults."""

from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from ._run import RunError

IMDB = "imdb"
OPTIMIZERS = ("adam", "adamw", "nadam", "rmsprop", "sgd")
_OPTION_NAMES = {"vocabulary_size": "words"}
"""Settings whose option, and whose name in a stored run, is another."""


@dataclass(frozen=True)
class Settings:
    """The settings of a run; the defaults are the tutorial's.

    Attributes:
        data: "imdb", or the path of a .csv, .tsv or .jsonl file.
        source: for IMDB, imdb.npz, aclImdb_v1.tar.gz or its folder; None for the installed reviews.
        text, label: the columns of a file.
        cell: the name of a cell in ``stepfold.cells``.
        vocabulary_size: every word id is below it; its option is ``--words``.
        learning_rate: None for the optimizer's own.
        mask: whether padding is skipped; the tutorial's program feeds it to the cell.
        seed: decides the split, the first weights, the order of each epoch and the dropout.
    """

    data: str = IMDB
    source: str | None = None
    text: str = "text"
    label: str = "label"
    cell: str = "lstm"
    units: int = 32
    layers: int = 1
    bidirectional: bool = False
    vocabulary_size: int = 10000
    length: int = 500
    embedding: int = 32
    batch: int = 32
    epochs: int = 6
    optimizer: str = "rmsprop"
    learning_rate: float | None = None
    dropout: float = 0.0
    recurrent_dropout: float = 0.0
    mask: bool = False
    seed: int = 42

    def to_dict(self) -> dict[str, Any]:
        """Return the settings for JSON, by the names of their options."""
        return {option_name(name): value for name, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> "Settings":
        """Rebuild settings from ``to_dict``; ``RunError`` on a name that is no setting."""
        names = {option_name(name): name for name in NAMES}
        unknown = sorted(stored.keys() - names.keys())
        if unknown:
            raise RunError(
                f"the run has a setting {unknown[0]!r} from another version of stepfold; use that one"
            )
        return cls(**{names[option]: value for option, value in stored.items()})

    def continued(self, given: dict[str, Any]) -> "Settings":
        """Return the settings for resuming this run: only the number of epochs may change.

        Args:
            given: the settings that the user wrote out this time. The path of the data may differ too, since
                the data themselves are compared.

        Raises:
            RunError: a value differs from that of the run's beginning.
        """
        for name in sorted(given.keys() - {"epochs", "data", "source"}):
            begun, option = getattr(self, name), option_name(name).replace("_", "-")
            if given[name] != begun:
                raise RunError(
                    f"the run was begun with {option} {begun}, not {given[name]}: "
                    "leave it out to continue, or begin another run with another --out"
                )
        return replace(self, **{name: given[name] for name in ("epochs", "data", "source") if name in given})


def option_name(name: str) -> str:
    """Return the name of a setting's option, with underscores."""
    return _OPTION_NAMES.get(name, name)


NAMES = tuple(field.name for field in fields(Settings))

"""One text or sequence read step by step, made ready for the page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..viewer import script_hash, stored_fragment
from ._numbers import Move, largest_moves
from ._parts import Reading
from ._text import plural, shorten


@dataclass(frozen=True)
class Shown:
    """A reading made ready for the page.

    Args:
        reading: the steps that are shown.
        viewer: the words, the line and the state as HTML, with its script.
        script: the source expression by which the page's policy allows that script.
        subject: what the line shows.
        rises, falls: the words that moved it most.
        remark: what the vocabulary lacks, or "".
    """

    reading: Reading
    viewer: str
    script: str
    subject: str
    rises: Sequence[Move]
    falls: Sequence[Move]
    remark: str


def show_reading(reading: Reading) -> Shown:
    """Return a reading made ready for the page."""
    known = reading.explanation["known"]
    strange = len(known) - sum(map(bool, known))
    remark = f"The vocabulary lacks {strange:,} of the {plural(len(known), 'word')}." if strange else ""
    told = {**reading.explanation, "unit": reading.unit}
    if reading.inputs is not None:
        told["inputs"] = reading.inputs
    model = {"name": reading.name, "labels": reading.labels, "equations": reading.equations}
    label = shorten(reading.labels[reading.shown], 60)
    rises, falls = largest_moves(reading, 5) if reading.words else ([], [])
    return Shown(
        reading,
        stored_fragment([model], [told]),
        script_hash(),
        f"probability of {label}" if reading.probabilities else label,
        rises,
        falls,
        remark,
    )

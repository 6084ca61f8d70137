"""The report of `accelerate`, the same for every framework."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Accelerated:
    """What `accelerate` did: the names of the modules that it swapped, and of those that it left, with the
    reason."""

    swapped: list[str] = field(default_factory=list)
    left: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        lines = [f"swapped {_told(name)}" for name in self.swapped]
        lines += [f"left {_told(name)}: {reason}" for name, reason in self.left.items()]
        return "\n".join(lines) or "found no recurrent module"


def _told(name: str) -> str:
    """A name in quotes: that of a module in a sequence is a number, which would read as a count."""
    return repr(name) if name else "the module itself"

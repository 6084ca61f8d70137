"""The targets that this processor can run."""

from __future__ import annotations

from stepfold._llvm import target, target_names

TARGETS = [name for name in target_names() if target(name).width <= target().width]
PLAINEST = target_names()[-1]
"""The one that every processor of this architecture can run."""

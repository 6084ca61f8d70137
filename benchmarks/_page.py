"""The figures of all benchmarks as one page of Markdown, with the machine and the commands."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ._report import BUSY, OURS

_FACTS = (
    "processor",
    "system",
    "threads",
    "float32 peak",
    "python",
    "stepfold",
    "numpy",
    "torch",
    "keras",
    "jax",
)


def write(folder: Path, names: Sequence[str], path: Path | None = None) -> Path:
    """Write a page from the JSON files of the benchmarks that were run; returns its path, `performance.md` in
    their folder if none is given."""
    path = path or folder / "performance.md"
    found = {name: _read(folder / f"{name}.json") for name in names if (folder / f"{name}.json").is_file()}
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".new")
    temporary.write_text(page(found), encoding="utf-8")
    temporary.replace(path)
    return path


def _read(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text(encoding="utf-8")))


def page(found: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the page of the benchmarks' contents, by name."""
    parts = [
        "# Measured\n",
        "Medians and minima of calls in turn, in milliseconds; `÷ ours` is a side's median divided by "
        "stepfold's, `of peak` what share of the processor's arithmetic stepfold uses.\n",
    ]
    for name, content in found.items():
        seconds = [result.get("seconds") for result in content["results"]]
        if not any(isinstance(each, dict) and each for each in seconds):
            continue  # it has figures of another kind, which its own file holds
        machine = content["machine"]
        facts = "; ".join(f"{key} {machine[key]}" for key in _FACTS if key in machine)
        parts += [
            f"## {name}\n",
            f"`python -m benchmarks {name}{' --quick' if content['quick'] else ''}` on: {facts}.\n",
            _table(content["results"]),
        ]
    return "\n".join(parts)


def _table(results: Sequence[Mapping[str, Any]]) -> str:
    """One row for each side of each comparison."""
    rows = ["| comparison | side | median | minimum | ÷ ours | of peak |", "|---|---|---:|---:|---:|---:|"]
    for result in results:
        title = str(result["title"])
        if (result.get("others") or 0) > BUSY:
            title += f" (others used {result['others']:.0%} of the processors)"
        seconds = result.get("seconds")
        for side, times in seconds.items() if isinstance(seconds, dict) else ():
            ratio = result["ratios"].get(side)
            share = result["share_of_peak"] if side == OURS else None
            figures = [f"{1e3 * times[kind]:.4g}" for kind in ("median", "minimum")]
            cells = [
                title,
                side,
                *figures,
                "" if ratio is None else f"{ratio:.2f}",
                "" if share is None else f"{share:.0%}",
            ]
            rows.append(f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |")
            title = ""
    return "\n".join(rows) + "\n"

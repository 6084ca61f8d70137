"""The page of figures that `make bench` writes, and the figures of the gallery."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks import _page, _report
from benchmarks._harness import Times
from stepfold import cells


def test_a_page_of_what_was_measured(tmp_path: Path) -> None:
    report = _report.Report("layer", tmp_path, threads=1, quick=True)
    report.machine = {"processor": "one", "threads": "1", "load before": "9"}
    report.peak = 1e9
    times = {"stepfold": Times((0.002, 0.001)), "torch": Times((0.003, 0.003))}
    report.compared("lstm (1, 2)", times)
    report.results[-1] |= {"share_of_peak": 0.5, "others": 0.25}
    report.results.append({"title": "course", "seconds": 3.0})
    report.end()
    empty = _report.Report("empty", tmp_path, threads=1, quick=True)
    empty.machine = report.machine
    empty.compared("nothing", {})
    empty.end()
    text = _page.write(tmp_path, ("empty", "layer", "absent")).read_text(encoding="utf-8")
    assert "## layer\n\n`python -m benchmarks layer --quick` on: processor one; threads 1.\n" in text
    assert text.endswith(
        "| lstm (1, 2) (others used 25% of the processors) | stepfold | 1.5 | 1 |  | 50% |\n"
        "|  | torch | 3 | 3 | 2.00 |  |\n"
    )
    assert "absent" not in text
    assert "empty" not in text


def test_the_stored_figures_are_of_every_cell() -> None:
    path = Path(__file__).resolve().parents[2] / "docs/figures/cells.json"
    stored = json.loads(path.read_text(encoding="utf-8"))
    assert stored["command"].startswith("python -m benchmarks.gallery")
    assert stored["machine"]
    assert stored["cells"].keys() <= set(cells.names())
    for name, figures in stored["cells"].items():
        assert figures.keys() == {"milliseconds", "ratio", "stream_microseconds", "gradient", "lag"}, name

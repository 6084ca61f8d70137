"""What `costs` measures in a new process: `python -m benchmarks._cost_probes NAME …` prints one value."""

from __future__ import annotations

import sys
import time
from pathlib import Path


def importing() -> float:
    """Seconds to import the core."""
    before = time.perf_counter()
    import stepfold

    assert stepfold.cells is not None
    return time.perf_counter() - before


def first_call(cell: str, training: bool) -> float:
    """Seconds the first call on a tiny batch takes beyond the second: planning, compiling, loading."""
    from stepfold import cells

    from ._ours import ours
    from ._problems import problem

    run = ours(problem(cells.by_name(cell), (1, 1, 32, 32)), 1, training=training).run
    seconds = []
    for _ in range(2):
        before = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - before)
    return seconds[0] - seconds[1]


def memory(side: str, cell: str, *shape: str) -> float:
    """Bytes that a training step needs at its peak, beyond inputs, weights and libraries."""
    from . import _machine

    _machine.limit_threads(2)
    from stepfold import cells

    from ._problems import problem

    batch, time_, features, units = map(int, shape)

    from ._harness import Side

    def make(time_: int) -> Side:
        p = problem(cells.by_name(cell), (batch, time_, features, units))
        if side == "torch":
            from ._peers_torch import layer_side

            return layer_side(p, training=True)
        from ._ours import training_step

        return Side(side, training_step(p, 2, checkpoint=side == "checkpoints"), dict)

    make(2).run()  # compiles the code and starts the threads
    step = make(time_)
    before = _status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    result = step.run()
    peak = _status("VmHWM")
    del result
    return float(peak - before)


def _status(field: str) -> int:
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines[field].split()[0]) * 1024


def main(arguments: list[str]) -> None:
    name, *rest = arguments
    if name == "import":
        print(importing())
    elif name == "first-call":
        print(first_call(rest[0], rest[1] == "training"))
    else:
        print(memory(*rest))


if __name__ == "__main__":
    main(sys.argv[1:])

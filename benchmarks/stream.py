"""One timestep with carried state. One sequence: beside NumPy, torch's cells, ONNX Runtime, bound buffers.
Up to 10,000 sequences: beside torch's cells, with the memory that a stream of ours takes.

Run it as `python -m benchmarks.stream [--quick] [--cells lstm gru …]`.
"""

from __future__ import annotations

import sys
import time
import tracemalloc
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import stepfold
from stepfold import cells

from . import _report
from ._cells import CELLS as HAND
from ._harness import Side, Times, check
from ._problems import Problem, operations, problem

TOLERANCE = 2e-5
CELLS = ("lstm", "gru", "simple_rnn")
SIZES = ((32, 32), (128, 512))
BARS = {("lstm", 32, 32): 6.0, ("lstm", 128, 512): 1.1}
_CHECKED = 20  # timesteps whose outputs are compared
_LOOP = 200  # timesteps between two readings of the clock
MANY = (16, 1_000, 10_000)
MANY_SIZES = ((32, 32), (128, 128))
_CHECKED_MANY = 3

Step = Callable[[], Any]


class NumpyFunctions:
    """The functions of a step in NumPy."""

    tanh = np.tanh

    @staticmethod
    def sigmoid(x: Any) -> Any:
        return 1.0 / (1.0 + np.exp(-x))

    @staticmethod
    def split(x: Any, parts: int) -> Any:
        return np.split(x, parts, axis=-1)

    @staticmethod
    def layer_norm(x: Any) -> Any:
        centred = x - x.mean(-1, keepdims=True)
        return centred / np.sqrt((centred * centred).mean(-1, keepdims=True) + 1e-3)


@dataclass(frozen=True)
class Streaming:
    """One side: `restart()` resets the states, `step(x)` returns the next output, `read` its array."""

    name: str
    restart: Callable[[], None]
    step: Callable[[Any], Any]
    read: Callable[[Any], Any] = np.array

    def side(self, p: Problem) -> Side:
        """Return the first timesteps as a side, to compare the outputs."""

        def run() -> Any:
            self.restart()
            steps = [np.ascontiguousarray(p.inputs[:, t]) for t in range(p.shape[1])]
            return np.stack([np.array(self.read(self.step(x))) for x in steps], 1)

        return Side(self.name, run, lambda output: {"output": output})


def by_hand(p: Problem) -> Streaming:
    """NumPy, as an experienced user writes it: fused gates, the states in a list."""
    hand = HAND[p.cell.name]
    weights = hand.fused(p.params)
    kernel, zero = np.ascontiguousarray(weights["kernel"].T), np.zeros((1, p.shape[3]), np.float32)
    weights["recurrent"] = np.ascontiguousarray(weights["recurrent"].T).T
    states = [zero] * hand.states

    def restart() -> None:
        states[:] = [zero] * hand.states

    def step(x: Any) -> Any:
        states[:] = hand.step(NumpyFunctions, x @ kernel + weights["bias"], tuple(states), weights, states[0])
        return states[0]

    return Streaming("numpy by hand", restart, step)


def with_torch(p: Problem) -> Streaming:
    """`torch.nn.LSTMCell`, `GRUCell` or `RNNCell`, in inference mode."""
    import torch

    from ._peers_torch import layer_module

    features, units = p.shape[2:]
    cell = {"lstm": torch.nn.LSTMCell, "gru": torch.nn.GRUCell, "simple_rnn": torch.nn.RNNCell}[p.cell.name](
        features, units
    )
    weights = layer_module(p.cell.name, features, units, p.params).state_dict()
    cell.load_state_dict({name.removesuffix("_l0"): value for name, value in weights.items()})
    state: list[Any] = [None]

    def restart() -> None:
        state[0] = None

    def step(x: Any) -> Any:
        with torch.inference_mode():
            state[0] = cell(torch.from_numpy(x), state[0])
        return state[0][0] if isinstance(state[0], tuple) else state[0]

    return Streaming("torch cell", restart, step, lambda y: y.numpy())


def with_onnxruntime(p: Problem, threads: int) -> Streaming:
    """ONNX Runtime with bound buffers: two sets of states, alternately read and written."""
    import onnxruntime

    from ._peers_onnx import model, session

    one = Problem(p.cell, (1, 1, *p.shape[2:]), p.inputs[:, :1], p.params, p.output_gradient[:, :1])
    ready = session(model(one, states=True), threads)
    names = ["h", "c"] if p.cell.name == "lstm" else ["h"]
    units = p.shape[3]

    def buffer(shape: tuple[int, ...]) -> Any:
        return onnxruntime.OrtValue.ortvalue_from_numpy(np.zeros(shape, np.float32))

    x = buffer((1, 1, p.shape[2]))
    output = buffer((1, 1, 1, units))
    sets = [{name: buffer((1, 1, units)) for name in names} for _ in range(2)]
    bindings = []
    for now, following in (sets, sets[::-1]):
        binding = ready.io_binding()
        binding.bind_ortvalue_input("x", x)
        binding.bind_ortvalue_output("y", output)
        for name in names:
            binding.bind_ortvalue_input(name, now[name])
            binding.bind_ortvalue_output("next_" + name, following[name])
        bindings.append(binding)
    turn = [0]
    result = output.numpy()
    shared = np.shares_memory(result, output.numpy())  # then it is always current

    def restart() -> None:
        turn[0] = 0
        for value in sets[0].values():
            value.update_inplace(np.zeros((1, 1, units), np.float32))

    def step(value: Any) -> Any:
        x.update_inplace(value[None])
        ready.run_with_iobinding(bindings[turn[0]])
        turn[0] = 1 - turn[0]
        return (result if shared else output.numpy())[0, 0]

    return Streaming("onnxruntime bound", restart, step)


def with_stepfold(p: Problem) -> Streaming:
    """`stepfold.Stream`."""
    stream = stepfold.Stream(p.cell, p.params, batch=p.shape[0])
    return Streaming(_report.OURS, stream.reset, stream.step)


def timed(sides: Sequence[Streaming], p: Problem, rounds: int, loop: int = _LOOP) -> dict[str, Times]:
    """Time the sides in turn, `loop` timesteps a turn; the seconds are those of one timestep."""
    x = [np.ascontiguousarray(p.inputs[:, t]) for t in range(p.shape[1])]
    seconds: dict[str, list[float]] = {side.name: [] for side in sides}
    for round_ in range(rounds + 1):
        for side in sides:
            side.restart()
            time.sleep(0.005)
            side.step(x[0])
            before = time.perf_counter()
            for t in range(loop):
                side.step(x[t % len(x)])
            if round_:
                seconds[side.name].append((time.perf_counter() - before) / loop)
    return {name: Times(tuple(values)) for name, values in seconds.items()}


def bytes_a_sequence(p: Problem) -> float:
    """What a stream takes for each of many sequences, beyond what one takes for a few."""
    sizes = []
    for batch in (100, 10_000):
        tracemalloc.start()
        stream = stepfold.Stream(p.cell, p.params, batch=batch)
        sizes.append(tracemalloc.get_traced_memory()[0])
        tracemalloc.stop()
        del stream
    return (sizes[1] - sizes[0]) / 9_900


def many(report: _report.Report, names: Sequence[str]) -> None:
    """Many sequences that take a timestep together."""
    for name in names:
        for features, units in MANY_SIZES[:1] if report.quick else MANY_SIZES:
            for batch in MANY[:2] if report.quick else MANY:
                p = problem(cells.by_name(name), (batch, _CHECKED_MANY, features, units))
                sides = [with_stepfold(p), with_torch(p)]
                differences = check([side.side(p) for side in sides], TOLERANCE)
                times = timed(sides, p, 10 if report.quick else 30, max(2, 2_000 // batch))
                work = operations(p.cell, (batch, 1, features, units), training=False)
                report.compared(
                    f"{name}, one timestep of {batch:,} sequences (features {features}, units {units})",
                    times,
                    operations=work,
                    differences=differences,
                    cell=name,
                    shape=(batch, features, units),
                )
            print(f"a stream takes {bytes_a_sequence(p):,.0f} bytes a sequence", flush=True)


def main(arguments: Sequence[str]) -> None:
    parser = _report.options(__doc__)
    parser.add_argument("--cells", nargs="+", choices=CELLS, default=None)
    chosen = parser.parse_args(arguments)
    report = _report.begin("stream", chosen)
    for name in chosen.cells or (CELLS[:1] if chosen.quick else CELLS):
        for features, units in SIZES:
            p = problem(cells.by_name(name), (1, _CHECKED, features, units))
            sides = [with_stepfold(p), by_hand(p), with_torch(p), with_onnxruntime(p, chosen.threads)]
            differences = check([side.side(p) for side in sides], TOLERANCE)
            times = timed(sides, p, 10 if chosen.quick else 50)
            work = operations(p.cell, (1, 1, features, units), training=False)
            title = f"{name}, one timestep (features {features}, units {units})"
            ratios = report.compared(
                title, times, operations=work, differences=differences, cell=name, shape=(features, units)
            )
            if (name, features, units) in BARS:
                report.bar(
                    f"{title}: ONNX Runtime ÷ ours", ratios["onnxruntime bound"], BARS[name, features, units]
                )
    many(report, [name for name in chosen.cells or CELLS[:2] if name in CELLS[:2]])
    report.end()


if __name__ == "__main__":
    main(sys.argv[1:])

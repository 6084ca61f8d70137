"""Copy plans: strided copies and sums between arrays, against NumPy."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepfold._native import Argument, Recorder, address, own_threads
from stepfold._native import _copy_plan as module
from stepfold._native._copy_plan import Copy, CopyPlan, Location, constant
from tests.runtime.scan_arrays import Array, assert_unharmed, guarded, walled


def make(
    arrays: dict[str, Array], copies: list[Copy], *, threads: int = 1, held: list[Array] | None = None
) -> list[str]:
    """Record a plan for arrays of these forms, and run it on them (or on others of the same form); returns
    the kernels' names."""
    recorder = Recorder()
    plan = CopyPlan({name: Location(recorder.operand(), array) for name, array in arrays.items()}, copies)
    phase = recorder.phase(threads)
    plan.record(phase)
    names = [
        kernel.kernel.name for launches in phase.once for kernel in launches.held if hasattr(kernel, "kernel")
    ]
    given = [*arrays.values()] if held is None else held
    assert recorder.finish().run([*map(address, given)], own_threads(), threads) is None
    return names


def strided(random: np.random.Generator, shape: tuple[int, ...], order: tuple[int, ...]) -> Array:
    """An array whose axes lie in memory in another order."""
    made = random.standard_normal([shape[axis] for axis in order])
    return made.transpose(np.argsort(order))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(1, 64, 64), (3, 117, 203), (2, 16, 300), (1, 300, 15), (5, 33, 32)])
@pytest.mark.parametrize("order", [(0, 1, 2), (0, 2, 1), (2, 1, 0)])
@pytest.mark.parametrize("sources", [1, 3])
def test_copies_and_sums(dtype: str, shape: tuple[int, ...], order: tuple[int, ...], sources: int) -> None:
    random = np.random.default_rng(0)

    def arrays() -> dict[str, Array]:
        found = {f"from {k}": strided(random, shape, order).astype(dtype, order="K") for k in range(sources)}
        return {**found, "to": np.full((shape[0], shape[1] + 2, shape[2] + 3), np.nan, dtype)}

    def inner(to: Array) -> Array:
        return to[:, 1:-1, 1:-2]

    planned = arrays()
    copies = [Copy("to", inner(planned["to"]), of, planned[of]) for of in planned if of != "to"]
    for threads in (1, 3):
        there = arrays()
        names = make(planned, copies, threads=threads, held=[*there.values()])
        *values, to = there.values()
        np.testing.assert_allclose(inner(to), sum(values), rtol=1e-6)
        assert np.isnan(to).sum() == to.size - values[0].size
        across = order != (0, 1, 2) and values[0].size >= module._MANY
        assert [name[:4] for name in names] == ["tran" if across else "copy"]


STEPS = st.lists(st.sampled_from([1, 2, -1, -3]), min_size=3, max_size=3)


def cut(memory: Array, shape: list[int], steps: list[int], order: list[int]) -> Array:
    """A view of this shape of memory that is large enough, its axes in this order."""
    axes = len(shape)
    view = memory[tuple(slice(None, None, step) for step in steps[:axes])]
    view = view[tuple(slice(shape[axis]) for axis in range(axes))]
    return view.transpose([axis for axis in order if axis < axes])


@given(
    shape=st.lists(st.integers(1, 20), min_size=1, max_size=3),
    steps=st.tuples(STEPS, STEPS),
    order=st.permutations(range(3)),
    dtype=st.sampled_from(["float32", "float64"]),
    sources=st.integers(1, 3),
    seed=st.integers(0, 99),
)
def test_any_strides(
    shape: list[int],
    steps: tuple[list[int], list[int]],
    order: list[int],
    dtype: str,
    sources: int,
    seed: int,
) -> None:
    random = np.random.default_rng(seed)
    size = tuple(3 * n for n in shape)
    wall: Array = np.full(size, np.nan, dtype)
    to, memory = guarded(size, dtype)
    target = cut(to, shape, steps[0], order)
    arrays, views = {"to": to}, []
    for k in range(sources):
        source = walled(wall)
        view = cut(source, shape, steps[1] if k % 2 else steps[0][::-1], order)
        view[...] = random.standard_normal(view.shape)
        arrays[f"from {k}"] = source
        views.append(view)
    make(arrays, [Copy("to", target, f"from {k}", view) for k, view in enumerate(views)])
    np.testing.assert_allclose(target, sum(views), rtol=1e-5, atol=1e-6)
    assert np.isnan(to).sum() == to.size - target.size
    assert_unharmed(memory, "to")


@given(
    shape=st.tuples(st.integers(1, 3), st.integers(1, 90), st.integers(1, 90)),
    dtype=st.sampled_from(["float32", "float64"]),
    adds=st.booleans(),
    least=st.sampled_from([1, 4096]),
)
def test_transposes(shape: tuple[int, int, int], dtype: str, adds: bool, least: int) -> None:
    random = np.random.default_rng(sum(shape))
    to, memory = guarded(shape, dtype)
    sources = [
        walled(random.standard_normal((shape[0], shape[2], shape[1])).astype(dtype)) for _ in range(1 + adds)
    ]
    arrays = {"to": to, **{str(k): source for k, source in enumerate(sources)}}
    copies = [Copy("to", to, str(k), source.transpose(0, 2, 1)) for k, source in enumerate(sources)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_MANY", least)
        make(arrays, copies)
    np.testing.assert_allclose(to, sum(sources).transpose(0, 2, 1), rtol=1e-6, atol=1e-6)
    assert_unharmed(memory, "to")


@pytest.mark.parametrize("shape", [(3, 4, 5), (1, 64, 80), (2, 40, 1)])
def test_what_is_copied_to_one_place_adds_up_whatever_its_order(shape: tuple[int, ...]) -> None:
    random = np.random.default_rng(0)
    values = [strided(random, shape, order) for order in itertools.permutations(range(3))]
    arrays = {"to": np.full(shape, np.nan), **{str(k): value for k, value in enumerate(values)}}
    make(arrays, [Copy("to", arrays["to"], of, arrays[of]) for of in arrays if of != "to"])
    np.testing.assert_allclose(arrays["to"], sum(values), rtol=1e-12)


def test_constants_and_nothing_at_all() -> None:
    recorder, ones = Recorder(), np.ones(2)
    to, memory = guarded((3, 5), "float64")
    arrays = {"to": Location(recorder.operand(), to), "ones": constant(ones)}
    copies = [
        Copy("to", to[:, 1:3], "ones", np.broadcast_to(ones[:1], (3, 2))),
        Copy("to", to[:0], "ones", np.broadcast_to(ones[:1], (0, 5))),
    ]
    plan = CopyPlan(arrays, copies)
    assert plan.tasks(4) == 1
    plan.record(recorder.phase())
    assert recorder.finish().run([address(to)], own_threads(), 1) is None
    assert (to[:, 1:3] == 1).all()
    assert np.isnan(to).sum() == 9
    assert_unharmed(memory, "to")
    large = np.zeros(module._SHARED)
    location = {"a": Location(Argument(3), large)}
    assert CopyPlan(location, [Copy("a", large, "a", large)]).tasks(4) == 4


def test_copies_of_unequal_shapes() -> None:
    a, b = np.zeros((3, 4)), np.zeros((4, 3))
    arrays = {"a": Location(Argument(3), a), "b": Location(Argument(4), b)}
    with pytest.raises(ValueError, match=r"cannot copy \(4, 3\) to \(3, 4\)"):
        CopyPlan(arrays, [Copy("a", a, "b", b)])
    many = np.zeros((2, 3, 2, 2, 1))
    with pytest.raises(ValueError, match="more than 3 axes"):
        CopyPlan(arrays, [Copy("a", a.reshape(3, 2, 2, 1)[None].repeat(2, 0), "a", many)])

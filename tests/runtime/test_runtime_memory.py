"""Memory: parameters and gradients of any strides, nothing else touched, and that the kernel did it."""

from __future__ import annotations

import ctypes
import threading

import numpy as np
import pytest
from scan_helpers import GUARD, Array, assert_unharmed, close, guarded, problem, ready

from stepfold import _reference as reference_module
from stepfold import cell, cells, record, scan, tanh
from stepfold._llvm import _cache, _compile
from stepfold._scan import Recurrence, _memory


def strided(array: Array) -> tuple[Array, Array]:
    """The array's numbers in every second, backward place of a larger memory, and that memory."""
    memory = np.full(tuple(2 * n for n in array.shape), 777.0, array.dtype)
    view = memory[tuple(slice(None, None, -2) for _ in array.shape)]
    view[...] = array
    return view, memory


@pytest.mark.parametrize("name", ["lstm", "gru_reset_before", "peephole_lstm"])
@pytest.mark.parametrize("turn", [strided, lambda a: (np.asfortranarray(a), a)], ids=["strided", "Fortran"])
def test_parameters_of_any_strides(name: str, turn) -> None:
    made = problem(cells.by_name(name), 5, 6, 7, 18)
    made.but(params={k: turn(p)[0] for k, p in made.params.items()}).check()


@cell
def two_kernels(x, h, *, W, V, U, b):
    return tanh(W @ x + V @ x + U @ h + b)


@pytest.mark.parametrize("sizes", [(3, 5, 40, 48), (2, 3, 7, 18)])
def test_kernels_that_add_up_lie_in_different_orders(sizes: tuple[int, ...]) -> None:
    made = problem(two_kernels, *sizes)
    for turned in ("W", "V"):
        params = made.params | {turned: np.asfortranarray(made.params[turned])}
        made.but(params=params).check()


def test_gradients_are_written_into_views_and_nowhere_else() -> None:
    made = problem(cells.lstm, 5, 6, 7, 18)
    recurrence = ready(made.step, 18)
    schedule = made.schedule()
    kept = np.empty(recurrence.kept_size(5, 6))
    recurrence.forward(schedule, made.inputs, made.params, made.initial, kept=kept)
    # one matrix for all gates, as Keras keeps it: (features, 4 · units)
    whole = np.full((7, 4 * 18), np.nan)
    views = {f"W_{g}": whole[:, k * 18 : (k + 1) * 18].T for k, g in enumerate("ifco")}
    view, memory = strided(made.params["U_f"])
    recurrence.backward(
        schedule, made.inputs, made.params, kept, output_gradient=made.output_gradient,
        last_gradient=made.last_gradient, params_gradient=views | {"U_f": view},
    )  # fmt: skip
    expected = made.reference()
    for name, found in (views | {"U_f": view}).items():
        close(found, expected[f"to {name}"], 1e-10, name)
    untouched = memory == 777.0
    assert untouched.sum() == memory.size - view.size


def test_only_what_is_asked_for_is_written() -> None:
    made = problem(cells.lstm, 5, 6, 7, 18)
    recurrence, schedule, expected = ready(made.step, 18), made.schedule(), made.reference()
    last = np.full((5, 18), np.nan)
    recurrence.forward(schedule, made.inputs, made.params, made.initial, last=[None, last])
    close(last, expected["state c"], 1e-10, "state c alone")
    recurrence.forward(schedule, made.inputs, made.params, made.initial)
    kept = np.empty(recurrence.kept_size(5, 6))
    recurrence.forward(schedule, made.inputs, made.params, made.initial, kept=kept)
    to_c = np.full((5, 18), np.nan)
    given = {"output_gradient": made.output_gradient, "last_gradient": made.last_gradient}
    recurrence.backward(
        schedule, made.inputs, made.params, kept, params_gradient={}, initial_gradient=[None, to_c], **given
    )
    close(to_c, expected["to initial c"], 1e-10, "gradient of state c alone")
    to_b = np.full(18, np.nan)
    recurrence.backward(schedule, made.inputs, made.params, kept, params_gradient={"b_f": to_b}, **given)
    close(to_b, expected["to b_f"], 1e-10, "one vector's gradient alone")


def test_what_goes_in_stays_as_it_was() -> None:
    made = problem(cells.lstm, 5, 6, 7, 18, mask=np.random.default_rng(0).random((5, 6)) > 0.4)
    arrays = [
        made.inputs,
        made.mask,
        made.output_gradient,
        *made.initial,
        *made.last_gradient,
        *made.params.values(),
    ]
    before = [a.copy() for a in arrays]
    for array in arrays:
        array.flags.writeable = False
    made.check()
    assert all(np.array_equal(a, b) for a, b in zip(arrays, before, strict=True))


def test_going_back_twice_gives_the_same() -> None:
    made = problem(cells.gru_reset_before, 5, 6, 7, 18)
    recurrence, schedule = ready(made.step, 18), made.schedule()
    kept = np.empty(recurrence.kept_size(5, 6))
    recurrence.forward(schedule, made.inputs, made.params, made.initial, kept=kept)
    grown = {name: np.full_like(p, 1e6) for name, p in made.params.items()}
    found = []
    for _ in range(2):
        recurrence.backward(
            schedule,
            made.inputs,
            made.params,
            kept,
            output_gradient=made.output_gradient,
            params_gradient=grown,
        )
        found.append({name: g.copy() for name, g in grown.items()})
    assert all(np.array_equal(found[0][name], found[1][name]) for name in grown)


# ---- the compiled kernel, not a fall-back, is what ran -----------------------------------------------


def test_the_reference_takes_no_part(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("the reference ran")

    monkeypatch.setattr(reference_module, "evaluate", never)
    monkeypatch.setattr(reference_module, "Reference", never)
    problem(cells.lstm, 3, 4, 5, 17).fold()
    params = cells.lstm.init(5, 17, seed=0)
    assert np.isfinite(scan(cells.lstm, np.zeros((2, 3, 5), np.float32), params)).all()


def test_machine_code_is_compiled_kept_and_called(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    compiled: list[str] = []
    loaded: list[tuple[str, int]] = []
    plain = _compile.compile_text

    def compile_text(text: str, on: object) -> bytes:
        compiled.append(text)
        return plain(text, on)

    class Library(_compile.Library):
        def __init__(self, code: bytes, names: list[str]) -> None:
            super().__init__(code, names)
            loaded.extend((name, self.addresses[name]) for name in names)

    monkeypatch.setattr(_cache, "compile_text", compile_text)
    monkeypatch.setattr(_cache, "Library", Library)
    made = problem(cells.ugrnn, 3, 4, 5, 7)
    fresh = Recurrence(made.step, 7, "float64")
    made.check(recurrence=fresh)
    assert [name for name, _ in loaded] == ["infer", "train", "back"]
    assert all(address for _, address in loaded)
    assert len(compiled) == 3
    assert all("define" in text and "fmuladd" in text for text in compiled)
    assert fresh.from_cache == {"infer": False, "train": False, "back": False}
    files = list(tmp_path.rglob("*.kernel"))
    assert len(files) == 3
    assert all(b"ELF" in f.read_bytes() or f.stat().st_size > 1000 for f in files)


def test_a_kernel_with_its_code_taken_away_gives_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes out was written by the kernel: with a kernel that does nothing, nothing comes out."""
    from stepfold._scan import _engine

    calls: list[int] = []

    @ctypes.CFUNCTYPE(None, ctypes.c_void_p)
    def idle(block: int) -> None:
        calls.append(threading.get_ident())

    class Idle(_engine.Compiled):
        address = ctypes.cast(idle, ctypes.c_void_p).value

        def __init__(self, kernel, library):
            super().__init__(kernel, library)
            self.address = Idle.address

    monkeypatch.setattr(_engine, "Compiled", Idle)
    made = problem(cells.ugrnn, 3, 4, 5, 7)
    outputs = np.full((3, 4, 7), np.nan)
    Recurrence(made.step, 7, "float64").forward(made.schedule(), made.inputs, made.params, outputs=outputs)
    assert len(calls) == 1
    assert np.isnan(outputs).all()


# ---- and the helpers of these tests notice what they are there to notice -----------------------------------


def test_the_comparison_can_fail() -> None:
    one = np.ones(3)
    close(one, one, 0.0, "equal")
    for other in (
        np.array([1.0, 1.0, 1.1]),
        np.array([1.0, np.nan, 1.0]),
        np.ones(4),
        np.array([1, np.inf, 1]),
    ):
        for a, b in ((one, other), (other, one)):
            with pytest.raises(AssertionError, match=r"^numbers: "):
                close(a, b, 1e-3, "numbers")


@pytest.mark.parametrize("place", [GUARD - 1, -GUARD])
def test_the_guards_can_fail(place: int) -> None:
    inner, memory = guarded((2, 3), "float32")
    inner[...] = 0.0
    assert_unharmed(memory, "memory")
    memory[place] = 0.0
    with pytest.raises(AssertionError, match="memory: something was written"):
        assert_unharmed(memory, "memory")


def test_memory_that_was_dropped_is_lent_again_to_who_fits() -> None:
    first = _memory.lend(1000, "float32")
    address = first.ctypes.data
    assert _memory.lend(1000, "float32").ctypes.data != address
    del first
    second = _memory.lend(450, "float64")
    assert (second.ctypes.data, second.size, second.dtype) == (address, 450, np.float64)
    del second
    small = _memory.lend(10, "float32")
    assert not address <= small.ctypes.data < address + 4000


def test_what_a_run_keeps_is_its_own_until_it_dies() -> None:
    params = cells.lstm.init(3, 5, seed=0)
    inputs = np.random.default_rng(0).standard_normal((4, 6, 3)).astype(np.float32)
    runs = [record(cells.lstm, factor * inputs, params) for factor in (1, 2)]
    expected = [run.backward(np.ones_like(run.output)).inputs for run in runs]
    del runs[0]
    record(cells.lstm, 3 * inputs, params)  # may work where the first one did
    np.testing.assert_array_equal(runs[0].backward(np.ones_like(runs[0].output)).inputs, expected[1])

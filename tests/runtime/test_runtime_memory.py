"""Memory: weights in any layout, nothing else touched, and that the kernels did it."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from stepfold import _reference as reference_module
from stepfold import cell, cells, record, scan, tanh
from stepfold._llvm import FOLDER_VARIABLE, Library, Target, _cache, _compile
from stepfold._native import own_threads
from stepfold._runtime import (
    Call,
    Engine,
    Part,
    Recipe,
    Shape,
    Threads,
    Wanted,
    backward_operands,
    backward_program,
    forward_operands,
    forward_program,
)
from stepfold._runtime import _engine as engine_module
from stepfold._runtime._run import run
from tests.runtime.scan_arrays import (
    GUARD,
    LIMITS,
    Array,
    Results,
    assert_unharmed,
    close,
    guarded,
    guarded_bytes,
    guarded_integers,
)
from tests.runtime.scan_helpers import problem, ready

GATES = "ifco"


# ---- weights in any layout ---------------------------------------------------------------------------------


def fused_lstm(units: int) -> Recipe:
    """An LSTM as blocks of three weights: (features, 4 units), (units, 4 units), (2, 4 units), the
    latter's rows added up; no weight for b_o."""
    parts: dict[str, tuple[Part, ...]] = {}
    for k, gate in enumerate(GATES):
        parts[f"W_{gate}"] = (Part(0, k, axis=1, transposed=True),)
        parts[f"U_{gate}"] = (Part(1, k, axis=1, transposed=True),)
        parts[f"b_{gate}"] = (Part(2, k, row=0), Part(2, k, row=1)) if gate != "o" else ()
    ordered = tuple((name, parts[name]) for name in cells.lstm.step.parameters)
    return Recipe(cells.lstm.step, units, ordered, 3, initial=True)


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("sizes", [(5, 6, 7, 18), (9, 5, 40, 48), (2, 3, 1, 1), (150, 12, 5, 33)])
def test_parameters_are_pieces_of_weights(sizes: tuple[int, ...], dtype: str, threads: int) -> None:
    made = problem(cells.lstm, *sizes, dtype)
    batch, time, features, units = sizes
    random = np.random.default_rng(1)
    shapes = (features, 4 * units), (units, 4 * units), (2, 4 * units)
    weights = [(random.standard_normal(s) / s[0] ** 0.5).astype(dtype) for s in shapes]
    recipe, engine = fused_lstm(units), ready(made.step, units, dtype)
    params = recipe.parameters(weights, lambda: np.zeros(units, dtype))
    expected = made.but(params=params).reference()
    shape = Shape(batch, time, features, shapes)
    own = Threads(own_threads(), threads)
    given = made.operands() | {f"weight {k}": weight for k, weight in enumerate(weights)}
    operands, results = forward_operands(engine, recipe, shape, True, True), Results(dtype)
    arrays = results.arrays(operands, given)
    program = forward_program(engine, recipe, shape, outputs=True, training=True, threads=threads)
    run(program, operands, arrays, engine.dtype, own)
    results.check()
    close(results.made["outputs"], expected["outputs"], LIMITS[dtype], "outputs")
    given["residuals"] = results.made["residuals"]
    wanted = Wanted(True, (True, True), True, (True, True, True))
    operands, results = backward_operands(engine, recipe, shape, wanted), Results(dtype)
    arrays = results.arrays(operands, given)
    program = backward_program(engine, recipe, shape, wanted, threads=threads)
    run(program, operands, arrays, engine.dtype, own)
    results.check()
    found = [results.made[f"the gradient of weight {k}"] for k in range(3)]
    for name, _ in recipe.parts:
        pieces = recipe.pieces(found, name)
        assert len(pieces) == {"W": 1, "U": 1, "b": 0 if name == "b_o" else 2}[name[0]]
        for piece in pieces:
            close(piece, expected[f"gradient of {name}"], LIMITS[dtype], name)
    close(results.made["the gradient of inputs"], expected["gradient of inputs"], LIMITS[dtype], "inputs")


def strided(array: Array) -> Array:
    """The array's elements in every second, backward place of a larger memory."""
    memory = np.full(tuple(2 * n for n in array.shape), np.nan, array.dtype)
    view = memory[tuple(slice(None, None, -2) for _ in array.shape)]
    view[...] = array
    return view


@pytest.mark.parametrize("name", ["lstm", "gru_reset_before", "peephole_lstm"])
@pytest.mark.parametrize("turn", [strided, np.asfortranarray], ids=["strided", "Fortran"])
def test_parameters_of_any_strides(name: str, turn: Callable[[Array], Array]) -> None:
    made = problem(cells.by_name(name), 5, 6, 7, 18)
    params = {k: turn(p) for k, p in made.params.items()}
    found = record(
        cells.by_name(name), made.inputs, params, initial_state=made.initial, return_sequences=True
    )
    gradients, expected = found.backward(made.output_gradient, made.last_gradient), made.reference()
    close(found.output, expected["outputs"], 1e-10, "outputs")
    for key, value in gradients.params.items():
        close(value, expected[f"gradient of {key}"], 1e-10, key)


@cell
def two_kernels(x, h, *, W, V, U, b):
    return tanh(W @ x + V @ x + U @ h + b)


@pytest.mark.parametrize("sizes", [(3, 5, 40, 48), (2, 3, 7, 18), (2, 3, 70, 70)])
def test_kernels_that_add_up_lie_in_different_orders(sizes: tuple[int, ...]) -> None:
    made = problem(two_kernels, *sizes)
    made.check()
    engine = ready(made.step, sizes[3])
    own = Recipe.of(made.step, sizes[3])
    for turned in ("W", "V"):
        weights = {k: np.ascontiguousarray(p.T) if k == turned else p for k, p in made.params.items()}
        parts = tuple((name, (Part(k, transposed=name == turned),)) for k, name in enumerate(made.params))
        call = Call(engine, replace(own, parts=parts, initial=True), made.inputs, [*weights.values()],
                    initial=[s for s in made.initial if s is not None])  # fmt: skip
        expected = made.reference()
        forward = call.forward(outputs=True, training=True)
        assert forward.outputs is not None
        assert forward.residuals is not None
        close(forward.outputs, expected["outputs"], 1e-10, "outputs")
        found = call.backward(
            forward.residuals, output_gradient=made.output_gradient, last_gradients=made.last_gradient
        )
        for name, value in zip(made.params, found.weights, strict=True):
            assert value is not None
            value = value.T if name == turned else value
            close(value, expected[f"gradient of {name}"], 1e-10, name)


# ---- what is written ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("tokens", [False, True])
def test_only_what_is_asked_for_is_computed(tokens: bool, threads: int) -> None:
    made = problem(cells.lstm, 60, 12, 7, 18)
    if tokens:
        random = np.random.default_rng(0)
        made = made.but(inputs=random.standard_normal((5, 7)), tokens=random.integers(0, 5, (60, 12)))
    engine, expected = ready(made.step, 18), made.reference()
    recipe, shape, own = made.recipe, made.shape, Threads(own_threads(), threads)
    for outputs in (False, True):
        for training in (False, True):
            operands, results = forward_operands(engine, recipe, shape, outputs, training), Results("float64")
            arrays = results.arrays(operands, made.operands())
            options = {"outputs": outputs, "training": training, "threads": threads}
            run(forward_program(engine, recipe, shape, **options), operands, arrays, engine.dtype, own)
            results.check()
            assert ("outputs" in results.made) == outputs
            close(results.made["last state c"], expected["state c"], 1e-10, "state c")
    residuals = results.made["residuals"]
    for inputs in (False, True):
        for chosen in ((), ("b_f",), ("U_i", "W_o")):
            wanted = Wanted(True, (True, True), inputs, tuple(name in chosen for name in made.params))
            operands, results = backward_operands(engine, recipe, shape, wanted), Results("float64")
            arrays = results.arrays(operands, made.operands() | {"residuals": residuals})
            program = backward_program(engine, recipe, shape, wanted, threads=threads)
            run(program, operands, arrays, engine.dtype, own)
            results.check()
            assert len(results.made) == 2 + inputs + len(chosen)
            for k, name in enumerate(made.params):
                if name in chosen:
                    found = results.made[f"the gradient of weight {k}"]
                    close(found, expected[f"gradient of {name}"], 1e-10, name)
            found = results.made["the gradient of initial state c"]
            close(found, expected["gradient of initial c"], 1e-10, "initial c")
    assert "the gradient of initial state h" in results.made


@pytest.mark.parametrize("arriving", [(False, False), (True, False), (False, True)])
def test_gradients_that_do_not_arrive(arriving: tuple[bool, bool]) -> None:
    made = problem(cells.lstm, 5, 6, 7, 18, mask=np.random.default_rng(0).random((5, 6)) > 0.4)
    last = [g if given else None for g, given in zip(made.last_gradient, arriving, strict=True)]
    call = Call(
        ready(made.step, 18), made.recipe, made.inputs, [*made.params.values()], None, made.mask,
        [s for s in made.initial if s is not None],
    )  # fmt: skip
    forward = call.forward(outputs=False, training=True)
    assert forward.outputs is None
    assert forward.residuals is not None
    found = call.backward(forward.residuals, output_gradient=None, last_gradients=last)
    zeros = np.zeros((5, 18))
    expected = made.but(output_gradient=None, last_gradient=[zeros if g is None else g for g in last])
    close(found.initial[1], expected.reference()["gradient of initial c"], 1e-10, "initial c")
    assert found.inputs is not None
    close(found.inputs, expected.reference()["gradient of inputs"], 1e-10, "inputs")


def test_operands_stay_as_they_were() -> None:
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
    found = record(
        cells.lstm, made.inputs, made.params, initial_state=made.initial, mask=made.mask,
        return_sequences=True,
    )  # fmt: skip
    gradients, expected = found.backward(made.output_gradient, made.last_gradient), made.reference()
    close(found.output, expected["outputs"], 1e-10, "outputs")
    close(gradients.inputs, expected["gradient of inputs"], 1e-10, "inputs")
    made.check()
    assert all(np.array_equal(a, b) for a, b in zip(arrays, before, strict=True))


def test_two_backward_passes_give_the_same() -> None:
    made = problem(cells.gru_reset_before, 5, 6, 7, 18)
    engine, own = ready(made.step, 18), Threads(own_threads(), 2)
    _, residuals = made.forward(engine, own, training=True)
    assert residuals is not None
    first, second = (made.backward(engine, own, residuals) for _ in range(2))
    for name, value in first.items():
        np.testing.assert_array_equal(second[name], value, err_msg=name)


def test_the_arrays_may_change_before_the_backward_pass() -> None:
    random = np.random.default_rng(3)
    params = cells.gru.init(5, 18, seed=0, dtype="float64")
    inputs, mask = random.standard_normal((6, 9, 5)), random.random((6, 9)) > 0.4
    tokens, start = random.integers(0, 6, (6, 9)), [random.standard_normal((6, 18))]
    for given, more in ((inputs, {}), (tokens, {"table": inputs[0, :6].copy()})):
        arrays = [given, mask, *start, *more.values(), *params.values()]
        before = [array.copy() for array in arrays]
        found = record(cells.gru, given, params, mask=mask, initial_state=start, **more)
        arriving = random.standard_normal(found.output.shape)
        expected = found.backward(arriving)
        for array in arrays:
            array[...] = True if array.dtype == bool else 10**6
        again = found.backward(arriving)
        for array, old in zip(arrays, before, strict=True):
            array[...] = old
        np.testing.assert_array_equal(again.inputs, expected.inputs)
        np.testing.assert_array_equal(again.initial_state[0], expected.initial_state[0])
        for name, value in expected.params.items():
            np.testing.assert_array_equal(again.params[name], value)


def test_residuals_are_a_runs_own_until_it_dies() -> None:
    params = cells.lstm.init(3, 5, seed=0)
    inputs = np.random.default_rng(0).standard_normal((4, 6, 3)).astype(np.float32)
    runs = [record(cells.lstm, factor * inputs, params) for factor in (1, 2)]
    expected = [made.backward(np.ones_like(made.output)).inputs for made in runs]
    del runs[0]
    record(cells.lstm, 3 * inputs, params)  # may use the memory of the first one
    np.testing.assert_array_equal(runs[0].backward(np.ones_like(runs[0].output)).inputs, expected[1])


# ---- the compiled kernel, not a fall-back, is what ran -----------------------------------------------------


def test_the_reference_takes_no_part(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("the reference ran")

    monkeypatch.setattr(reference_module, "evaluate", never)
    monkeypatch.setattr(reference_module, "Reference", never)
    problem(cells.lstm, 3, 4, 5, 17).run()
    params = cells.lstm.init(5, 17, seed=0)
    assert np.isfinite(scan(cells.lstm, np.zeros((2, 3, 5), np.float32), params)).all()


def test_machine_code_is_compiled_kept_and_called(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    problem(cells.simple_rnn, 3, 4, 5, 7).run()  # the support kernels are loaded
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    compiled: list[str] = []
    loaded: list[tuple[str, int]] = []
    plain = _compile.compile_text

    def compile_text(text: str, on: Target) -> bytes:
        compiled.append(text)
        return plain(text, on)

    class Watched(Library):
        def __init__(self, code: bytes, names: list[str]) -> None:
            super().__init__(code, names)
            loaded.extend((name, self.addresses[name]) for name in names)

    monkeypatch.setattr(_cache, "compile_text", compile_text)
    monkeypatch.setattr(_cache, "Library", Watched)
    made = problem(cells.ugrnn, 3, 4, 5, 7)
    fresh = Engine(made.step, 7, "float64")
    made.check(engine=fresh)
    assert [name for name, _ in loaded] == ["infer", "train", "backward"]
    assert all(address for _, address in loaded)
    assert len(compiled) == 3
    assert all("define" in text and "fmuladd" in text for text in compiled)
    assert fresh.from_cache == {"infer": False, "train": False, "backward": False}
    files = list(tmp_path.rglob("*.kernel"))
    assert len(files) == 3
    assert all(b"ELF" in f.read_bytes() or f.stat().st_size > 1000 for f in files)


def test_a_kernel_with_its_code_taken_away_gives_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Outputs are written by the kernel: with a kernel that does nothing, nothing is written."""
    calls: list[int] = []
    plain = engine_module.compiled

    @ctypes.CFUNCTYPE(None, ctypes.c_void_p)
    def idle(block: int) -> None:
        calls.append(threading.get_ident())

    def without_code(*arguments: object) -> object:
        kernel = plain(*arguments)
        kernel.address = ctypes.cast(idle, ctypes.c_void_p).value or 0
        return kernel

    monkeypatch.setattr(engine_module, "compiled", without_code)
    made = problem(cells.ugrnn, 3, 4, 5, 7)
    found, _ = made.forward(Engine(made.step, 7, "float64"), Threads(own_threads(), 1), training=False)
    assert calls == [threading.get_ident()]
    assert np.isnan(found["outputs"]).all()


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
            for nan in (False, True):
                with pytest.raises(AssertionError, match=r"^values: "):
                    close(a, b, 1e-3, "values", nan=nan)


@pytest.mark.parametrize("make", [guarded, guarded_integers, lambda n, _: guarded_bytes(n[0] * n[1])])
@pytest.mark.parametrize("place", [GUARD - 1, -GUARD])
def test_the_guards_can_fail(place: int, make: Callable[..., tuple[Array, Array]]) -> None:
    inner, memory = make((2, 3), "int32" if make is guarded_integers else "float32")
    inner[...] = 0
    assert_unharmed(memory, "memory")
    memory[place] = 0
    with pytest.raises(AssertionError, match="memory: something was written"):
        assert_unharmed(memory, "memory")

"""What is JAX's alone: the foreign function under jit, grad, vmap and scan, and its errors."""

from __future__ import annotations

import subprocess
import sys
from time import sleep
from typing import Any

import numpy as np
import pytest
from keras_helpers import BACKEND, close, kernels, only_jax, pair, quiet, random, weights_of

if BACKEND == "jax":
    import jax
    import jax.numpy as jnp

    from stepfold import cells
    from stepfold._llvm import PROBES, TABLE_SIZE
    from stepfold._runtime import Recipe, Wanted
    from stepfold.keras import _xla
    from stepfold.keras._xla import Attributes

pytestmark = [quiet, only_jax]
SHAPE = (4, 6, 3)


ATTRIBUTES = Attributes(Recipe.of(cells.simple_rnn.step, 3).text, outputs=True) if BACKEND == "jax" else None


def raw(attributes: Any, *arguments: Any, outputs: tuple[int, ...] = (2, 4, 3)) -> Any:
    """The program that `attributes` says, on arguments as they are."""
    results = [jax.ShapeDtypeStruct(shape, "float32") for shape in (outputs, (outputs[0], 3))]
    return jax.block_until_ready(_xla.call(attributes, list(arguments), results))


def operands(batch: int = 2, time: int = 4) -> list[Any]:
    shapes = [(batch, time, 2), (3, 2), (3, 3), (3,)]
    return [jnp.asarray(random(*shape, seed=k)) for k, shape in enumerate(shapes)]


def test_the_handler_finds_a_recorded_program_without_python(monkeypatch: pytest.MonkeyPatch) -> None:
    first = raw(ATTRIBUTES, *operands())
    monkeypatch.setattr(_xla, "_recorded", lambda *_: pytest.fail("Python was asked again"))
    for one, other in zip(raw(ATTRIBUTES, *operands()), first, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_call_is_told_apart_by_its_shapes_and_dtypes() -> None:
    for batch in (1, 2, 5):
        for time in (1, 4):
            outputs, last = raw(ATTRIBUTES, *operands(batch, time), outputs=(batch, time, 3))
            x, W, U, b = (np.asarray(a, np.float64) for a in operands(batch, time))
            h = np.zeros((batch, 3))
            for t in range(time):
                h = np.tanh(x[:, t] @ W.T + h @ U.T + b)
                close(outputs[:, t], h.astype(np.float32))
            close(last, h.astype(np.float32))


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({0: (2, 4, 5)}, r"weight 0 has shape \(3, 2\), but .* should be parameter 'W' of shape \(3, 5\)"),
        ({1: (3, 3)}, r"weight 0 has shape \(3, 3\), but .* of shape \(3, 2\)"),
        ({2: (3, 4)}, r"weight 1 has shape \(3, 4\), but .* of shape \(3, 3\)"),
        ({3: (4,)}, r"weight 2 has shape \(4,\), but .* of shape \(3,\)"),
        ({3: (3, 1)}, r"weight 2 has shape \(3, 1\), but .* of shape \(3,\)"),
    ],
)
def test_buffers_that_do_not_fit_are_an_error(change: dict[int, tuple[int, ...]], text: str) -> None:
    given = operands()
    for number, shape in change.items():
        given[number] = jnp.asarray(random(*shape))
    with pytest.raises(Exception, match=text):
        raw(ATTRIBUTES, *given)


def test_too_few_buffers_another_dtype_or_another_text_are_errors() -> None:
    with pytest.raises(Exception, match="stepfold"):
        raw(Attributes("no recipe", outputs=True), *operands())
    with pytest.raises(Exception, match="there are 2 weights, the recipe has 3"):
        raw(ATTRIBUTES, *operands()[:-1])
    with pytest.raises(Exception, match="weight 2 has XLA's dtype 4, expected float"):
        raw(ATTRIBUTES, *operands()[:-1], jnp.zeros(3, "int32"))


def test_the_table_of_programs_is_bounded_and_still_right() -> None:
    for time in range(1, 4 * PROBES):
        x = operands(1, time)
        outputs, _ = raw(ATTRIBUTES, *x, outputs=(1, time, 3))
        again, _ = raw(ATTRIBUTES, *x, outputs=(1, time, 3))
        np.testing.assert_array_equal(outputs, again)
    assert len(_xla.table) <= TABLE_SIZE
    assert len(_xla.table._held) <= TABLE_SIZE


def test_an_interruption_while_recording_is_raised_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    original, interrupted = _xla._recorded, []

    def recorded(*arguments: Any) -> Any:
        if not interrupted:
            interrupted.append(True)
            raise KeyboardInterrupt
        return original(*arguments)

    monkeypatch.setattr(_xla, "_recorded", recorded)

    def interrupted_call() -> None:
        raw(ATTRIBUTES, *operands(3, 9), outputs=(3, 9, 3))
        sleep(1)  # it is raised as soon as Python runs again

    with pytest.raises(KeyboardInterrupt):
        interrupted_call()
    assert interrupted
    assert raw(ATTRIBUTES, *operands(3, 9), outputs=(3, 9, 3))


def test_vmap_and_scan() -> None:
    _, ours = pair("LSTM", 5, SHAPE)
    stack = random(3, *SHAPE)
    expected = np.stack([np.asarray(ours(x)) for x in stack])
    close(jax.vmap(ours)(jnp.asarray(stack)), expected)
    close(jax.lax.map(ours, jnp.asarray(stack)), expected)
    gradient = jax.grad(lambda x: ours(x).sum())
    close(
        jax.vmap(gradient)(jnp.asarray(stack)),
        np.stack([np.asarray(gradient(jnp.asarray(x))) for x in stack]),
    )


def test_rematerialisation() -> None:
    _, ours = pair("GRU", 5, SHAPE)
    x = jnp.asarray(random(*SHAPE))
    close(jax.grad(lambda x: jax.checkpoint(ours)(x).sum())(x), jax.grad(lambda x: ours(x).sum())(x))


def test_only_gradients_that_are_asked_for_are_computed() -> None:
    _, ours = pair("LSTM", 5, SHAPE)
    weights, fixed = ([v.value for v in of] for of in (ours.weights, ours.non_trainable_variables))

    def loss(weights: Any, x: Any) -> Any:
        return ours.stateless_call(weights, fixed, x)[0].sum()

    for argument, (inputs, params) in {0: (False, True), 1: (True, False)}.items():
        with kernels() as ran:
            jax.jit(jax.grad(loss, argnums=argument))(weights, jnp.asarray(random(*SHAPE)))
        (key,) = ran.backward
        assert (key.wanted.inputs, any(key.wanted.weights)) == (inputs, params)
        assert not key.wanted.outputs
        assert key.wanted.last == (True, False)


def test_inference_saves_nothing() -> None:
    _, ours = pair("LSTM", 5, SHAPE)
    with kernels() as ran:
        jax.jit(ours)(random(*SHAPE))
    assert [key.training for key in ran.forward] == [False]
    assert not ran.backward


def test_what_a_call_says_is_the_same_in_every_process() -> None:
    code = (
        "import os; os.environ['KERAS_BACKEND'] = 'jax';"
        "from stepfold import cells; from stepfold._runtime import Recipe, Wanted;"
        "from stepfold.keras._xla import Attributes;"
        "print(Attributes(Recipe.of(cells.lstm.step, 3).text, True, False).key,"
        "Attributes(Recipe.of(cells.gru.step, 3).text, wanted=Wanted(True, (True,), False, (True,))).key)"
    )
    there = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    here = (
        Attributes(Recipe.of(cells.lstm.step, 3).text, True, False),
        Attributes(Recipe.of(cells.gru.step, 3).text, wanted=Wanted(True, (True,), False, (True,))),
    )
    assert there.split() == [str(attributes.key) for attributes in here]
    assert here[0].key != here[1].key


def test_weights_given_away_by_jit_are_not_needed_again() -> None:
    _, ours = pair("GRU", 5, SHAPE)
    before, fixed = weights_of(ours), [v.value for v in ours.non_trainable_variables]
    step = jax.jit(
        lambda w, x: [v - 0.1 for v in w] + [ours.stateless_call(w, fixed, x)[0]], donate_argnums=0
    )
    *moved, _ = step([jnp.array(w) for w in before], jnp.asarray(random(*SHAPE)))
    close(moved, [w - 0.1 for w in before])


@pytest.mark.parametrize("name", ["LSTM", "GRU"])
@pytest.mark.parametrize("jitted", [False, True])
def test_an_empty_batch_has_gradients_of_zero(name: str, jitted: bool) -> None:
    _, ours = pair(name, 5, SHAPE)
    weights, fixed = ([v.value for v in of] for of in (ours.weights, ours.non_trainable_variables))
    weights = weights[: len(ours.trainable_variables)]

    def loss(weights: Any, x: Any) -> Any:
        return ours.stateless_call(weights, fixed, x)[0].sum()

    gradient = jax.grad(loss, argnums=(0, 1))
    gradient = jax.jit(gradient) if jitted else gradient
    of_weights, of_inputs = gradient(weights, jnp.zeros((0, *SHAPE[1:])))
    assert of_inputs.shape == (0, *SHAPE[1:])
    close(of_weights, [np.zeros(w.shape, np.float32) for w in weights])


@pytest.mark.parametrize("size", [0, 1, 16, 127])
def test_residuals_too_short_to_be_read_are_an_error(size: int) -> None:
    attributes = Attributes(
        Recipe.of(cells.simple_rnn.step, 3).text, wanted=Wanted(False, (True,), True, (False,) * 3)
    )
    given = [*operands(), jnp.zeros((1, size), "uint8"), jnp.zeros((2, 3))]
    with pytest.raises(Exception, match="are too short to be residuals"):
        jax.block_until_ready(_xla.call(attributes, given, [jax.ShapeDtypeStruct((2, 4, 2), "float32")]))


def test_attributes_that_are_none_of_ours_are_an_error() -> None:
    """In a process of its own: they crashed it."""
    code = """
import os; os.environ['KERAS_BACKEND'] = 'jax'
import jax, jax.numpy as jnp, numpy as np, stepfold.keras._xla

called = jax.ffi.ffi_call('stepfold', jax.ShapeDtypeStruct((2,), 'float32'))
for given in (
    {}, {'key': 'x'}, {'key': 'x', 'text': 'y'}, {'key': np.float32(1), 'text': 'y'},
    {'key': np.int64(3)}, {'key': np.int64(3), 'text': np.int64(4)}, {'a': 'b', 'key': np.int64(3)},
):
    try:
        called(jnp.ones(2), **given)
    except Exception as error:
        print('refused', given, str(error).splitlines()[0], flush=True)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    refused = [line for line in done.stdout.splitlines() if line.startswith("refused {")]
    assert (done.returncode, len(refused)) == (0, 7), done.stdout + done.stderr[-2000:]

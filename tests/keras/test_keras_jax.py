"""What is JAX's alone: the foreign function under jit, grad, vmap and scan, and its errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from keras_helpers import BACKEND, close, engine, only_jax, pair, quiet, random, weights_of

if BACKEND == "jax":
    import jax
    import jax.numpy as jnp

    from stepfold.keras import _ffi

pytestmark = [quiet, only_jax]
SHAPE = (4, 6, 3)


class Job:
    """Doubles the first argument; refuses sevens."""

    def run(self, arguments: list[Any], results: list[Any]) -> None:
        if (arguments[0] == 7).any():
            raise ValueError("no sevens here: use eights")
        if (arguments[0] == 13).any():
            raise KeyError("thirteen")
        if (arguments[0] == 99).any():
            raise NotImplementedError("not yet")
        results[0][...] = 2 * arguments[0]


def doubled(x: Any, key: int = 11) -> Any:
    _ffi.register(11, Job())
    return _ffi.call(key, [x], [jax.ShapeDtypeStruct(x.shape, x.dtype)])[0]


@pytest.mark.parametrize("dtype", ["float32", "int32", "bool"])
@pytest.mark.parametrize("shape", [(), (3,), (2, 0, 3), (2, 3, 1, 2)], ids=str)
def test_the_call_frame_is_read_right(dtype: str, shape: tuple[int, ...]) -> None:
    if dtype == "bool":
        x = jnp.asarray(np.ones(shape, bool))
        _ffi.register(12, type("Not", (), {"run": lambda self, a, r: np.logical_not(a[0], out=r[0])})())
        found = _ffi.call(12, [x], [jax.ShapeDtypeStruct(shape, "bool")])[0]
        assert not np.asarray(found).any()
        return
    x = jnp.asarray(100 + np.arange(np.prod(shape, dtype=int)).reshape(shape), dtype)
    np.testing.assert_array_equal(jax.jit(doubled)(x), 2 * x)
    np.testing.assert_array_equal(doubled(x), 2 * x)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (7, "ValueError: no sevens here: use eights"),
        (13, "KeyError: 'thirteen'"),
        (99, "NotImplementedError: not yet"),
    ],
)
def test_a_job_s_exception_is_xla_s_error(value: int, text: str) -> None:
    with pytest.raises(Exception, match=text):
        jax.jit(doubled)(jnp.full((2,), value)).block_until_ready()


def test_an_unknown_job_is_an_error() -> None:
    with pytest.raises(Exception, match="a step that this process has not defined"):
        doubled(jnp.ones(2), key=404).block_until_ready()


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


def test_second_and_forward_derivatives_are_a_clear_error() -> None:
    _, ours = pair("GRU", 5, SHAPE)
    x = jnp.asarray(random(*SHAPE))

    def first(x: Any) -> Any:
        return (jax.grad(lambda x: ours(x).sum())(x) ** 2).sum()

    with pytest.raises(NotImplementedError, match=r"\(gru\) has no second derivative yet; take only first"):
        jax.grad(first)(x)
    with pytest.raises(TypeError, match="forward-mode"):
        jax.jvp(ours, (x,), (x,))


def test_only_gradients_that_are_asked_for_are_computed() -> None:
    _, ours = pair("LSTM", 5, SHAPE)
    weights, fixed = ([v.value for v in of] for of in (ours.weights, ours.non_trainable_variables))

    def loss(weights: Any, x: Any) -> Any:
        return ours.stateless_call(weights, fixed, x)[0].sum()

    for argument, (inputs, params) in {0: (False, True), 1: (True, False)}.items():
        with engine() as calls:
            jax.jit(jax.grad(loss, argnums=argument))(weights, jnp.asarray(random(*SHAPE)))
        back = calls[1][1]
        assert (back["inputs_gradient"] is not None, bool(back["params_gradient"])) == (inputs, params)
        assert back["output_gradient"] is None
        assert [g is not None for g in back["last_gradient"]] == [True, False]


def test_inference_keeps_nothing() -> None:
    _, ours = pair("LSTM", 5, SHAPE)
    with engine() as calls:
        jax.jit(ours)(random(*SHAPE))
    assert [(direction, arguments["kept"]) for direction, arguments in calls] == [("forward", None)]


def test_a_job_s_number_is_the_same_in_every_process() -> None:
    import subprocess
    import sys

    code = (
        "import os; os.environ['KERAS_BACKEND'] = 'jax';"
        "from stepfold import cells; from stepfold.keras._recipe import *;"
        "layout = (('W', (Part(0, (slice(0, 3),), True),)),);"
        "print(Forward(Recipe(cells.lstm.step, 3, layout, 1), True, False).key,"
        "Backward(Recipe(cells.gru.step, 3, layout, 1), True, (True,), False, (True,)).key)"
    )
    printed = {
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    }
    assert len(printed) == 1
    assert len(set(printed.pop().split())) == 2


def test_weights_given_away_by_jit_are_not_needed_again() -> None:
    _, ours = pair("GRU", 5, SHAPE)
    before, fixed = weights_of(ours), [v.value for v in ours.non_trainable_variables]
    step = jax.jit(
        lambda w, x: [v - 0.1 for v in w] + [ours.stateless_call(w, fixed, x)[0]], donate_argnums=0
    )
    *moved, _ = step([jnp.array(w) for w in before], jnp.asarray(random(*SHAPE)))
    close(moved, [w - 0.1 for w in before])

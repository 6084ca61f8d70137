"""JAX's transformations of our layers against the same of Keras's: forward mode, second derivatives, vmap,
export."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import pytest
from keras_helpers import BACKEND, close, kernels, mask_of, only_jax, pair, quiet, random, randomised

import stepfold.keras
from stepfold import _warn
from stepfold._ops import TABLE
from stepfold.keras import SlowPathWarning
from tests.kinds import UNIFORM

if BACKEND == "jax":
    import jax
    import jax.numpy as jnp

pytestmark = [quiet, only_jax]
slower = pytest.mark.filterwarnings("ignore::stepfold.keras.SlowPathWarning")
SHAPE = (2, 4, 3)


def test_every_operation_has_its_jax_form() -> None:
    from stepfold.keras._jax_loop import JAX

    assert JAX.keys() == TABLE.keys()


def losses(name: str, **options: Any) -> tuple[Callable[..., Any], Callable[..., Any], list[Any], Any]:
    """The loss of (weights, inputs) of Keras's layer and of ours, the weights and inputs."""
    own, ours = pair(name, 3, SHAPE, **options)
    weights = [v.value for v in ours.trainable_variables]

    def loss_of(layer: Any) -> Callable[..., Any]:
        fixed = [v.value for v in layer.non_trainable_variables]
        mask = mask_of(2, 4, "right")
        return lambda weights, x: (layer.stateless_call(weights, fixed, x, mask=mask)[0] ** 2).sum()

    return loss_of(own), loss_of(ours), weights, jnp.asarray(random(*SHAPE))


def squared(loss: Callable[..., Any]) -> Callable[..., Any]:
    """The gradient of the squares of all gradients."""
    first = jax.grad(loss, (0, 1))
    return jax.jit(jax.grad(lambda w, x: sum((g**2).sum() for g in jax.tree.leaves(first(w, x))), (0, 1)))


@slower
def test_forward_mode_and_second_derivatives() -> None:
    own, ours, weights, x = losses("GRU", go_backwards=True)
    close(jax.jvp(ours, (weights, x), (weights, x)), jax.jvp(own, (weights, x), (weights, x)))
    close(squared(ours)(weights, x), squared(own)(weights, x), 1e-4)
    close(jax.hessian(ours, 1)(weights, x), jax.hessian(own, 1)(weights, x), 1e-4)


@slower
@pytest.mark.slow
@pytest.mark.parametrize("name", ["SimpleRNN", "LSTM"])
def test_derivatives_of_every_kind(name: str) -> None:
    own, ours, weights, x = losses(name, activation="softplus")
    close(squared(ours)(weights, x), squared(own)(weights, x), 1e-4)
    third = [jax.grad(lambda x, f=f: jax.hessian(f, 1)(weights, x).sum())(x) for f in (ours, own)]
    close(*third, 1e-4)
    for transform in (jax.jacfwd, jax.jacrev):
        close(transform(jax.grad(ours))(weights, x), transform(jax.grad(own))(weights, x), 1e-4)
    pushed = [
        jax.jit(lambda w, x, f=f: jax.jvp(jax.grad(f), (w, x), (w, x)))(weights, x) for f in (ours, own)
    ]
    close(*pushed, 1e-4)


@slower
@pytest.mark.slow
@pytest.mark.parametrize("name", UNIFORM)
def test_the_loop_is_the_kernels_derivative_for_every_cell(name: str) -> None:
    layer = stepfold.keras.Recurrent(name, 3, zoneout=0.1)
    layer.build(SHAPE)
    randomised(layer)
    weights, fixed = (
        [v.value for v in of] for of in (layer.trainable_variables, layer.non_trainable_variables)
    )
    given = weights, jnp.asarray(random(*SHAPE))

    def loss(weights: Any, x: Any) -> Any:
        return (layer.stateless_call(weights, fixed, x, training=True)[0] ** 2).sum()

    pushed = jax.jit(lambda *given: jax.jvp(loss, given, given)[1])(*given)
    gradients = jax.jit(jax.grad(loss, (0, 1)))(*given)
    products = jax.tree.map(lambda g, t: (g * t).sum(), gradients, given)
    close(pushed, sum(jax.tree.leaves(products)), 1e-4)


def test_one_warning_says_that_a_loop_is_slower(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_warn, "_said", set())
    _, ours, weights, x = losses("SimpleRNN")
    with pytest.warns(SlowPathWarning, match="no fused kernel for forward-mode derivatives: a loop of JAX"):
        jax.jvp(ours, (weights, x), (weights, x))
    with pytest.warns(SlowPathWarning, match="no fused kernel for second derivatives: a loop of JAX") as said:
        jax.hessian(ours, 1)(weights, x)
    assert len(said) == 1


@slower
def test_tokens_have_second_derivatives() -> None:
    model = keras.Sequential([stepfold.keras.Embedding(7, 3), stepfold.keras.SimpleRNN(2)])
    ids = jnp.asarray([[1, 2, 1], [3, 0, 6]])
    model(ids)
    weights, fixed = (
        [v.value for v in of] for of in (model.trainable_variables, model.non_trainable_variables)
    )

    def ours(weights: Any) -> Any:
        return (model.stateless_call(weights, fixed, ids)[0] ** 2).sum()

    def plain(weights: Any) -> Any:
        table, kernel, recurrent, bias = weights
        h = jnp.zeros((2, 2))
        for t in range(3):
            h = jnp.tanh(table[ids[:, t]] @ kernel + h @ recurrent + bias)
        return (h**2).sum()

    found, expected = (
        jax.grad(lambda w, f=f: (jax.grad(f)(w)[0] ** 2).sum())(weights) for f in (ours, plain)
    )
    close(found, expected, 1e-4)


def test_vmap_is_one_larger_batch() -> None:
    own, ours, weights, _ = losses("LSTM")
    stack = jnp.asarray(random(5, *SHAPE))
    both = [jax.vmap(jax.grad(f, 1), (None, 0)) for f in (ours, own)]
    with kernels() as ran:
        close(both[0](weights, stack), both[1](weights, stack))
    assert [key.shape.batch for key in (*ran.forward, *ran.backward)] == [10, 10]
    with kernels() as ran:  # a batch axis that is not the first, and another around it
        twice = jax.vmap(jax.vmap(ours, (None, 1)), (None, 0))
        close(twice(weights, jnp.moveaxis(stack, 0, 1)[None]), both_values(own, weights, stack)[None])
    assert [key.shape.batch for key in ran.forward] == [10]


def both_values(function: Callable[..., Any], weights: Any, stack: Any) -> Any:
    return jnp.stack([function(weights, x) for x in stack])


def test_vmap_over_weights_and_gradients_of_each_example() -> None:
    own, ours, weights, x = losses("GRU")
    stack = jnp.asarray(random(3, *SHAPE))
    close(*(jax.vmap(jax.grad(f), (None, 0))(weights, stack) for f in (ours, own)))
    several = [jnp.stack([w, 0.5 * w]) for w in weights]
    close(*(jax.vmap(jax.grad(f), (0, None))(several, x) for f in (ours, own)))


@pytest.mark.slow
def test_an_exported_program_needs_only_the_import(tmp_path: Path) -> None:
    _, ours = pair("LSTM", 3, SHAPE)
    x = jnp.asarray(random(*SHAPE))
    exported = jax.export.export(
        jax.jit(ours.__call__), disabled_checks=[jax.export.DisabledSafetyCheck.custom_call("stepfold")]
    )(x)
    (tmp_path / "program").write_bytes(exported.serialize())
    code = (
        "import pathlib, sys, jax; import numpy as np\n"
        "if sys.argv[2] == 'import': import stepfold.keras\n"
        "program = jax.export.deserialize(bytearray(pathlib.Path(sys.argv[1]).read_bytes()))\n"
        "x = np.asarray(eval(sys.argv[3]), 'float32')\n"
        "print(np.asarray(program.call(x)).tolist())\n"
    )
    for imported in ("import", "nothing"):
        command = [sys.executable, "-c", code, str(tmp_path / "program"), imported, str(x.tolist())]
        done = subprocess.run(command, capture_output=True, text=True)
        if imported == "import":
            assert done.returncode == 0, done.stderr[-2000:]
            close(jnp.asarray(eval(done.stdout)), ours(x))
        else:
            assert "stepfold" in done.stderr.splitlines()[-1] or "stepfold" in done.stderr[-3000:]
            assert done.returncode != 0

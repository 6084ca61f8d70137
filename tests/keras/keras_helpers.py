"""What the tests of the Keras layers share; every comparison asserts. Runs on JAX, torch and TensorFlow."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
import pytest

import stepfold.keras
from stepfold._runtime import BackwardKey, ForwardKey, programs

BACKEND = keras.backend.backend()
LAYERS = ("SimpleRNN", "LSTM", "GRU")
# Keras's Variable.__array__ is older than NumPy 2's rule for it.
quiet = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")
only_jax = pytest.mark.skipif(BACKEND != "jax", reason="about JAX")
only_torch = pytest.mark.skipif(BACKEND != "torch", reason="about PyTorch")


def random(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng([seed, *shape]).normal(size=shape).astype(np.float32)


def mask_of(batch: int, time: int, kind: str) -> Any:
    """A mask (batch, time): left- or right-padded lengths (one of them 0), or one with holes."""
    lengths = np.linspace(0, time, batch).round().astype(int)[:, None]
    if kind == "right":
        return np.arange(time) < lengths
    if kind == "left":
        return np.arange(time) >= time - lengths
    return np.random.default_rng(3).random((batch, time)) < 0.6


def arrays(values: Any) -> list[Any]:
    return [np.asarray(keras.ops.convert_to_numpy(value)) for value in keras.tree.flatten(values)]


def weights_of(layer: Any) -> list[Any]:
    return [np.array(keras.ops.convert_to_numpy(weight.value)) for weight in layer.weights]


def randomised(layer: Any, *, seed: int = 1, scale: float = 0.4) -> Any:
    """Give every weight of a built layer random numbers, so that no two gates look alike."""
    weights = weights_of(layer)
    layer.set_weights([scale * random(*w.shape, seed=seed + n) for n, w in enumerate(weights)])
    return layer


def pair(name: str, units: int, shape: Sequence[int | None], **options: Any) -> tuple[Any, Any]:
    """Keras's own layer and ours, built, with the same random weights."""
    own = getattr(keras.layers, name)(units, **options)
    ours = getattr(stepfold.keras, name)(units, **options)
    own.build(tuple(shape))
    ours.build(tuple(shape))
    randomised(own)
    ours.set_weights(weights_of(own))
    return own, ours


def close(found: Any, expected: Any, tolerance: float = 2e-5) -> None:
    found, expected = arrays(found), arrays(expected)
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert one.shape == other.shape
        assert one.dtype == other.dtype
        largest = max(1.0, float(np.abs(other).max(initial=0.0)))
        np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance * largest)


def _weighted(results: Any) -> Any:
    """One number in which every result counts differently."""
    total = 0.0
    for number, result in enumerate(keras.tree.flatten(results)):
        weight = random(*result.shape, seed=50 + number)
        total = total + keras.ops.sum(result * keras.ops.cast(weight, result.dtype))
    return total


def with_gradients(layer: Any, inputs: Any, states: Sequence[Any] = (), **call: Any) -> tuple[Any, list[Any]]:
    """Call a built layer; return its results and the gradients of (weights, inputs, initial states)."""
    if BACKEND == "jax":
        return _jax_gradients(layer, inputs, list(states), call)
    if BACKEND == "tensorflow":
        return _tensorflow_gradients(layer, inputs, list(states), call)
    return _torch_gradients(layer, inputs, list(states), call)


def _jax_gradients(layer: Any, inputs: Any, states: list[Any], call: dict[str, Any]) -> tuple[Any, list[Any]]:
    import jax

    fixed = [v.value for v in layer.non_trainable_variables]

    def function(weights: Any, inputs: Any, states: Any) -> Any:
        given = {**call, "initial_state": states} if states else call
        results, _ = layer.stateless_call(weights, fixed, inputs, **given)
        return _weighted(results), results

    weights = [v.value for v in layer.trainable_variables]
    floating = np.issubdtype(np.asarray(inputs).dtype, np.floating)
    gradient = jax.grad(function, argnums=(0, 1, 2) if floating else (0, 2), has_aux=True)
    gradients, results = jax.jit(gradient)(weights, jax.numpy.asarray(inputs), states)
    return results, arrays(gradients)


def _tensorflow_gradients(
    layer: Any, inputs: Any, states: list[Any], call: dict[str, Any]
) -> tuple[Any, list[Any]]:
    import tensorflow as tf

    inputs, states = tf.constant(inputs), [tf.constant(state) for state in states]

    @tf.function  # type: ignore[untyped-decorator]
    def function(inputs: Any, states: Any) -> tuple[Any, Any]:
        with tf.GradientTape() as tape:
            leaves = [inputs, *states] if inputs.dtype.is_floating else states
            tape.watch(leaves)
            results = layer(inputs, **({**call, "initial_state": states} if states else call))
            total = _weighted(results)
        sources = [*(v.value for v in layer.trainable_variables), *leaves]
        return results, tape.gradient(total, sources, unconnected_gradients="zero")

    results, gradients = function(inputs, states)
    return results, arrays([tf.convert_to_tensor(gradient) for gradient in gradients])


def _torch_gradients(
    layer: Any, inputs: Any, states: list[Any], call: dict[str, Any]
) -> tuple[Any, list[Any]]:
    import torch

    inputs, states = torch.tensor(inputs), [torch.tensor(s, requires_grad=True) for s in states]
    leaves = [v.value for v in layer.trainable_variables]
    if inputs.is_floating_point():
        leaves.append(inputs.requires_grad_())
    given = {**call, "initial_state": states} if states else call
    results = layer(inputs, **given)
    gradients = torch.autograd.grad(_weighted(results), [*leaves, *states], allow_unused=True)
    gradients = [
        torch.zeros_like(v) if g is None else g for g, v in zip(gradients, [*leaves, *states], strict=True)
    ]
    return results, [g.detach().numpy() for g in gradients]


def compare(own: Any, ours: Any, inputs: Any, states: Sequence[Any] = (), **call: Any) -> None:
    """Results and every gradient of two layers agree, and ours came from the kernels."""
    expected = with_gradients(own, inputs, states, **call)
    with kernels() as ran:
        found = with_gradients(ours, inputs, states, **call)
    # on TensorFlow what is not training saves nothing, and runs again for its gradients
    assert len(ran.backward) > 0
    assert len(ran.forward) == len(ran.backward) or BACKEND == "tensorflow"
    for one, other in zip(found, expected, strict=True):
        close(one, other)


class Ran:
    """The programs that ran since this object was made, each as often as it did, by what they were recorded
    for."""

    def __init__(self) -> None:
        self._before = {key: (program, program.runs) for key, program in programs.items()}

    def _since(self, kind: type) -> list[Any]:
        found = []
        for key, program in programs.items():
            known, runs = self._before.get(key, (program, 0))
            found += [key] * (
                program.runs - (runs if known is program else 0) if isinstance(key, kind) else 0
            )
        return found

    @property
    def forward(self) -> list[ForwardKey]:
        return self._since(ForwardKey)

    @property
    def backward(self) -> list[BackwardKey]:
        return self._since(BackwardKey)

    def __len__(self) -> int:
        return len(self.forward) + len(self.backward)


@contextmanager
def kernels() -> Iterator[Ran]:
    """Note every program that runs."""
    yield Ran()

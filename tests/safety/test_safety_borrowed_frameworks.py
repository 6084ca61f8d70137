"""Tensors and arrays that change before the backward pass, under PyTorch and Keras.

PyTorch counts changes of saved tensors and refuses; what it cannot see may give other numbers, but no crash.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from safety_batches import backward, batch
from safety_helpers import alone

from stepfold import cells, record

WILD = (11, -1, 2**31 - 1, -(2**31))
VOCABULARY_SIZE = 11


def changed_in_place() -> None:
    """What the test below runs: every tensor that `run` was given, changed before `backward`."""
    import torch

    from stepfold.torch import run

    def leaves() -> tuple[dict[str, Any], Any, Any]:
        given = batch(cells.gru, 5, 9, 3, 4)
        mask = torch.from_numpy(np.random.default_rng(0).random((5, 9)) < 0.7)
        tensors = {"inputs": torch.tensor(given["inputs"]), "mask": mask}
        tensors |= {name: torch.tensor(p) for name, p in given["params"].items()}
        tensors["state"] = torch.tensor(given["initial_state"][0])
        for name, tensor in tensors.items():
            if name != "mask":
                tensor.requires_grad_()
        params = {name: tensors[name] for name in given["params"]}
        outputs, (last,) = run(cells.gru, tensors["inputs"], params, [tensors["state"]], mask=tensors["mask"])
        return tensors, outputs, last

    def gradients(tensors: dict[str, Any], outputs: Any, last: Any) -> list[Any]:
        wanted = [t for t in tensors.values() if t.requires_grad]
        return list(torch.autograd.grad(outputs.sin().sum() + last.sum(), wanted))

    expected = gradients(*leaves())
    refused = []
    for name in leaves()[0]:
        tensors, outputs, last = leaves()
        with torch.no_grad():
            if name == "mask":
                tensors[name].logical_not_()
            else:
                tensors[name].fill_(1e30)
        try:
            found = gradients(tensors, outputs, last)
        except RuntimeError as error:
            refused.append((name, str(error)))
        else:
            for a, b in zip(found, expected, strict=True):
                torch.testing.assert_close(a, b, msg=f"{name} was changed unseen")
    assert all("modified by an inplace operation" in text for _, text in refused), refused


@pytest.mark.slow
def test_torch_says_that_a_saved_tensor_was_changed() -> None:
    alone(changed_in_place)


def changed_behind_its_back() -> None:
    """What the test below runs: values changed through NumPy, which PyTorch does not see."""
    import torch

    from stepfold.torch import LSTM, run

    given = batch(cells.lstm, 20, 50, 3, 8)
    clean = np.random.default_rng(0).random((20, 50)) < 0.7
    for byte in (0, 1, 255):
        for reverse in (False, True):
            mask = clean.copy()
            params = {n: torch.tensor(p).requires_grad_() for n, p in given["params"].items()}
            outputs, _ = run(
                cells.lstm,
                torch.tensor(given["inputs"]),
                params,
                mask=torch.from_numpy(mask),
                reverse=reverse,
            )
            mask.view(np.uint8)[...] = byte
            outputs.sum().backward()
    module = LSTM(3, 8, batch_first=True, dtype=torch.float64)
    lengths = np.full(20, 30)
    for wild in (0, 50, -1, 51, 2**60):
        lengths[...] = 30
        output, _ = module(torch.tensor(given["inputs"]), lengths=torch.from_numpy(lengths))
        lengths[...] = wild
        try:
            output.sum().backward()
        except (RuntimeError, ValueError) as error:
            print("refused", error)


def test_changes_that_torch_cannot_see_never_crash() -> None:
    alone(changed_behind_its_back)


def model() -> Any:
    """An embedding and an LSTM over tokens."""
    import keras

    import stepfold.keras

    layers = [stepfold.keras.Embedding(VOCABULARY_SIZE, 3, mask_zero=True), stepfold.keras.LSTM(4)]
    return keras.Sequential([keras.Input((None,), dtype="int32"), *layers])


def tokens() -> Any:
    """Tokens at an address that JAX takes as it is."""
    memory = np.empty(6 * 9 * 4 + 64, np.uint8)
    at = -memory.ctypes.data % 64
    found = memory[at : at + 6 * 9 * 4].view(np.int32).reshape(6, 9)
    found[...] = np.random.default_rng(0).integers(0, VOCABULARY_SIZE, (6, 9))
    return found


def ids_that_became_wild() -> None:
    """What the test below runs, on Keras's backend: ids changed between the two passes."""
    import keras

    trained = model()
    compute = _jax_backward if keras.backend.backend() == "jax" else _torch_backward
    ids = tokens()
    expected = compute(trained, ids, lambda: None)
    for wild in WILD:
        ids = tokens()

        def change(ids: Any = ids, wild: int = wild) -> None:
            ids[...] = wild
            for seed in range(20):
                given = batch(cells.lstm, 3, 9, 3, 4, vocabulary_size=VOCABULARY_SIZE, seed=seed)
                backward(record(cells.lstm, **given))
            compute(trained, (tokens() + 1) % VOCABULARY_SIZE, lambda: None)

        try:
            found = compute(trained, ids, change)
        except (RuntimeError, IndexError, ValueError) as error:
            print("refused", error)
            continue
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6, err_msg=f"{wild=}")


def _jax_backward(trained: Any, ids: Any, between: Callable[[], None]) -> list[Any]:
    import jax
    import jax.numpy as jnp

    fixed = [v.value for v in trained.non_trainable_variables]
    given = jnp.asarray(ids)

    def loss(weights: Any) -> Any:
        return (trained.stateless_call(weights, fixed, given)[0] ** 2).sum()

    value, derivative = jax.vjp(loss, [v.value for v in trained.trainable_variables])
    value.block_until_ready()
    between()
    return [np.array(g) for g in derivative(jnp.ones_like(value))[0]]


def _torch_backward(trained: Any, ids: Any, between: Callable[[], None]) -> list[Any]:
    import torch

    weights = [v.value for v in trained.trainable_variables]
    loss = trained(torch.from_numpy(ids)).square().sum()
    between()
    return [g.numpy().copy() for g in torch.autograd.grad(loss, weights)]


@pytest.mark.parametrize("backend", ["torch", pytest.param("jax", marks=pytest.mark.slow)])
def test_ids_that_became_wild(backend: str) -> None:
    alone(ids_that_became_wild, environment={"KERAS_BACKEND": backend})


def numpy_backend() -> None:
    """What the test below runs: inputs that change, and later calls, after a layer returned."""
    import stepfold.keras

    layer = stepfold.keras.GRU(4, return_sequences=True, return_state=True)
    inputs = np.random.default_rng(0).standard_normal((6, 9, 3)).astype(np.float32)
    results = layer(inputs)
    before = [np.array(value) for value in results]
    inputs[...] = 1e30
    for _ in range(3):
        layer(np.ones((6, 9, 3), np.float32))
    for found, expected in zip(results, before, strict=True):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.slow
def test_results_on_keras_s_numpy_backend_are_their_own() -> None:
    alone(numpy_backend, environment={"KERAS_BACKEND": "numpy"})

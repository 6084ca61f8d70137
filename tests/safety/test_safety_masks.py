"""Masks of booleans whose bytes are neither 0 nor 1: they mean the same as clean ones, everywhere."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from safety_batches import answer, assert_same, batch, by_loop
from safety_helpers import alone

from stepfold import Cell, cells, scan

BYTES = (2, 128, 255)


def masks(rows: int, time: int, byte: int) -> tuple[Any, Any]:
    """A mask with holes, and the same one with another byte for True."""
    clean = np.random.default_rng(1).random((rows, time)) < 0.6
    clean[0] = True
    clean[-1] = False
    odd = np.where(clean, np.uint8(byte), np.uint8(0)).view(np.bool_)
    assert odd.view(np.uint8).max() == byte
    return clean, odd


def in_numpy(byte: int) -> None:
    """What the test below runs: `scan`, `record` and `backward` of a small and a larger batch."""
    for rows, time in ((4, 6), (70, 90)):
        _numpy_batch(byte, rows, time)


def _numpy_batch(byte: int, rows: int, time: int) -> None:
    cell: Cell = cells.lstm
    clean, odd = masks(rows, time, byte)
    for vocabulary_size in (None, 11):
        for reverse in (False, True):
            given = batch(cell, rows, time, 3, 5, vocabulary_size=vocabulary_size, reverse=reverse)
            for checkpoint in (False, True):
                expected = answer(cell, given, mask=clean, checkpoint=checkpoint)
                found = answer(cell, given, mask=odd, checkpoint=checkpoint)
                assert_same(found, expected, f"{vocabulary_size=} {reverse=} {checkpoint=}")
    one = batch(cell, 1, time, 3, 5)
    found = scan(cell, one["inputs"][0], one["params"], mask=odd[1], return_sequences=True)
    expected = scan(cell, one["inputs"][0], one["params"], mask=clean[1], return_sequences=True)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("byte", BYTES)
def test_numpy(byte: int) -> None:
    alone(in_numpy, byte)


def test_the_loop_agrees_with_a_clean_mask() -> None:
    clean, _ = masks(4, 6, 255)
    given = batch(cells.lstm, 4, 6, 3, 5, mask=clean)
    expected = by_loop(cells.lstm, given)
    found = answer(cells.lstm, given)
    assert_same({name: found[name] for name in expected}, expected)


def in_torch(byte: int) -> None:
    """What the test below runs: `run` with gradients, both directions and layouts."""
    import torch

    from stepfold.torch import run

    for rows, time in ((4, 6), (70, 90)):
        clean, _ = masks(rows, time, byte)
        odd = torch.from_numpy(np.where(clean, np.uint8(byte), np.uint8(0))).view(torch.bool)
        given = batch(cells.gru, rows, time, 3, 5)
        for time_major in (False, True):
            for reverse in (False, True):
                results = []
                for mask in (torch.from_numpy(clean), odd):
                    inputs = torch.tensor(given["inputs"])
                    inputs = (inputs.transpose(0, 1) if time_major else inputs).contiguous().requires_grad_()
                    params = {n: torch.tensor(p).requires_grad_() for n, p in given["params"].items()}
                    outputs, last = run(
                        cells.gru, inputs, params, mask=mask, reverse=reverse, time_major=time_major
                    )
                    gradients = torch.autograd.grad(
                        outputs.sin().sum() + last[0].sum(), [inputs, *params.values()]
                    )
                    results.append([outputs, *last, *gradients])
                for expected, found in zip(*results, strict=True):
                    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("byte", [255, pytest.param(2, marks=pytest.mark.slow)])
def test_torch(byte: int) -> None:
    alone(in_torch, byte)


def in_keras(byte: int) -> None:
    """What the test below runs: a layer's results and gradients under both masks, on this backend."""
    import keras

    import stepfold.keras

    backend = keras.backend.backend()
    for rows, time in ((4, 6), (70, 90)):
        clean, odd = masks(rows, time, byte)
        inputs = np.random.default_rng(0).standard_normal((rows, time, 3)).astype(np.float32)
        for layer in (
            stepfold.keras.LSTM(5, return_sequences=True),
            stepfold.keras.GRU(5, go_backwards=True),
        ):
            layer.build(inputs.shape)
            expected, found = (_keras_results(backend, layer, inputs, mask) for mask in (clean, odd))
            for a, b in zip(expected, found, strict=True):
                np.testing.assert_allclose(b, a, rtol=1e-5, atol=1e-5)


def _keras_results(backend: str, layer: Any, inputs: Any, mask: Any) -> list[Any]:
    if backend == "numpy":
        return [layer(inputs, mask=mask)]
    if backend == "torch":
        import torch

        for variable in layer.trainable_variables:
            variable.value.grad = None
        outputs = layer(torch.tensor(inputs), mask=torch.from_numpy(mask))
        outputs.square().sum().backward()
        gradients = [variable.value.grad.numpy().copy() for variable in layer.trainable_variables]
        return [outputs.detach().numpy(), *gradients]
    import jax

    def loss(weights: Any, inputs: Any, mask: Any) -> tuple[Any, Any]:
        outputs, _ = layer.stateless_call(weights, [v.value for v in layer.non_trainable_variables], inputs,
                                          mask=mask)  # fmt: skip
        return (outputs**2).sum(), outputs

    derived = jax.value_and_grad(loss, has_aux=True)
    weights = [variable.value for variable in layer.trainable_variables]
    found: list[Any] = [layer(inputs, mask=mask)]
    for function in (derived, jax.jit(derived)):
        (_, outputs), gradients = function(weights, inputs, mask)
        found += [outputs, *gradients]
    return [np.asarray(value) for value in found]


@pytest.mark.parametrize("backend", ["jax", "numpy", pytest.param("torch", marks=pytest.mark.slow)])
def test_keras(backend: str) -> None:
    alone(in_keras, 255, environment={"KERAS_BACKEND": backend})


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["jax", "torch", "numpy"])
def test_keras_another_byte(backend: str) -> None:
    alone(in_keras, 2, environment={"KERAS_BACKEND": backend})

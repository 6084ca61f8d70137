"""Batches in parts: what several processes get is the batch that one would get, and weighs as much."""

import numpy as np
import pytest

from stepfold.data import Ragged
from stepfold.estimators._batches import Batches, Examples
from stepfold.estimators._processes import Share


def batches(rows, size, weights=None, seed=None):
    inputs = Ragged.from_sequences([np.array([number], np.int32) for number in range(rows)])
    examples = Examples(inputs, np.arange(rows), weights)
    return Batches(examples, np.arange(rows), size, lambda inputs, rows: inputs.padded(rows, 1), seed)


def parts(whole, processes, devices):
    """Each batch as all processes together have it: targets and weights."""
    every = [whole.shared(Share(number, processes, devices)) for number in range(processes)]
    assert len({len(each) for each in every}) == 1
    for index in range(len(whole)):
        found = [each[index] for each in every]
        assert len({len(each[1]) for each in found}) == 1  # JAX wants parts of one size
        assert sum(len(each[1]) for each in found) % devices == 0
        for inputs, targets, *_ in found:
            np.testing.assert_array_equal(inputs[:, 0], targets)
        yield [np.concatenate(column) for column in list(zip(*found, strict=True))[1:]]


def test_batches_that_divide_are_divided_in_their_order():
    whole = batches(10, 4, seed=3)
    for index, (targets, *weights) in enumerate(parts(whole, 2, 4)):
        np.testing.assert_array_equal(targets, whole[index][1])
        assert not weights


@pytest.mark.parametrize(
    ("rows", "size", "processes", "devices"), [(10, 4, 2, 2), (9, 5, 3, 6), (2, 8, 3, 3)]
)
def test_rows_without_weight_fill_up_and_means_stay(rows, size, processes, devices):
    whole = batches(rows, size)
    assert whole.shared(Share(0, processes, devices)).filled
    sums, counts, seen = 0.0, 0, []
    for targets, weights in parts(whole, processes, devices):
        loss = targets.astype(float) ** 2
        sums, counts = sums + (loss * weights).sum(), counts + len(targets)
        seen += targets[weights > 0].tolist()
        assert len(set(weights[weights > 0])) == 1
    assert seen == list(range(rows))
    assert sums / counts == pytest.approx(np.mean(np.arange(rows) ** 2.0), rel=1e-6)


def test_with_weights_of_the_examples_each_process_gets_whole_batches():
    own = np.linspace(1, 2, 10, dtype=np.float32)
    whole = batches(10, 4, own)
    with pytest.raises(
        ValueError, match="6 examples cannot be divided among 4 devices, which class_weight asks"
    ):
        batches(10, 6, own, seed=1).shared(Share(0, 2, 4))
    assert len(batches(10, 4, own, seed=1).shared(Share(0, 2, 4))) == 3
    assert not whole.shared(Share(0, 2, 4)).filled
    for index, (targets, weights) in enumerate(parts(whole, 2, 4)):
        np.testing.assert_array_equal(targets, np.tile(whole[index][1], 4))
        np.testing.assert_array_equal(weights, own[targets])

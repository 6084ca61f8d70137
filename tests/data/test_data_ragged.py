"""Ragged storage, and how examples are divided."""

import pickle

import numpy as np
import pytest

from stepfold.data import DataError, Ragged, pad, split, split_blocks

LISTS = ([1, 5], [], [1, 5, 6, 7, 8], [1, 5, 6])


def ragged():
    return Ragged.from_sequences([np.array(ids, np.int32) for ids in LISTS])


def test_a_ragged_is_a_list_of_views():
    whole = ragged()
    assert len(whole) == 4
    assert [ids.tolist() for ids in whole] == [*LISTS]
    assert whole[-1].tolist() == [1, 5, 6]
    assert whole[2].base is whole.values
    assert whole.lengths.tolist() == [2, 0, 5, 3]
    assert whole.values.dtype == np.int32
    for k in (4, -5):
        with pytest.raises(IndexError, match=rf"sequence {k} of 4"):
            whole[k]
    taken = whole.take([3, 0, 3])
    assert [ids.tolist() for ids in taken] == [[1, 5, 6], [1, 5], [1, 5, 6]]
    assert len(whole.take([])) == 0
    assert [ids.tolist() for ids in pickle.loads(pickle.dumps(whole))] == [*LISTS]


def test_padding_keeps_the_last_steps_on_either_side():
    whole = ragged()
    assert whole.padded([0, 2, 1], 3).tolist() == [[0, 1, 5], [6, 7, 8], [0, 0, 0]]
    assert whole.padded(np.array([0, 2]), 3, side="right").tolist() == [[1, 5, 0], [6, 7, 8]]
    assert whole.padded(slice(2, None), 4).tolist() == [[5, 6, 7, 8], [0, 1, 5, 6]]
    assert whole.padded([], 4).shape == (0, 4)
    assert whole.padded([0], 3).dtype == np.int32
    assert pad(whole, 3).tolist() == whole.padded(range(4), 3).tolist()
    with pytest.raises(DataError, match="length must be at least 1, got 0"):
        whole.padded([0], 0)
    with pytest.raises(DataError, match="side must be 'left' or 'right', got 'top'"):
        whole.padded([0], 1, side="top")


def test_sequences_of_features():
    steps = [np.full((length, 2), length, np.float32) for length in (3, 1)]
    whole = Ragged.from_sequences(steps)
    assert whole.features == (2,)
    padded = whole.padded([1, 0], 2)
    assert padded.dtype == np.float32
    assert padded.tolist() == [[[0, 0], [1, 1]], [[3, 3], [3, 3]]]
    with pytest.raises(
        DataError, match=r"sequence 1 has shape \(4, 3\) but sequence 0 has \(3, 2\): all need"
    ):
        Ragged.from_sequences([np.zeros((3, 2)), np.zeros((4, 3))])
    with pytest.raises(DataError, match="there are no sequences"):
        Ragged.from_sequences([])


@pytest.mark.parametrize("offsets", [[], [0], [1, 3], [0, 2, 1, 3], [0, 2], [[0, 3]]])
def test_offsets_that_do_not_fit_are_refused(offsets):
    with pytest.raises(
        DataError, match=r"offsets of shape .* do not divide 3 timesteps: they must start at 0"
    ):
        Ragged(np.zeros(3, np.int32), np.array(offsets, np.int64))


def test_blocks_are_neighbours_of_each_class_and_together_everything():
    labels = np.array([0] * 10 + [1] * 11, np.int32)
    held = [split_blocks(labels, "ab", block=block)[1] for block in range(5)]
    assert sorted(held[1]) == [2, 3, 13, 14]
    assert sorted(np.concatenate(held)) == list(range(21))
    for block in range(5):
        rest, out = split_blocks(labels, "ab", block=block)
        assert sorted([*rest, *out]) == list(range(21))


def test_blocks_follow_the_positions_wherever_the_examples_stand():
    labels = np.array([0] * 10 + [1] * 15, np.int32)
    order = np.random.default_rng(1).permutation(25)
    _, held = split_blocks(labels[order], "ab", block=2, positions=order)
    assert sorted(order[held]) == [4, 5, 16, 17, 18]
    again = split_blocks(labels[order], "ab", block=2, positions=order)
    assert again[1].tolist() == held.tolist()
    assert np.any(np.diff(labels[again[0]]) < 0), "the classes must be mixed"


def test_blocks_that_cannot_be_made_are_named():
    labels = np.array([0] * 10 + [1] * 3, np.int32)
    with pytest.raises(DataError, match="a class of 3 texts cannot be cut into 5 blocks; use a random split"):
        split_blocks(labels, "ab", block=0)
    for block, blocks in ((5, 5), (-1, 5), (0, 1)):
        with pytest.raises(DataError, match=f"there is no block {block} of {blocks}: blocks count from 0"):
            split_blocks(labels, "ab", block=block, blocks=blocks)
    with pytest.raises(DataError, match=r"positions have shape \(2,\), labels \(13,\); give one for each"):
        split_blocks(labels, "ab", block=0, positions=np.arange(2))


def test_the_random_split_is_what_it_was():
    train, held = split(np.array([0] * 6 + [1] * 4, np.int32), "ab", seed=42)
    assert held.tolist() == [3, 6]
    assert train.tolist() == [4, 8, 2, 1, 5, 7, 0, 9]

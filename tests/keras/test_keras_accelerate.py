"""`accelerate`: what it swaps, what it leaves, and that a model goes on as before; `restore`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers
from keras_helpers import close, compare, kernels, mask_of, quiet, random, randomised, weights_of

import stepfold.keras
from stepfold.keras import accelerate, restore

pytestmark = quiet
SHAPE = (4, 6, 3)
IDS = np.random.default_rng(0).integers(0, 9, size=(4, 5)).astype(np.int32)


def everything() -> Any:
    """A functional model with a model in it, wrappers, a stack of cells and a shared layer."""
    inner = keras.Sequential(
        [keras.Input((None, 6)), layers.SimpleRNN(4, return_sequences=True, name="simple")], name="inner"
    )
    inputs = keras.Input((None,), dtype="int32")
    x = layers.Embedding(9, 3, name="embedding")(inputs)
    x = layers.Bidirectional(layers.GRU(3, return_sequences=True, name="gru"), name="both")(x)
    shared = layers.LSTM(4, return_sequences=True, name="shared")
    x = shared(shared(inner(x)))
    cells = [layers.GRUCell(3), layers.LSTMCell(2)]
    return randomised(keras.Model(inputs, layers.RNN(cells, name="stack")(x), name="mine"))


NAMES = ["embedding", "both/forward_gru", "both/backward_gru", "inner/simple", "shared", "stack"]


@pytest.mark.slow
def test_same_model_other_kernels(tmp_path: Path) -> None:
    model, targets = everything(), random(4, 2)
    model.compile(keras.optimizers.Adam(0.05), "mse")
    model.fit(IDS, targets, verbose=0)
    expected, variables = model.predict(IDS, verbose=0), [id(v) for v in model.variables]
    weights, own = weights_of(model), everything()
    own.compile(keras.optimizers.Adam(0.05), "mse")
    own.fit(IDS, targets, verbose=0)
    assert accelerate(model) is model
    assert sorted(model.report.swapped) == sorted(NAMES)
    assert model.report.left == {}
    assert str(model.report).startswith("swapped 'embedding'\nswapped 'both/forward_gru'\n")
    assert [id(v) for v in model.variables] == variables
    with kernels() as ran:
        close(model.predict(IDS, verbose=0), expected)
    assert len(ran) == 7
    for trained in (own, model):
        trained.fit(IDS, targets, verbose=0)
    close(weights_of(model), weights_of(own), 1e-4)
    assert not np.array_equal(weights_of(model)[0], weights[0])
    assert str(accelerate(model).report) == "found no recurrent module"
    expected = model.predict(IDS, verbose=0)
    model.save(tmp_path / "ours.keras")
    close(keras.models.load_model(tmp_path / "ours.keras").predict(IDS, verbose=0), expected, 1e-6)
    assert restore(model) is model
    assert not hasattr(model, "report")
    assert not any(type(layer).__module__.startswith("stepfold") for layer in model._flatten_layers())
    with kernels() as ran:
        close(model.predict(IDS, verbose=0), expected)
    assert not ran
    assert [type(layer) for layer in model._flatten_layers()] == [
        type(layer) for layer in own._flatten_layers()
    ]


def test_a_subclassed_model_and_layers_in_lists() -> None:
    class Own(keras.Model):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.first = layers.RNN(layers.LSTMCell(4), return_sequences=True, name="first")
            self.rest = [layers.GRU(4, return_sequences=True, name="one"), layers.GRU(2, name="two")]

        def call(self, inputs: Any) -> Any:
            x = self.first(inputs)
            for layer in self.rest:
                x = layer(x)
            return x

    model = Own()
    expected = model.predict(random(*SHAPE), verbose=0)
    with kernels() as ran:
        close(accelerate(model).predict(random(*SHAPE), verbose=0), expected)
    assert len(ran) == 3
    assert model.report.swapped == ["first", "one", "two"]
    restore(model)
    assert type(model.first) is layers.RNN


def test_what_is_left_and_why() -> None:
    class Peephole(layers.LSTM):  # type: ignore[misc]
        pass

    class MyCell(layers.LSTMCell):  # type: ignore[misc]
        pass

    model = keras.Sequential(
        [
            Peephole(3, return_sequences=True, name="peephole"),
            layers.RNN([layers.GRUCell(3), MyCell(3)], return_sequences=True, name="mixed"),
            layers.GRU(3, activation="sparsemax", return_sequences=True, name="activation"),
            layers.Dense(3),
        ]
    )
    report = accelerate(model).report
    assert report.swapped == []
    assert report.left == {
        "peephole": "Peephole is a class of its own, which may compute something else",
        "mixed": "its cell is MyCell; write it with @stepfold.cell, for Recurrent",
        "activation": "activation 'sparsemax' is not one of stepfold's functions",
    }
    assert accelerate(layers.ConvLSTM1D(2, 2)).report.left == {"": "no kernel serves ConvLSTM1D"}
    assert accelerate(layers.GRUCell(2)).report.left == {
        "": "GRUCell computes one timestep; the loop around it is the model's own"
    }
    assert str(accelerate(layers.Dense(2)).report) == "found no recurrent module"


def test_the_layer_itself() -> None:
    layer = layers.LSTM(4)
    expected = layer(random(*SHAPE))
    assert str(accelerate(layer).report) == "swapped the module itself"
    assert type(layer) is stepfold.keras.LSTM
    close(layer(random(*SHAPE)), expected)
    plain = restore(stepfold.keras.GRU(4))
    assert type(plain) is layers.GRU
    assert plain(random(*SHAPE)).shape == (4, 4)


def test_what_keras_has_not_is_not_restored() -> None:
    model = keras.Sequential(
        [
            stepfold.keras.Embedding(9, 3, dropout=0.1, name="words"),
            stepfold.keras.LSTM(4, return_sequences=True),
            stepfold.keras.Recurrent("ugrnn", 4, name="any"),
        ]
    )
    with pytest.raises(ValueError, match=r"no layer for words, any; they stay stepfold's, and nothing was"):
        restore(model)
    assert type(model.layers[1]) is stepfold.keras.LSTM


def rnn_pair(*cells: Any, **options: Any) -> tuple[Any, Any]:
    def cell() -> Any:
        made = [getattr(layers, name)(units, **given) for name, units, given in cells]
        return made if len(made) > 1 else made[0]

    own, ours = layers.RNN(cell(), **options), stepfold.keras.RNN(cell(), **options)
    for made in (own, ours):
        made.build(SHAPE)
    randomised(own)
    ours.set_weights(weights_of(own))
    return own, ours


STACK = ("GRUCell", 5, {"reset_after": False}), ("LSTMCell", 4, {}), ("SimpleRNNCell", 3, {})


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("options", [{"return_sequences": True, "go_backwards": True}, {}], ids=str)
def test_stacks_of_cells(options: dict[str, Any], masked: bool) -> None:
    own, ours = rnn_pair(*STACK, return_state=True, **options)
    compare(own, ours, random(*SHAPE), mask=mask_of(4, 6, "right") if masked else None)


def test_a_stack_with_states_and_dropout() -> None:
    dropped = {"dropout": 0.3, "recurrent_dropout": 0.2, "seed": 3}
    own, ours = rnn_pair(("LSTMCell", 4, dropped), ("LSTMCell", 3, dropped), return_state=True)
    close(ours(random(*SHAPE), training=True), own(random(*SHAPE), training=True))
    states = [[random(4, 4, seed=n) for n in range(2)], [random(4, 3, seed=n) for n in range(2)]]
    close(ours(random(*SHAPE), initial_state=states), own(random(*SHAPE), initial_state=states))
    own, ours = rnn_pair(("LSTMCell", 4, {}), zero_output_for_mask=True, return_sequences=True)
    compare(own, ours, random(*SHAPE), mask=mask_of(4, 6, "holes"))

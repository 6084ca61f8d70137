"""The tutorial's program in Keras, with our layers or with Keras's own."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from ._cells import CELLS
from ._program_task import EMBEDDING_SIZE, LENGTH, UNITS, VOCABULARY_SIZE, Task


class KerasProgram:
    """Embedding → recurrent layer → Dense(1, sigmoid), RMSprop on the binary cross-entropy."""

    def __init__(self, task: Task, first: dict[str, Any]) -> None:
        os.environ["KERAS_BACKEND"] = task.framework
        import keras

        self.keras, self.task, self.first = keras, task, first
        if task.framework == "torch":
            from ._peers_torch import set_threads

            set_threads(task.threads)
        self.reset()

    def reset(self) -> None:
        keras = self.keras
        embedding = keras.layers.Embedding
        if self.task.layer == "stepfold":
            from stepfold.keras import Embedding as embedding  # noqa: N813
        self.model = keras.Sequential(
            [
                keras.Input((LENGTH,), dtype="int32"),
                embedding(VOCABULARY_SIZE, EMBEDDING_SIZE, mask_zero=self.task.mask),
                self._layer(),
                keras.layers.Dense(1, activation="sigmoid"),
            ]
        )
        self._assign()
        self.model.compile(optimizer=keras.optimizers.RMSprop(), loss="binary_crossentropy")

    def _layer(self) -> Any:
        if self.task.layer == "keras":
            if self.task.cell == "layer_norm_lstm":
                return self.keras.layers.RNN(_layer_norm_cell(self.keras))
            layers = self.keras.layers
        else:
            import stepfold.keras as layers

            if self.task.cell == "layer_norm_lstm":
                from stepfold import cells

                return layers.Recurrent(cells.by_name(self.task.cell), UNITS)
        return {"lstm": layers.LSTM, "gru": layers.GRU, "simple_rnn": layers.SimpleRNN}[self.task.cell](UNITS)

    def _assign(self) -> None:
        embedding, recurrent, dense = self.model.layers
        embedding.set_weights([self.first["embedding"]])
        dense.set_weights([self.first["dense"], self.first["dense bias"]])
        if self._by_name():
            for variable in recurrent.weights:
                variable.assign(self.first["cell"][variable.name])
        else:
            fused = CELLS[self.task.cell].fused(self.first["cell"])
            recurrent.set_weights(self._from_fused(fused, [tuple(v.shape) for v in recurrent.weights]))

    def _by_name(self) -> bool:
        """Whether the layer's weights are the cell's own parameters."""
        return self.task.layer == "stepfold" and self.task.cell == "layer_norm_lstm"

    def _from_fused(self, fused: dict[str, Any], shapes: list[tuple[int, ...]]) -> list[Any]:
        kernel, recurrent, bias, *others = fused.values()
        if self.task.cell == "gru":
            second = np.zeros_like(bias)
            second[2 * UNITS :] = others.pop()
            bias = np.stack([bias, second])
        weights = [kernel.T, recurrent.T, bias, *others]
        return [value.reshape(shape) for value, shape in zip(weights, shapes, strict=True)]

    def weights(self) -> dict[str, Any]:
        embedding, recurrent, dense = self.model.layers
        if self._by_name():
            named = CELLS[self.task.cell].fused({v.name: np.array(v) for v in recurrent.weights})
        else:
            first = CELLS[self.task.cell].fused(self.first["cell"])
            values = recurrent.get_weights()
            if self.task.cell == "gru":
                bias, second = values[2]
                values[2:] = [bias, second[2 * UNITS :]]
            values[:2] = [values[0].T, values[1].T]
            pairs = zip(first.items(), values, strict=True)
            named = {name: value.reshape(like.shape) for (name, like), value in pairs}
        top, bias = dense.get_weights()
        named.update({"embedding": embedding.get_weights()[0], "dense": top, "dense bias": bias})
        return {name: np.array(value) for name, value in named.items()}

    def predict(self, x: Any) -> Any:
        return self.model.predict(x, batch_size=self.task.batch, verbose=0)[:, 0]

    def descend(self, x: Any, y: Any, rate: float) -> float:
        self.model.compile(optimizer=self.keras.optimizers.SGD(rate), loss="binary_crossentropy")
        return float(self.model.train_on_batch(x, y))

    def train(self, x: Any, y: Any) -> None:
        self.model.fit(x, y, batch_size=self.task.batch, epochs=1, shuffle=False, verbose=0)


def _layer_norm_cell(keras: Any) -> Any:
    """Return the layer-norm LSTM as a Keras user writes it."""
    ops = keras.ops

    def normalise(x: Any) -> Any:
        centred = x - ops.mean(x, axis=-1, keepdims=True)
        return centred * ops.rsqrt(ops.mean(centred * centred, axis=-1, keepdims=True) + 1e-3)

    class LayerNormLSTMCell(keras.layers.Layer):  # type: ignore[misc]
        state_size = (UNITS, UNITS)
        output_size = UNITS

        def build(self, shape: Any) -> None:
            self.kernel = self.add_weight(shape=(shape[-1], 4 * UNITS), name="kernel")
            self.recurrent = self.add_weight(shape=(UNITS, 4 * UNITS), name="recurrent")
            self.bias = self.add_weight(shape=(4, UNITS), name="bias")
            self.gain = self.add_weight(shape=(4, UNITS), name="gain")
            self.last_gain = self.add_weight(shape=(UNITS,), name="last_gain")
            self.last_bias = self.add_weight(shape=(UNITS,), name="last_bias")

        def call(self, x: Any, states: Any) -> Any:
            h, c = states
            gates = ops.reshape(ops.matmul(x, self.kernel) + ops.matmul(h, self.recurrent), (-1, 4, UNITS))
            i, f, g, o = ops.unstack(normalise(gates) * self.gain + self.bias, axis=1)
            c = ops.sigmoid(f) * c + ops.sigmoid(i) * ops.tanh(g)
            h = ops.sigmoid(o) * ops.tanh(normalise(c) * self.last_gain + self.last_bias)
            return h, [h, c]

    return LayerNormLSTMCell()

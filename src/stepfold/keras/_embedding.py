"""An embedding that lets the recurrent layer behind it see token ids rather than vectors."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from .._notes import remember
from ._tokens import Tokens


@keras.saving.register_keras_serializable(package="stepfold")
class Embedding(keras.layers.Embedding):  # type: ignore[misc]
    """`keras.layers.Embedding`, with every argument of it, whose ids reach the recurrent layer behind it.

    A stepfold layer that gets the output as it is works on the ids (batch, time) and the table (input_dim,
    output_dim), so that each token is projected once, and the vectors (batch, time, output_dim) need never be
    made. Anything in between (a dropout, a normalisation) works on the vectors, as ever. Results and
    gradients are the same either way. Ids outside 0…input_dim - 1 are an error. (Under JAX's `jit`, as in
    `fit`, a model's arrays have by then been given away, so load its weights again after an error.)

    Args:
        dropout: the share of the table's values to drop in training, one mask a call: a value that is dropped
            is so wherever its word stands in the batch, and the ids still reach the recurrent layer, as they
            do not with a Dropout behind the embedding. seed: for it. Others: as in `keras.layers.Embedding`.

    Raises ValueError for a share that is none.
    """

    def __init__(self, *args: Any, dropout: float = 0.0, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout must lie in 0…1, below 1, not {dropout!r}")
        self.dropout, self.seed = dropout, seed
        if dropout:
            self.seed_generator = keras.random.SeedGenerator(seed)

    def call(self, inputs: Any, training: bool = False) -> Any:
        """Return the vectors (…, output_dim) of ids (…)."""
        if self.dropout and training and self.quantization_mode is not None:
            raise ValueError(f"{self.name!r} is quantised, and has no dropout then: it cannot be trained")
        table = ops.convert_to_tensor(self.embeddings) if self.quantization_mode is None else None
        if self.dropout and training:
            table = keras.random.dropout(table, self.dropout, seed=self.seed_generator)
            ids = ops.cast(inputs, "int32")
            vectors = ops.cast(ops.take(table, ids, axis=0), self.compute_dtype)
        else:
            vectors = super().call(inputs)
        if (
            # TensorFlow's gradient of a table is a list of rows, which optimizers take row by row: from a
            # gradient of the whole table Adam makes other weights
            keras.backend.backend() in ("jax", "torch")
            and len(inputs.shape) == 2
            and table is not None
            and not _compiling()
        ):
            if keras.backend.standardize_dtype(inputs.dtype) not in ("int32", "int64"):
                inputs = ops.cast(inputs, "int32")
            if not getattr(vectors, "requires_grad", True):  # they were made under torch.no_grad
                table = table.detach()
            remember(vectors, Tokens(inputs, table))
        return vectors

    def compute_output_spec(self, inputs: Any, training: bool = False) -> Any:
        """Return the shape and dtype of the vectors."""
        return super().compute_output_spec(inputs)

    def quantize(self, mode: Any = None, type_check: bool = True, config: Any = None) -> None:
        """Quantise the table, as `keras.Model.quantize` asks every layer to; a subclass's is left."""
        super().quantize(mode, type_check=type_check and type(self) is not Embedding, config=config)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {**super().get_config(), "dropout": self.dropout, "seed": self.seed}


def _compiling() -> bool:
    """Whether torch.compile is tracing: it sees no changes in place, after which a note would be wrong."""
    if keras.backend.backend() != "torch":
        return False
    import torch

    return bool(torch.compiler.is_compiling())

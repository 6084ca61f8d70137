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
    """

    def call(self, inputs: Any) -> Any:
        """Return the vectors (…, output_dim) of ids (…)."""
        vectors = super().call(inputs)
        if (
            keras.backend.backend() in ("jax", "torch")
            and len(inputs.shape) == 2
            and self.quantization_mode is None
            and not _compiling()
        ):
            if keras.backend.standardize_dtype(inputs.dtype) not in ("int32", "int64"):
                inputs = ops.cast(inputs, "int32")
            table = ops.convert_to_tensor(self.embeddings)
            if not getattr(vectors, "requires_grad", True):  # they were made under torch.no_grad
                table = table.detach()
            remember(vectors, Tokens(inputs, table))
        return vectors


def _compiling() -> bool:
    """Whether torch.compile is tracing: it sees no changes in place, after which a note would be wrong."""
    if keras.backend.backend() != "torch":
        return False
    import torch

    return bool(torch.compiler.is_compiling())

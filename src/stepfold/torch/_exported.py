"""Each module that a `stepfold.model.Model` can have, as the layers of the Model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor, nn

from .. import model as data
from .._cell import Cell
from .._native import Array
from .._runtime import Recipe
from ._cells import cell_of, parts_of
from ._drop_in import GRU, LSTM, RNN, DropIn
from ._recurrent import Recurrent
from ._tokens import Embedding


class RefusedError(Exception):
    """Why a module or an operation has no place in a Model; whoever knows the place makes an error of it."""


@dataclass(frozen=True)
class Exporter:
    """Makes layers of modules, whose arrays are copies in one dtype."""

    dtype: Any

    def array(self, tensor: Tensor) -> Array:
        """Return a copy of a tensor."""
        found = tensor.detach().cpu().double().numpy()
        return np.array(found, self.dtype, order="C")

    def recurrent(self, module: Any) -> list[tuple[data.RecurrentLayer, ...]]:
        """Return the layers of a recurrent module, each a tuple of its directions; all return sequences."""
        if type(module) not in RECURRENT:
            known = "torch.nn's and stepfold.torch's RNN, LSTM, GRU and Recurrent"
            raise RefusedError(f"a recurrent module may be one of {known}")
        if getattr(module, "proj_size", 0):
            raise RefusedError("a projection (proj_size) is no part of a cell")
        cell, recipe = _cell_of(module)
        directions = 2 if module.bidirectional else 1
        found: list[data.RecurrentLayer] = []
        for names in module._all_weights:
            weights = [self.array(getattr(module, name)) for name in names]
            params = recipe.parameters(weights, lambda: np.zeros(module.hidden_size, self.dtype))
            arrays = {name: np.asarray(value, order="C") for name, value in params.items()}
            reverse = len(found) % directions == 1
            found.append(data.RecurrentLayer(cell, arrays, reverse, return_sequences=True))
        return [tuple(found[k : k + directions]) for k in range(0, len(found), directions)]

    def embedding(self, module: Any) -> data.EmbeddingLayer:
        """Return the layer of an embedding."""
        if module.max_norm is not None:
            raise RefusedError("max_norm changes the table while it is read; set it to None")
        return data.EmbeddingLayer(self.array(module.weight))

    def linear(self, module: Any) -> data.DenseLayer:
        """Return the layer of a linear module."""
        kernel = np.ascontiguousarray(self.array(module.weight).T)
        return data.DenseLayer(kernel, None if module.bias is None else self.array(module.bias))

    def batch_norm(self, module: Any) -> data.AffineLayer:
        """Return the layer of batch normalisation in inference."""
        if module.running_var is None:
            raise RefusedError("without running statistics it depends on the batch")
        mean, variance = (
            self.array(each).astype(np.float64) for each in (module.running_mean, module.running_var)
        )
        scale, shift = 1 / np.sqrt(variance + module.eps), np.zeros_like(mean)
        if module.affine:
            scale, shift = scale * self.array(module.weight), self.array(module.bias).astype(np.float64)
        return data.AffineLayer(scale.astype(self.dtype), (shift - mean * scale).astype(self.dtype))


def _cell_of(module: Any) -> tuple[Cell, Recipe]:
    """Return the cell of a recurrent module in inference, and where its parameters lie in the weights."""
    if isinstance(module, Recurrent):
        cell = module.definition
        recipe = Recipe.of(cell.step, module.hidden_size, module.layer_sizes()[0])
    else:
        normed = getattr(module, "layer_norm", False)
        cell = cell_of(module.mode, normed)
        parts, weights = parts_of(module.mode, module.bias, normed)
        recipe = Recipe.of(cell.step, module.hidden_size, parts=parts, weights=weights)
    if isinstance(module, (DropIn, Recurrent)) and module.noise.zoneout:
        cell = Cell(module.noise.steps(cell.step)[1])
    return cell, recipe


RECURRENT = (nn.RNN, nn.LSTM, nn.GRU, RNN, LSTM, GRU, Recurrent)
EMBEDDINGS = (nn.Embedding, Embedding)
NOTHING = (nn.Dropout, nn.Dropout1d, nn.AlphaDropout, nn.FeatureAlphaDropout, nn.Identity)
"""Modules that do nothing in inference."""


def _expected(**arguments: Any) -> Callable[[Any], None]:
    def check(module: Any) -> None:
        for name, value in arguments.items():
            if getattr(module, name) != value:
                raise RefusedError(f"{name} must be {value!r}, not {getattr(module, name)!r}")

    return check


ACTIVATIONS: Mapping[type, tuple[str, Callable[[Any], None]]] = {
    nn.Tanh: ("tanh", _expected()),
    nn.Sigmoid: ("sigmoid", _expected()),
    nn.ReLU: ("relu", _expected()),
    nn.Hardsigmoid: ("hard_sigmoid", _expected()),
    nn.ELU: ("elu", _expected(alpha=1.0)),
    nn.SiLU: ("silu", _expected()),
    nn.GELU: ("gelu", _expected(approximate="none")),
    nn.Softplus: ("softplus", _expected(beta=1.0, threshold=20.0)),
    nn.Softsign: ("softsign", _expected()),
}
"""The names of activations that are modules, and what must be true of one."""

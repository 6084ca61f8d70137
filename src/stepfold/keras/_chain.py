"""A Keras model's graph as a chain: its layers one after the other, from the input to the output.

Where branches of one tensor are concatenated, all of them are one step of the chain.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import keras

from ..model import ConcatenateLayer
from ._with_mask import WithMask

_MOST_CALLS = 1_000


class Call(NamedTuple):
    """One call of a layer in a model: the layer, and the shape of its output, the batch axis first."""

    layer: Any
    shape: tuple[int | None, ...]


class Concatenation(NamedTuple):
    """Branches that read the same: the layer, or operation, that concatenates them, the shape of its output,
    the batch axis first, and the calls of each branch."""

    layer: Any
    shape: tuple[int | None, ...]
    branches: tuple[list[Call | Concatenation], ...]


Chain = list[Call | Concatenation]


def refusal(layer: Any, reason: str) -> ValueError:
    """Return the error that says why a layer cannot be exported."""
    return ValueError(f"the layer {layer.name!r} ({type(layer).__name__}) cannot be exported: {reason}")


def chain_of(model: Any) -> Chain:
    """Return the calls of the layers of a model, and of the models in it, in their order.

    Raises TypeError for what is no model of Keras, ValueError for one whose layers are no chain.
    """
    if not isinstance(model, keras.Model):
        raise TypeError(f"expected a keras.Sequential or functional keras.Model, not {type(model).__name__}")
    if not _is_listed(model):
        raise ValueError(
            f"{type(model).__name__} is a subclassed model, whose layers only its own code knows; make a "
            "keras.Sequential or functional keras.Model of them"
        )
    if not model.built:
        raise ValueError(f"{model.name!r} has no weights yet: fit it, or give it a keras.Input")
    try:
        inputs, outputs = model.inputs, model.outputs
    except AttributeError:
        raise ValueError(
            f"{model.name!r} does not know the shape of its input; begin it with a keras.Input"
        ) from None
    if len(outputs) != 1:
        raise ValueError(f"{model.name!r} has {len(outputs)} outputs; export a keras.Model of one of them")
    graph = _Graph(model, outputs[0])
    found, read = graph.between(None, outputs[0]), {id(tensor) for tensor in graph.read}
    if len(inputs) != len(read):
        raise ValueError(
            f"{model.name!r} has {len(inputs)} inputs; a model that can be exported reads one sequence (and "
            "its mask, through stepfold.keras.WithMask)"
        )
    return found


class _Graph:
    """The tensors of a model that lead to one of them, each with the nearest one that all its paths pass.

    Attributes:
        read: the inputs of the model that are read.
    """

    def __init__(self, model: Any, output: Any) -> None:
        self._model = model
        self.read: list[Any] = []
        self._sources: dict[int, list[Any]] = {}
        self._before: dict[int, Any] = {}  # of an input None
        self._depth: dict[int, int] = {}
        self._calls = 0
        waiting = [output]
        while waiting:  # no recursion: no chain is too long to follow
            tensor = waiting[-1]
            if id(tensor) not in self._sources:
                self._sources[id(tensor)] = self._sources_of(tensor)
            sources = self._sources[id(tensor)]
            unknown = [each for each in sources if id(each) not in self._before]
            if unknown and id(tensor) not in self._before:
                waiting += unknown
                continue
            waiting.pop()
            if id(tensor) not in self._before:
                self._before[id(tensor)] = before = self._nearest(tensor, sources)
                self._depth[id(tensor)] = 0 if before is None else self._depth[id(before)] + 1

    def _sources_of(self, tensor: Any) -> list[Any]:
        """Return what a tensor is made of, without masks."""
        if any(tensor is each for each in self._model.inputs):
            self.read.append(tensor)
            return []
        layer, call = _made_by(tensor)
        if not call.input_tensors:
            raise refusal(layer, f"it is an input of its own, and {self._model.name!r} does not list it")
        if concatenates(layer):
            return list(call.input_tensors)
        return [_input_of(layer, call)]

    def _nearest(self, tensor: Any, sources: list[Any]) -> Any:
        """Return the nearest tensor that all paths to the sources pass."""
        found = sources[0] if sources else None
        for other in sources[1:]:
            while found is not other:
                if self._depth[id(found)] >= self._depth[id(other)]:
                    found = self._before[id(found)]
                else:
                    other = self._before[id(other)]
                if found is None or other is None:
                    raise refusal(
                        _made_by(tensor)[0],
                        "it takes more than one input, and these come from no common one: a Model reads one "
                        "sequence",
                    )
        return found

    def between(self, first: Any, last: Any, depth: int = 0) -> Chain:
        """Return the calls that make one tensor of another, or of the input if that is None."""
        found: Chain = []
        while last is not first and self._before[id(last)] is not None:
            layer, call = _made_by(last)
            before = self._before[id(last)]
            self._calls += 1
            if self._calls > _MOST_CALLS:
                raise refusal(layer, f"with all branches the model has over {_MOST_CALLS:,} calls of layers")
            if concatenates(layer):
                most = ConcatenateLayer.most_nested
                if depth == most:
                    raise refusal(layer, f"concatenations lie more than {most} deep within one another")
                branches = (self.between(before, each, depth + 1) for each in self._sources[id(last)])
                found.append(Concatenation(layer, tuple(last.shape), tuple(branches)))
            elif isinstance(layer, keras.Model):
                found += reversed(chain_of(layer))
            else:
                found.append(Call(layer, tuple(last.shape)))
            if type(layer) is WithMask:
                self._check_mask(layer, call, depth)
            last = before
        return found[::-1]

    def _check_mask(self, layer: Any, call: Any, depth: int) -> None:
        inputs = self._model.inputs
        if len(inputs) != 2 or call.input_tensors[1] is not inputs[1]:
            raise refusal(layer, "its mask must be the second input of the model")
        if depth:
            raise refusal(layer, "it stands in one of several branches; give it what all of them read")
        self.read.append(inputs[1])


def concatenates(layer: Any) -> bool:
    """Whether a layer is Keras's Concatenate, or an operation `keras.ops.concatenate`."""
    kind = type(layer)
    return kind.__name__ == "Concatenate" and kind.__module__.startswith("keras.")


def _made_by(tensor: Any) -> tuple[Any, Any]:
    """Return the layer that made a tensor, and the call of it."""
    layer, node, _ = tensor._keras_history
    return layer, layer._inbound_nodes[node]


def _alike(a: Any, b: Any, known: set[tuple[int, int]]) -> bool:
    """Whether two tensors of a graph are the same, or the same operation made each of them of the same.

    A model that was saved and loaded has two tensors for a mask: what was saved, and what the layers give.
    Those in `known` are alike; what is found to be is added.
    """
    if (id(a), id(b)) in known:
        return True
    (one, i, _), (other, k, _) = a._keras_history, b._keras_history
    if one is other and i == k:
        return True
    if isinstance(one, keras.Layer) or type(one) is not type(other):
        return False
    configurations = [{**operation.get_config(), "name": ""} for operation in (one, other)]
    first, second = one._inbound_nodes[i], other._inbound_nodes[k]
    constants = [_constants(node.arguments) for node in (first, second)]
    inputs = first.input_tensors, second.input_tensors
    alike = (
        configurations[0] == configurations[1]
        and constants[0] == constants[1]
        and len(inputs[0]) == len(inputs[1])
        and all(_alike(*pair, known) for pair in zip(*inputs, strict=True))
    )
    if alike:
        known.add((id(a), id(b)))
    return alike


def _constants(arguments: Any) -> list[Any]:
    flat = keras.tree.flatten([arguments.args, arguments.kwargs])
    return [value for value in flat if not isinstance(value, keras.KerasTensor)]


def _is_listed(model: Any) -> bool:
    """Whether a model is what its list of layers says: Sequential or functional, with Keras's own `call`."""
    if not (isinstance(model, keras.Sequential) or hasattr(model, "operations")):
        return False
    owner = next(kind for kind in type(model).__mro__ if "call" in vars(kind))
    return owner.__module__.startswith("keras.")


def _input_of(layer: Any, call: Any) -> Any:
    """Return the one tensor that a layer was called with, beside which there may be its own mask."""
    first, others = call.input_tensors[0], call.input_tensors[1:]
    arguments = [*call.arguments.args[1:], *call.arguments.kwargs.values()]
    if any(value is True for value in arguments):
        raise refusal(layer, "it is called with training=True, so that it is random, or learns, at any time")
    if type(layer) is WithMask:
        return first
    own_mask = getattr(first, "_keras_mask", None)
    known: set[tuple[int, int]] = set()
    if not all(own_mask is not None and _alike(other, own_mask, known) for other in others):
        raise refusal(layer, "it takes more than one input, and a Model is one layer after the other")
    return first

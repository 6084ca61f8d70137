"""A Keras model's graph as a chain: its layers one after the other, from the input to the output."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import keras

from ._with_mask import WithMask


class Call(NamedTuple):
    """One call of a layer in a model: the layer, and the shape of its output, the batch axis first."""

    layer: Any
    shape: tuple[int | None, ...]


def refusal(layer: Any, reason: str) -> ValueError:
    """Return the error that says why a layer cannot be exported."""
    return ValueError(f"the layer {layer.name!r} ({type(layer).__name__}) cannot be exported: {reason}")


def chain_of(model: Any) -> Iterator[Call]:
    """Yield the calls of the layers of a model, and of the models in it, in their order.

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
    calls, tensor, used = [], outputs[0], 1
    while not any(tensor is each for each in inputs):
        layer, node, _ = tensor._keras_history
        call = layer._inbound_nodes[node]
        calls.append(Call(layer, tuple(tensor.shape)))
        if not call.input_tensors:
            raise refusal(layer, f"it is an input of its own, and {model.name!r} does not list it")
        tensor = _input_of(layer, call)
        if type(layer) is WithMask:
            used += 1
            if len(inputs) != 2 or call.input_tensors[1] is not inputs[1]:
                raise refusal(layer, "its mask must be the second input of the model")
    if len(inputs) != used:
        raise ValueError(
            f"{model.name!r} has {len(inputs)} inputs; a model that can be exported reads one sequence (and "
            "its mask, through stepfold.keras.WithMask)"
        )
    for each in reversed(calls):
        if isinstance(each.layer, keras.Model):
            yield from chain_of(each.layer)
        else:
            yield each


def _alike(a: Any, b: Any) -> bool:
    """Whether two tensors of a graph are the same, or the same operation made each of them of the same.

    A model that was saved and loaded has two tensors for a mask: what was saved, and what the layers give.
    """
    (one, i, _), (other, k, _) = a._keras_history, b._keras_history
    if one is other and i == k:
        return True
    if isinstance(one, keras.Layer) or type(one) is not type(other):
        return False
    configurations = [{**operation.get_config(), "name": ""} for operation in (one, other)]
    first, second = one._inbound_nodes[i], other._inbound_nodes[k]
    constants = [_constants(node.arguments) for node in (first, second)]
    inputs = first.input_tensors, second.input_tensors
    return (
        configurations[0] == configurations[1]
        and constants[0] == constants[1]
        and len(inputs[0]) == len(inputs[1])
        and all(map(_alike, *inputs))
    )


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
    if not all(own_mask is not None and _alike(other, own_mask) for other in others):
        raise refusal(layer, "it takes more than one input, and a Model is one layer after the other")
    return first

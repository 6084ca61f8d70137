"""`to_model`: a trained PyTorch module as data, which runs without PyTorch."""

from __future__ import annotations

import operator
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import fx, nn
from torch.nn import functional

from .. import model as data
from ..data import Vocabulary
from ._exported import ACTIVATIONS, EMBEDDINGS, NOTHING, Exporter, RefusedError
from ._operations import activated, flattened, operations, softmax
from ._recurrent import Recurrent
from ._traced import Traced, has_hooks, place_of, trace
from ._values import BatchAxis, Called, Values, is_zero, then, values_of

_WHAT = (
    "embeddings, recurrent modules, their last outputs and states, mean, max and sum over time, "
    "Linear, BatchNorm1d, dropout and activations"
)
_TOLERANCE = 1e-4


def to_model(
    module: Any,
    *,
    vocabulary: Vocabulary | None = None,
    length: int | None = None,
    labels: Iterable[Any] | None = None,
    example: Any = None,
    name: str | None = None,
) -> data.Model:
    """Return a `torch.nn.Module` as a `stepfold.model.Model`: the same numbers.

    The module is a recurrent one, torch.nn's or ours (then the output of each timestep comes out), an
    `nn.Sequential`, or one of your own whose forward torch.fx can trace, and computes one layer after the
    other: an embedding of ids, recurrent modules, `output[:, -1]`, `h_n[-1]` or both directions' last states
    joined, mean, max or sum over time, Linear, BatchNorm1d, activations. What acts in training alone is left
    out. The weights are copied. They are float32, or float64 if all of the module's are. A Model has the
    batch axis first, whatever `batch_first` is.

    Args:
        module: the trained module; it stays as it is.
        vocabulary: with it the Model takes texts, padded with 0 on the left up to `length`.
        length: how many of a sequence's last timesteps the Model reads; None for all.
        labels: the classes in the order of the outputs, for one output, a probability, two. None: 0, 1, … if
            the module ends with a softmax, or with a sigmoid and one output; else the outputs are values.
            With labels, outputs that no sigmoid or softmax ends are logits, and get one.
        example: a batch of inputs, as the module takes them (of a cell with several inputs a tuple, which the
            Model takes side by side on the last axis). With it, forward may ask for shapes, and the
            Model's outputs are compared with the module's.
        name: what to call the Model; None for the name of the module's class.

    Raises TypeError for what is no module, ValueError for one that cannot be said as a Model, which names the
    operation and, where it is known, the line in forward.
    """
    if not isinstance(module, nn.Module):
        raise TypeError(f"expected a torch.nn.Module, not {type(module).__name__}")
    module = getattr(module, "_orig_mod", module)  # what torch.compile was given
    traced = trace(module, example)
    kinds = {parameter.dtype for parameter in module.parameters()}
    exporter = Exporter(np.dtype("float64" if kinds == {torch.float64} else "float32"))
    batch_axis = BatchAxis()
    found = _Reader(traced, exporter, batch_axis).output()
    if found.logarithm and labels is None:
        raise ValueError(
            f"{type(module).__name__} ends with a log_softmax; give the labels of its classes, and the Model "
            "gives their probabilities"
        )
    model = data.assemble(
        found.layers,
        features=_features(found.layers, example),
        vocabulary=vocabulary,
        length=length,
        labels=labels,
        name=type(module).__name__ if name is None else name,
    )
    if example is not None:
        _compare(
            data.assemble(
                found.layers,
                features=_features(found.layers, example),
                vocabulary=None,
                length=None,
                labels=None,
                name="example",
            ),
            found,
            batch_axis,
            example,
            traced.result,
        )
    return model


class _Reader:
    """Reads a graph from its output: what each node is in a Model."""

    def __init__(self, traced: Traced, exporter: Exporter, batch_axis: BatchAxis) -> None:
        self._traced, self._exporter, self._batch_axis = traced, exporter, batch_axis
        self._operations = operations(batch_axis)
        self._known: dict[fx.Node, Any] = {}

    def output(self) -> Values:
        """Return what the module gives."""
        (node,) = (each for each in self._traced.graph.nodes if each.op == "output")
        result = node.args[0]
        if not isinstance(result, fx.Node):
            raise ValueError(
                f"forward returns {'several values' if isinstance(result, (tuple, list)) else 'no tensor'}; "
                "export a module that returns the one tensor that a Model is to give"
            )
        needed = _needed(result)
        for each in self._traced.graph.nodes:  # in their order, so that no chain is too long to follow
            if each in needed:
                self._known[each] = self._read(each)
        found = self._known[result]
        with_output = found.output if isinstance(found, Called) else found
        try:
            return with_output if isinstance(with_output, Values) else values_of(with_output)
        except RefusedError as error:
            raise self._error(result, error) from None

    def _read(self, node: fx.Node) -> Any:
        args, kwargs = fx.node.map_arg((node.args, node.kwargs), self._known.__getitem__)
        try:
            match node.op:
                case "placeholder":
                    first = next(n for n in self._traced.graph.nodes if n.op == "placeholder")
                    return Values(()) if node is first else node.args[0] if node.args else RefusedError
                case "get_attr":
                    return self._traced.constants.get(str(node.target), RefusedError)
                case "call_module":
                    return self._module(self._traced.root.get_submodule(str(node.target)), *args, **kwargs)
                case "call_method":
                    return self._call(str(node.target), args, kwargs)
            return self._call(_name_of(node.target), args, kwargs)
        except RefusedError as error:
            raise self._error(node, error) from None
        except TypeError as error:
            raise self._error(node, RefusedError(f"its arguments have no counterpart ({error})")) from None

    def _call(self, name: str, args: Any, kwargs: Any) -> Any:
        if name not in self._operations:
            raise RefusedError("a Model has no such operation")
        return self._operations[name](*args, **kwargs)

    def _module(self, module: nn.Module, value: Any, hx: Any = None, **options: Any) -> Any:
        kind = type(module)
        if has_hooks(module) and self._traced.result is None:
            raise RefusedError(
                "it has a forward hook, which may change what it gives; give example=, and both are compared"
            )
        if kind in NOTHING:
            return value
        if kind in ACTIVATIONS:
            name, check = ACTIVATIONS[kind]
            check(module)
            return activated(name, value)
        if isinstance(module, (nn.RNNBase, Recurrent)):
            return self._recurrent(module, value, hx, options)
        if kind in EMBEDDINGS:
            values = values_of(value)
            if values.layers:
                raise RefusedError("an embedding can only be the first layer, which reads ids")
            return then(values, self._exporter.embedding(module))
        if kind is nn.Linear:
            return then(value, self._exporter.linear(module))
        if kind is nn.BatchNorm1d:
            if values_of(value).time:
                raise RefusedError("over sequences it takes timesteps for features")
            return then(value, self._exporter.batch_norm(module))
        if kind in (nn.Softmax, nn.LogSoftmax):
            return softmax(value, module.dim, logarithm=kind is nn.LogSoftmax)
        if kind is nn.Flatten:
            return flattened(value, module.start_dim)
        raise RefusedError("a Model has no such module")

    def _recurrent(self, module: Any, value: Any, hx: Any, options: dict[str, Any]) -> Called:
        if not is_zero(hx):
            raise RefusedError("it starts from states of its own; a Model starts from zeros")
        if any(option is not None for option in options.values()):
            raise RefusedError("it takes more than one input (lengths); a Model masks padding by itself")
        if isinstance(value, (tuple, list)):
            raise RefusedError(
                "it takes several inputs; export the recurrent module alone, as a Model of them"
            )
        values = values_of(value)
        if not values.time:
            raise RefusedError("it needs sequences, and time is gone")
        self._batch_axis.settle(values, module.batch_first, "this module")
        states, output = 1 + (getattr(module, "mode", "") == "LSTM"), False
        if isinstance(module, Recurrent):
            states, output = len(module.definition.states), module.definition.step.output
        return Called(values, self._exporter.recurrent(module), states, output)

    def _error(self, node: fx.Node, error: RefusedError) -> ValueError:
        if node.op == "call_module":
            part = self._traced.root.get_submodule(str(node.target))
            what = f"the module {node.target!r} ({type(part).__name__})"
        else:
            what = node.target if node.op == "call_method" else _name_of(node.target)
        return ValueError(
            f"{place_of(node)}{what} cannot be exported: {error}; a Model may be made of {_WHAT}"
        )


def _needed(node: fx.Node) -> set[fx.Node]:
    """Return a node and all that it is computed from."""
    found, waiting = set(), [node]
    while waiting:
        each = waiting.pop()
        if each not in found:
            found.add(each)
            waiting += each.all_input_nodes
    return found


def _name_of(target: Any) -> str:
    """Return the name of a function of torch or of Python's operators, "" for any other."""
    name = str(getattr(target, "__name__", target))
    known = any(getattr(module, name, None) is target for module in (torch, functional, operator))
    return name if known or target is getattr else f"{getattr(target, '__module__', '')}.{name}"


def _features(layers: Any, example: Any) -> int | None:
    """Return the features of a timestep; None for ids."""
    first = layers[0] if layers else None
    match first:
        case data.EmbeddingLayer():
            return None
        case data.RecurrentLayer() if first.features is not None:
            return first.features
        case data.BidirectionalLayer() if first.forward.features is not None:
            return first.forward.features
        case data.DenseLayer():
            return len(first.kernel)
        case data.AffineLayer():
            return len(first.scale)
    if example is None:
        raise ValueError("the module does not say how many features a timestep has; give example=")
    return int(example.shape[-1])


def _compare(model: data.Model, values: Values, batch_axis: BatchAxis, example: Any, expected: Any) -> None:
    """ValueError unless the model gives what the module gave."""
    parts = [each.detach().cpu().numpy() for each in (example if isinstance(example, tuple) else (example,))]
    cell = getattr(getattr(model.layers[0], "forward", model.layers[0]), "cell", None)
    if len(parts) > 1 or (cell is not None and cell.step.integers):  # a Model has them side by side
        parts = [part[..., None] if part.ndim < 3 else part for part in parts]
    given = np.concatenate(parts, axis=-1) if len(parts) > 1 else parts[0]
    found = model.run(given if batch_axis.batch_first in (None, True) else given.swapaxes(0, 1))
    if isinstance(expected, tuple):  # a recurrent module's output and states
        expected = expected[0]
    wanted = expected.detach().cpu().double().numpy()
    if values.time and (batch_axis.batch_first is False) != values.swapped:
        wanted = wanted.swapaxes(0, 1)
    wanted = np.exp(wanted) if values.logarithm else wanted
    found = found.astype(np.float64).reshape(wanted.shape) if values.squeezed else found.astype(np.float64)
    if found.shape != wanted.shape or not np.allclose(found, wanted, rtol=_TOLERANCE, atol=_TOLERANCE):
        difference = np.abs(found - wanted).max() if found.shape == wanted.shape else "in their shapes"
        raise ValueError(
            f"the exported model does not give what the module gives for the example: they differ "
            f"{difference if isinstance(difference, str) else f'by {difference:.3g}'}; please report it"
        )

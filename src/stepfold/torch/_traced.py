"""A module's forward as a graph: torch.fx, with recurrent modules as they are and shapes where an example
gives them."""

from __future__ import annotations

import inspect
import os
import re
from typing import Any, NamedTuple

import torch
from torch import fx, nn

from ._recurrent import Recurrent
from ._tokens import Embedding

_HERE = os.path.dirname(os.path.abspath(__file__))
_FRAME = re.compile(r'File "(?P<file>[^"]+)", line (?P<line>\d+), in (?P<name>\S+)')


class Traced(NamedTuple):
    """A module's graph, the module whose parts its nodes name, the tensors that forward makes, by their names
    in the graph, and what the module gives for the example."""

    graph: fx.Graph
    root: nn.Module
    constants: dict[str, Any]
    result: Any


def trace(module: nn.Module, example: Any = None) -> Traced:
    """Return the graph of a module's forward in inference; ValueError if it cannot be traced.

    Arguments of forward that have defaults keep them. With an example, a batch of inputs, whatever forward
    asks of a tensor's shape, dtype and device is what the example gives.
    """
    root = nn.Sequential(module) if _is_leaf(module) else module
    if has_hooks(root):
        raise ValueError(
            f"{type(module).__name__} has a forward hook, which runs around its forward and is not traced; "
            "remove it, or write what it does into forward"
        )
    tracer = _Tracer(example)
    training = [part for part in module.modules() if part.training]
    before = set(vars(root))
    try:
        module.eval()
        with torch.no_grad():
            graph = tracer.trace(root, _defaults(root))
    except Exception as error:
        reason = " ".join(str(error).split())
        cure = "" if example is not None else "; if it asks for the shape of its input, give example="
        raise ValueError(
            f"the forward of {type(module).__name__} cannot be traced by torch.fx ({type(error).__name__}: "
            f"{reason}){cure}"
        ) from error
    finally:
        for part in training:
            part.training = True
        # torch.fx leaves the tensors that forward makes in the user's module
        constants = {name: vars(root).pop(name) for name in set(vars(root)) - before}
    return Traced(graph, root, constants, tracer.result)


def place_of(node: fx.Node) -> str:
    """Return where in the user's code a node comes from, such as "model.py:12, in forward: ", if known."""
    frames = [
        found
        for found in _FRAME.finditer(node.stack_trace or "")
        if not found["file"].startswith((_HERE, os.path.dirname(torch.__file__)))
    ]
    if not frames:
        return ""
    last = frames[-1]
    return f"{os.path.basename(last['file'])}:{last['line']}, in {last['name']}: "


def has_hooks(module: nn.Module) -> bool:
    """Whether something runs before or after a module's forward, which may change what it gives."""
    return bool(module._forward_hooks or module._forward_pre_hooks)


def _is_leaf(module: nn.Module) -> bool:
    own = isinstance(module, (nn.RNNBase, Recurrent, Embedding))
    return own or (type(module).__module__.startswith("torch.nn.") and not isinstance(module, nn.Sequential))


def _defaults(root: nn.Module) -> dict[str, Any]:
    """The arguments of forward that have defaults."""
    return {
        name: argument.default
        for name, argument in inspect.signature(root.forward).parameters.items()
        if argument.default is not argument.empty
    }


class _Tracer(fx.Tracer):  # type: ignore[misc]
    """Traces, and runs an example along."""

    def __init__(self, example: Any) -> None:
        super().__init__()
        self.record_stack_traces = True
        self.result: Any = None
        self._example, self._values = example, dict[fx.Node, Any]()
        self._running = False

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Whether a module is a node of its own."""
        return _is_leaf(m)

    def proxy(self, node: fx.Node) -> fx.Proxy:
        """Return what stands for a value while forward runs."""
        if self._example is None:
            return fx.Proxy(node, self)
        return _Concrete(node, self, self._value(node))

    def call_module(self, m: nn.Module, forward: Any, args: Any, kwargs: Any) -> Any:
        """Trace the call of a module, except while the example runs."""
        return forward(*args, **kwargs) if self._running else super().call_module(m, forward, args, kwargs)

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: Any) -> Any:
        """Return a module's attribute, a parameter as it is while the example runs."""
        return attr_val if self._running else super().getattr(attr, attr_val, parameter_proxy_cache)

    def _value(self, node: fx.Node) -> Any:
        if node not in self._values:
            running, self._running = self._running, True
            try:
                self._values[node] = self._run(node)
            finally:
                self._running = running
        return self._values[node]

    def _run(self, node: fx.Node) -> Any:
        args, kwargs = fx.node.map_arg((node.args, node.kwargs), self._value)
        match node.op:
            case "placeholder":
                first = not any(each.op == "placeholder" for each in self._values)
                return self._example if first else node.args[0] if node.args else None
            case "get_attr":
                return _part(self.root, node.target)
            case "call_module":
                return self.root.get_submodule(node.target)(*args, **kwargs)
            case "call_function":
                return node.target(*args, **kwargs)
            case "call_method":
                return getattr(args[0], node.target)(*args[1:], **kwargs)
        return args[0] if args else None

    def create_node(self, kind: str, *arguments: Any, **options: Any) -> fx.Node:
        """Add a node; that of the output says what the example gives."""
        node = super().create_node(kind, *arguments, **options)
        if kind == "output" and self._example is not None:
            self.result = fx.node.map_arg(node.args[0], self._value)
        return node


def _part(root: Any, name: str) -> Any:
    for each in name.split("."):
        root = getattr(root, each)
    return root


class _Concrete(fx.Proxy):  # type: ignore[misc]
    """A value that is traced, whose shape, dtype and device are known."""

    def __init__(self, node: fx.Node, tracer: _Tracer, value: Any) -> None:
        super().__init__(node, tracer)
        self._value = value

    def size(self, *axis: int) -> Any:
        """Return the example's size."""
        return self._value.size(*axis)

    def dim(self) -> int:
        """Return how many axes there are."""
        return int(self._value.dim())

    def __len__(self) -> int:
        return len(self._value)

    @property
    def shape(self) -> Any:
        """The example's shape."""
        return self._value.shape

    @property
    def ndim(self) -> int:
        """How many axes there are."""
        return int(self._value.ndim)

    @property
    def dtype(self) -> Any:
        """The example's dtype."""
        return self._value.dtype

    @property
    def device(self) -> Any:
        """The example's device."""
        return self._value.device

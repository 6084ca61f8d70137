"""What each operation of a user's forward makes of the values in it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from .. import model as data
from ._exported import RefusedError
from ._values import OTHER, ZEROS, BatchAxis, Called, Found, Last, States, Values, then, values_of

ALL = slice(None)
Operation = Callable[..., Any]


def choose(batch_axis: BatchAxis, value: Any, key: Any) -> Any:
    """Return value[key]."""
    if value is OTHER:  # such as a size
        return OTHER
    keys = tuple(key) if isinstance(key, (tuple, list)) else (key,)
    while len(keys) > 1 and (keys[-1] is Ellipsis or keys[-1] == ALL):
        keys = keys[:-1]
    if isinstance(value, (Called, Found)) and keys == (0,):
        return value.output if isinstance(value, Called) else value.values
    if isinstance(value, Called) and keys in ((1,), (-1,)):
        if value.own_output:
            raise RefusedError("a Model gives the output of this cell, which is no state, and not its states")
        return States(value, chosen=value.states == 1)
    if isinstance(value, States) and not value.chosen:
        if keys != (0,):
            raise RefusedError("a Model gives the first state of a cell, h, and no other")
        return replace(value, chosen=True)
    if isinstance(value, States) and len(keys) == 1 and isinstance(keys[0], int):
        return _last_of(value.called, keys[0])
    if isinstance(value, Values) and value.time:
        return _step_of(batch_axis, value, keys)
    raise RefusedError(f"a Model has nothing for the index {key!r}")


def _last_of(called: Called, index: int) -> Last:
    flat = [(k, direction) for k, level in enumerate(called.levels) for direction in level]
    if not -len(flat) <= index < len(flat):
        raise RefusedError(f"there are {len(flat)} states, and none is the state {index}")
    level, direction = flat[index]
    return Last((*called.before.layers, *called.layers[:level]), direction)


def _step_of(batch_axis: BatchAxis, value: Values, keys: tuple[Any, ...]) -> Any:
    """One timestep of a sequence: the last, or of one direction of two where that has read everything."""
    if keys[0] == ALL and len(keys) > 1:
        step, rest = keys[1], keys[2:]
        batch_axis.settle(value, True, "this index")
    elif isinstance(keys[0], int):
        step, rest = keys[0], tuple(key for key in keys[1:] if key != ALL)
        batch_axis.settle(value, False, "this index")
    else:
        raise RefusedError(f"a Model has nothing for the index {keys!r}")
    layer = value.layers[-1] if value.layers else None
    before = value.layers[:-1]
    if isinstance(layer, data.BidirectionalLayer) and len(rest) == 1:
        units = layer.forward.width
        if (step, rest[0]) == (-1, slice(None, units)):
            return Last(before, layer.forward)
        if step == 0 and rest[0] in (slice(units, None), slice(-layer.backward.width, None)):
            return Last(before, layer.backward)
    if rest or step != -1:
        raise RefusedError("of a sequence a Model gives the last timestep, output[:, -1], and no other")
    if isinstance(layer, data.RecurrentLayer) and not layer.reverse:
        return Last(before, layer)
    return replace(value, layers=(*value.layers, data.PoolingLayer("last")), time=False)


def joined(merge: data.Merge, values: Any, axis: Any = None) -> Values:
    """Return the last states of two directions in one."""
    pair = list(values)
    if len(pair) == 2 and all(isinstance(each, Last) for each in pair):
        one, other = pair
        same = len(one.before) == len(other.before) and all(
            a is b for a, b in zip(one.before, other.before, strict=True)
        )
        forward_first = not one.layer.reverse and other.layer.reverse
        if same and merge != "concat" and one.layer.reverse and not other.layer.reverse:
            one, other, forward_first = other, one, True
        if same and forward_first and (merge != "concat" or axis in (1, -1)):
            forward, backward = (replace(each.layer, return_sequences=False) for each in (one, other))
            return Values((*one.before, data.BidirectionalLayer(forward, backward, merge)), time=False)
    raise RefusedError(
        "a Model joins the last states of the two directions of one layer, the forward one first, and no "
        "other values"
    )


def pooled(batch_axis: BatchAxis, kind: data.Pool, value: Any, axis: Any, keep: bool = False) -> Values:
    """Return a sequence's maximum, mean or sum over time."""
    values = values_of(value)
    axis = axis[0] if isinstance(axis, (tuple, list)) and len(axis) == 1 else axis
    if not values.time or not isinstance(axis, int) or keep:
        raise RefusedError("a Model pools sequences over time, with dim=, to (batch, features)")
    batch_axis.check_time(values, axis if axis >= 0 else axis + 3, "this pooling")
    return replace(values, layers=(*values.layers, data.PoolingLayer(kind)), time=False)


def activated(name: str, value: Any) -> Values:
    """Return what an activation makes of values."""
    return then(value, data.ActivationLayer(name))


def softmax(value: Any, axis: Any, *, logarithm: bool = False) -> Values:
    """Return the softmax over the last axis; its logarithm is left out, and noted."""
    values = values_of(value)
    if values.squeezed or axis not in (-1, 2 if values.time else 1):
        raise RefusedError(f"a softmax must be over the last axis, dim=-1, not dim={axis}")
    return replace(activated("softmax", values), logarithm=logarithm)


def squeezed(value: Any, *axes: int) -> Any:
    """Return values without an axis of one feature, or of one layer."""
    if isinstance(value, States) and value.chosen and axes == (0,) and len(value.called.levels) == 1:
        if len(value.called.levels[0]) == 1:
            return _last_of(value.called, 0)
    else:
        values = values_of(value)
        if axes in ((-1,), (2 if values.time else 1,)) and not values.squeezed:
            return replace(values, squeezed=True)
    raise RefusedError("a Model has squeeze(-1) of one feature, and squeeze(0) of the states of one layer")


def swapped(value: Any, *axes: int) -> Values:
    """Return values with batch and time exchanged."""
    values = values_of(value)
    if not values.time or sorted(axes) != [0, 1]:
        raise RefusedError("a Model exchanges the axes of batch and time, and no others")
    return replace(values, swapped=not values.swapped)


def permuted(value: Any, *axes: Any) -> Values:
    """Return values with their axes in another order."""
    order = tuple(axes[0]) if len(axes) == 1 else axes
    if order == (0, 1, 2):
        return values_of(value)
    return swapped(value, *order[:2]) if order == (1, 0, 2) else swapped(value)


def flattened(value: Any, start: int = 0) -> Values:
    """Return values (batch, features) as they are."""
    values = values_of(value)
    if values.time or start not in (1, -1):
        raise RefusedError("a Model flattens nothing but (batch, features), with start_dim=1")
    return values


def operations(batch_axis: BatchAxis) -> dict[str, Operation]:
    """Return the functions and methods of torch that a forward may call, by their names."""

    def pool(kind: data.Pool) -> Operation:
        def over(value: Any, dim: Any = None, keepdim: bool = False) -> Values:
            return pooled(batch_axis, kind, value, dim, keepdim)

        return over

    def dropout(value: Any, p: float = 0.5, training: bool = True, inplace: bool = False) -> Any:
        if training and p:
            raise RefusedError("it drops at any time; give training=self.training")
        return value

    def plain(name: str) -> Operation:
        return lambda value, inplace=False: activated(name, value)

    found: dict[str, Operation] = {
        name: plain(name) for name in ("tanh", "sigmoid", "relu", "silu", "softsign")
    }
    found |= {
        "exp": plain("exponential"),
        "hardsigmoid": plain("hard_sigmoid"),
        "elu": lambda value, alpha=1.0, inplace=False: activated("elu", _only(value, alpha == 1.0, "alpha")),
        "gelu": lambda value, approximate="none": activated(
            "gelu", _only(value, approximate == "none", "approximate")
        ),
        "softplus": lambda value, beta=1.0, threshold=20.0: activated(
            "softplus", _only(_only(value, beta == 1.0, "beta"), threshold == 20.0, "threshold")
        ),
        "softmax": lambda value, dim=None, _stacklevel=3, dtype=None: softmax(value, dim),
        "log_softmax": lambda value, dim=None, _stacklevel=3, dtype=None: softmax(value, dim, logarithm=True),
        "dropout": dropout,
        "mean": pool("mean"),
        "sum": pool("sum"),
        "amax": pool("max"),
        "max": lambda value, dim=None, keepdim=False: Found(pooled(batch_axis, "max", value, dim, keepdim)),
        "getitem": lambda value, key: choose(batch_axis, value, key),
        "select": lambda value, dim, index: choose(batch_axis, value, (*(ALL,) * dim, index)),
        "getattr": lambda value, name: _attribute(value, name),
        "to": _to,
        "cat": lambda tensors, dim=0: joined("concat", tensors, dim),
        "concat": lambda tensors, dim=0: joined("concat", tensors, dim),
        "add": lambda a, b: joined("sum", (a, b)),
        "mul": lambda a, b: joined("mul", (a, b)),
        "squeeze": lambda value, *dim, **named: squeezed(value, *(dim or tuple(named.values()))),
        "transpose": lambda value, dim0, dim1: swapped(value, dim0, dim1),
        "swapaxes": lambda value, axis0, axis1: swapped(value, axis0, axis1),
        "permute": permuted,
        "flatten": flattened,
    }
    found |= dict.fromkeys(("contiguous", "detach", "clone"), lambda value: value)
    found |= dict.fromkeys(("long", "int"), _integers)
    found |= dict.fromkeys(("zeros", "new_zeros", "zeros_like"), lambda *_, **__: ZEROS)
    found |= dict.fromkeys(("size", "dim"), lambda *_, **__: OTHER)
    return found


def _integers(value: Any) -> Any:
    if isinstance(value, (Last, Values)) and values_of(value).layers:
        raise RefusedError("integers are ids, before the embedding; a Model rounds no numbers")
    return value


def _attribute(value: Any, name: str) -> Any:
    if isinstance(value, Found) and name == "values":
        return value.values
    if name in ("shape", "ndim", "dtype", "device"):
        return OTHER
    raise RefusedError(f"a Model has nothing for the attribute {name!r}")


def _to(value: Any, *_: Any, **__: Any) -> Any:
    if value is not ZEROS:
        raise RefusedError("a Model computes in the dtype of its weights, and on no device")
    return value


def _only(value: Any, holds: bool, argument: str) -> Any:
    if not holds:
        raise RefusedError(f"{argument} must be torch's default")
    return value

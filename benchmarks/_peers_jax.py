"""JAX's side: a jitted `lax.scan` over timesteps, for any cell."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ._cells import CELLS, HandCell
from ._harness import NamedArrays, Side
from ._problems import Problem


class JaxFunctions:
    """The functions of a step in JAX."""

    tanh = staticmethod(jnp.tanh)
    sigmoid = staticmethod(jax.nn.sigmoid)

    @staticmethod
    def split(x: Any, parts: int) -> Any:
        return jnp.split(x, parts, axis=-1)

    @staticmethod
    def layer_norm(x: Any) -> Any:
        centred = x - x.mean(-1, keepdims=True)
        return centred * jax.lax.rsqrt((centred * centred).mean(-1, keepdims=True) + 1e-3)


def scan_side(p: Problem, *, training: bool) -> Side:
    """A jitted scan, the input projected for all timesteps at once."""
    hand = CELLS[p.cell.name]
    weights = {name: jnp.asarray(value) for name, value in hand.fused(p.params).items()}
    x, output_gradient = jnp.asarray(p.inputs), jnp.asarray(p.output_gradient)
    mask = None if p.recurrent_mask is None else jnp.asarray(p.recurrent_mask)

    def forward(x: Any, w: Mapping[str, Any]) -> Any:
        return _scan(hand, x, w, mask)

    def train(x: Any, w: Mapping[str, Any], output_gradient: Any) -> Any:
        output, backward = jax.vjp(forward, x, w)
        return output, *backward(output_gradient)

    def arrays(result: Any) -> NamedArrays:
        output, input_gradient, weight_gradients = result
        named = {"output": output, "inputs": input_gradient, **weight_gradients}
        return {name: np.asarray(value) for name, value in named.items()}

    if training:
        step = jax.jit(train)
        return Side("jax scan", lambda: jax.block_until_ready(step(x, weights, output_gradient)), arrays)
    infer = jax.jit(forward)
    return Side(
        "jax scan", lambda: infer(x, weights).block_until_ready(), lambda y: {"output": np.asarray(y)}
    )


def _scan(hand: HandCell, x: Any, w: Mapping[str, Any], mask: Any) -> Any:
    projected = x @ w["kernel"].T
    if not hand.step_adds_bias:
        projected = projected + w["bias"]
    zero = jnp.zeros((x.shape[0], w["recurrent"].shape[1]), x.dtype)

    def step(states: Any, z: Any) -> Any:
        h = states[0] if mask is None else states[0] * mask
        new = hand.step(JaxFunctions, z, states, w, h)
        return new, new[0]

    _, outputs = jax.lax.scan(step, (zero,) * hand.states, projected.swapaxes(0, 1))
    return outputs.swapaxes(0, 1)

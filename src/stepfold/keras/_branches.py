"""Chains of Keras's layers with branches that are concatenated, as the layers of a `stepfold.model.Model`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ..model import ConcatenateLayer
from ._chain import Call, Chain, Concatenation, refusal
from ._exported import Export, export_layer


def export_chain(chain: Chain, to: Export) -> None:
    """Add what the calls of a chain are in a Model; ValueError if one is nothing there."""
    for each in chain:
        if isinstance(each, Call):
            export_layer(each.layer, each.shape, to)
        else:
            _export_branches(each, to)


def _export_branches(found: Concatenation, to: Export) -> None:
    layer = found.layer
    if layer.axis not in (-1, len(found.shape) - 1):
        raise refusal(layer, f"axis={layer.axis} is not the last one, as it must be in a Model")
    branches = []
    for chain in found.branches:
        branch = replace(to, layers=[], first=to.first and not to.layers)
        export_chain(chain, branch)
        branches.append(branch)
    to.features = int(found.shape[-1] or 0)
    if len(branches) > 1:
        _check(layer, branches)
        to.layers.append(ConcatenateLayer(tuple(tuple(each.layers) for each in branches)))
    masks = {each.mask for each in branches}
    if len(masks) == 1:
        (to.mask,) = masks
    else:  # Keras and the Model mask what all of them mask
        to.mask = None if None in masks else object()
    to.cleared, to.flipped = branches[0].cleared, branches[0].flipped
    for each in branches[1:]:
        to.cleared |= each.cleared
    if to.masked and not getattr(layer, "supports_masking", False):
        raise refusal(layer, "it takes the mask away from the layers behind it; use keras.layers.Concatenate")


def _check(layer: Any, branches: list[Export]) -> None:
    if len({each.flipped for each in branches}) > 1:
        raise refusal(layer, "one of its inputs has its timesteps in reverse (go_backwards), another has not")
    if len({each.mask for each in branches}) > 1 and any(each.cleared for each in branches):
        raise refusal(
            layer,
            "its inputs mask different timesteps, at which Keras has zeros where a Model repeats an output",
        )

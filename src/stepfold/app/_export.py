"""The subcommand ``export``: a trained run as one file, which runs without a framework."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from .. import export
from ..estimators import RunError
from ._arguments import input_errors
from ._model import open_model

if TYPE_CHECKING:
    from ..model import Layer

_SUFFIXES = (".safetensors", ".onnx")
_WEIGHTS = ("f32", "bf16", "int8")


def add_export(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``export`` to its parser."""
    parser.add_argument("model", metavar="RUN", help="the folder that train wrote, or FILE.safetensors")
    parser.add_argument(
        "file", metavar="FILE", help="FILE.safetensors for stepfold.load, FILE.onnx for other runtimes"
    )
    parser.add_argument(
        "--weights",
        choices=_WEIGHTS,
        default="f32",
        help="how numbers are stored in .safetensors: bf16 halves the file, int8 quarters it (f32)",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace FILE if it is there")
    parser.set_defaults(run=_export)


def _export(options: argparse.Namespace) -> None:
    # The arguments are looked at before any framework is imported.
    path = Path(options.file)
    if path.suffix.lower() not in _SUFFIXES:
        raise RunError(f"the name of the file must end with {' or '.join(_SUFFIXES)}, not {path.name!r}")
    if path.suffix.lower() == ".onnx" and options.weights != "f32":
        raise RunError(f"--weights {options.weights} is for .safetensors; leave it out for .onnx")
    if path.is_dir():
        raise RunError(f"{path} is a folder; give the name of a file")
    if path.exists() and not options.overwrite:
        raise RunError(f"{path} is there already; give another name, or replace it with --overwrite")
    if not path.parent.is_dir():
        raise RunError(f"{path.parent} is no folder; make it first")
    model = open_model(options.model)
    with input_errors():
        export(model, path, weights=options.weights)
    layers = ", ".join(map(_described, model.layers))
    print(f"{path}: {path.stat().st_size / 1024:,.0f} KiB, {layers}")


def _described(layer: Layer) -> str:
    """Return what a layer is, in a few words."""
    from ..model import (
        BidirectionalLayer,
        ConcatenateLayer,
        DenseLayer,
        EmbeddingLayer,
        EnsembleLayer,
        EvidenceLayer,
        JoinEvidenceLayer,
        PoolingLayer,
        RecurrentLayer,
        kind_of,
    )

    match layer:
        case EmbeddingLayer():
            return "embedding ({}, {})".format(*layer.table.shape)
        case RecurrentLayer():
            return f"{layer.cell.name} of {layer.units} units"
        case BidirectionalLayer():
            return f"{_described(layer.forward)} in both directions"
        case PoolingLayer():
            return f"{layer.kind.replace('_', ' and ')} over time"
        case DenseLayer():
            return f"dense with {layer.kernel.shape[1]} output{'s' * (layer.kernel.shape[1] > 1)}"
        case ConcatenateLayer():
            branches = "; ".join(", ".join(map(_described, each)) or "the input" for each in layer.branches)
            return f"{len(layer.branches)} branches side by side ({branches})"
        case EvidenceLayer():
            return f"{len(layer.ngrams.ratios):,} n-grams"
        case JoinEvidenceLayer():
            return "sums of evidence"
        case EnsembleLayer():
            members = "; ".join(", ".join(map(_described, member)) for member in layer.members)
            return f"mean of {len(layer.members)} networks ({members})"
    return kind_of(layer)

"""A trained model as an ONNX model, and as a file."""

from __future__ import annotations

import json
import os
from typing import Any, Literal

import numpy as np
import onnx

from .. import __version__
from .._files import replacing
from ..model import (
    BidirectionalLayer,
    ConcatenateLayer,
    EnsembleLayer,
    EvidenceLayer,
    Layer,
    MaskingLayer,
    Model,
    PoolingLayer,
    RecurrentLayer,
    Texts,
    named_layers,
)
from ._builder import Builder, used_names
from ._errors import OnnxError
from ._layers import Writer
from ._signal import Named

Ids = Literal["int32", "int64"]
OPSETS = range(18, 23)
"""The versions of ONNX's operators to choose from: 18 brought axes as inputs, 22 is the newest tested."""

_MOST_BYTES = 2**31 - 2**20
_IDS = {"int32": onnx.TensorProto.INT32, "int64": onnx.TensorProto.INT64}


def to_onnx(model: Model, *, opset: int = 18, ids: Ids = "int32", mask: bool | None = None) -> Any:
    """Return a model as an `onnx.ModelProto` whose `output` is what `model.run` returns.

    The cells `simple_rnn`, `lstm`, `gru` and `gru_reset_before`, with any activations that ONNX has, become
    the operators RNN, LSTM and GRU; every other cell becomes `Scan`, and in float64 each does. Batch and
    length are variable.

    Inputs: `ids` (batch, time) of a model that begins with embeddings, or `values` (batch, time, features).
    `mask` (batch, time) of booleans, True where a timestep is active, is one that may be left out: every
    timestep is active then. The mask of a `MaskingLayer` and of an embedding with `mask_zero` is computed in
    the graph. The metadata holds name, labels, vocabulary, and scale and shift of values as JSON.

    Args:
        model: the model.
        opset: the version of ONNX's operators, 18 to 22.
        ids: the dtype of `ids`; an ONNX input has exactly one.
        mask: whether there is the input `mask`. None: for `values`, where a layer reads the mask.

    Raises:
        OnnxError: the model cannot be expressed, or is larger than the 2 GiB that ONNX allows in a file.
        ValueError: `opset` or `ids` is none of those above.
    """
    if opset not in OPSETS:
        raise ValueError(f"opset must be {OPSETS[0]} to {OPSETS[-1]}, not {opset!r}")
    if ids not in _IDS:
        raise ValueError(f"ids must be 'int32' or 'int64', not {ids!r}")
    for k, layer in enumerate(model.layers):
        if isinstance(layer, (EvidenceLayer, EnsembleLayer)):
            raise OnnxError(
                f"layer {k} ({type(layer).__name__}) of {model.name} looks n-grams up, or averages networks, "
                "which is not written as ONNX; export to .safetensors"
            )
    if model.dtype == np.float64:
        for _, layer in named_layers(model.layers):
            _refuse_erf(layer)
    builder = Builder(model.dtype)
    features = None if isinstance(model.inputs, Texts) else model.inputs.features
    on_ids = features is None
    if features is None:
        # the first layer is the embedding, or every branch begins with one, as every model checks
        inputs, signal = [_info("ids", _IDS[ids], ["batch", "time"])], Named(0, ids=("ids", ""))
    else:
        inputs = [_info("values", builder.type, ["batch", "time", features])]
        signal = Named(features, batched="values")
    optional = []
    if mask or (mask is None and not on_ids and _reads_mask(model.layers)):
        inputs.append(_info("mask", onnx.TensorProto.BOOL, ["batch", "time"]))
        optional.append(onnx.numpy_helper.from_array(np.ones((1, 1), bool), "mask"))
        shape = builder.operator("Shape", "ids" if on_ids else "values", start=0, end=2)
        signal.mask = builder.operator("Expand", "mask", shape)
    writer = Writer(builder)
    for layer in model.layers:
        signal = writer.layer(layer, signal)
    builder.nodes.append(
        onnx.helper.make_node("Identity", [signal.values(builder)], ["output"], name="output")
    )
    shape_out = ["batch", *(["time"] if signal.time else []), signal.features]
    used = used_names(builder.nodes)
    if builder.nbytes(used) > _MOST_BYTES:
        raise OnnxError(
            f"{model.name} holds {builder.nbytes(used):,} bytes of arrays, and an ONNX file at most 2 GiB; "
            "use a smaller vocabulary or fewer units"
        )
    graph = onnx.helper.make_graph(
        builder.nodes,
        model.name or "model",
        inputs,
        [_info("output", builder.type, shape_out)],
        [*builder.initializers(used), *optional],
    )
    opsets = [onnx.helper.make_opsetid("", opset)]
    made = onnx.helper.make_model(
        graph,
        opset_imports=opsets,
        ir_version=onnx.helper.find_min_ir_version_for(opsets),
        producer_name="stepfold",
        producer_version=__version__,
    )
    onnx.helper.set_model_props(made, _metadata(model))
    return made


def write_onnx(
    model: Model,
    path: str | os.PathLike[str],
    *,
    opset: int = 18,
    ids: Ids = "int32",
    mask: bool | None = None,
) -> None:
    """Write what `to_onnx` returns to a file, under a temporary name until it is complete."""
    content = to_onnx(model, opset=opset, ids=ids, mask=mask).SerializeToString()
    with replacing(path) as part:
        part.write_bytes(content)


def _refuse_erf(layer: Any) -> None:
    """OnnxError for a layer that needs erf, which ONNX Runtime computes in float32 only."""
    cells = [getattr(layer, name, None) for name in ("forward", "backward")]
    steps = [each.cell.step for each in (layer, *cells) if isinstance(each, RecurrentLayer)]
    uses = any(n.op == "erf" for step in steps for n in step.nodes)
    if uses or "gelu" in (getattr(layer, "activation", None), getattr(layer, "name", None)):
        raise OnnxError("ONNX Runtime has no erf in float64, which gelu needs; convert the model to float32")


def _reads_mask(layers: tuple[Layer, ...]) -> bool | None:
    """Whether a layer needs the mask that the layers are given: none does behind a MaskingLayer. None if none
    does and the mask goes on."""
    for layer in layers:
        if isinstance(layer, MaskingLayer):
            return False
        if isinstance(layer, (RecurrentLayer, BidirectionalLayer)):
            return True
        if isinstance(layer, PoolingLayer):
            return layer.masked and layer.kind != "last"
        if isinstance(layer, ConcatenateLayer):
            found = {_reads_mask(branch) for branch in layer.branches}
            if True in found or None not in found:
                return True in found
    return None


def _metadata(model: Model) -> dict[str, str]:
    """What is no part of the computation, as texts."""
    found = {"name": model.name}
    if model.labels is not None:
        found["labels"] = json.dumps(model.labels)
    if isinstance(model.inputs, Texts):
        found["vocabulary"] = model.inputs.vocabulary.to_json()
    if model.inputs.length is not None:
        found["length"] = str(model.inputs.length)
    for name in ("scale", "shift"):
        value = getattr(model, name)
        if value is not None:
            found[name] = json.dumps(np.asarray(value, np.float64).tolist())
    return found


def _info(name: str, type_: int, shape: list[Any]) -> Any:
    return onnx.helper.make_tensor_value_info(name, type_, shape)

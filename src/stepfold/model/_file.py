"""A model as one safetensors file: its arrays as tensors, everything else as JSON in the header's metadata.

A file that is read may come from anybody. Its header is checked, down to the last shape, before the numbers
are read; nothing of a file is run.
"""

from __future__ import annotations

import json
import math
import os
import stat
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from .. import __version__
from .._files import replacing
from ._arrays import Array
from ._errors import ModelError
from ._evidence_layers import EvidenceLayer
from ._header import described, tensors
from ._layers import DenseLayer
from ._model import Model
from ._stored import Stored, parsed
from ._weights import INTEGERS, SCALE, STORED, WEIGHTS, Weights, restored, stored

ENTRY = "stepfold"
"""The entry of the header's metadata that holds the JSON text."""

_LONGEST_HEADER, _MOST_TENSORS = 4 * 2**20, 20_000
_LENGTH = struct.Struct("<Q")

_OTHERS = {
    ".keras": "by its name it is Keras's: load it with Keras, then write it with stepfold.export",
    ".pt": "by its name it is PyTorch's: load it into its module, then write that with stepfold.export",
}
_OTHERS[".pth"] = _OTHERS[".pt"]
"""What to do with files of others, by the ends of their names."""


def write_model(model: Model, path: str | Path, weights: Weights = "f32") -> None:
    """Write a model to a file, under a temporary name first.

    Args:
        model: the model.
        path: the file, by custom `….safetensors`; one that is there is replaced.
        weights: how matrices and tables are stored: "f32" as they are (float64 stays float64), "bf16" rounded
            to bfloat16, "int8" as integers with a scale for each row (n-grams as with "bf16"). Vectors stay
            as they are.

    Raises:
        ValueError: `weights` is none of these, the model holds NaN or infinity, or its vocabulary or its
            cells are too large: the header has at most 4 MiB (some 300,000 words), all cells 20,000 nodes.
        OSError: the file cannot be written.
        ImportError: safetensors is not installed.
    """
    library = _library()
    if weights not in WEIGHTS:
        raise ValueError(f"weights must be one of {', '.join(WEIGHTS)}, not {weights!r}")
    arrays, specs = [], {}
    for name, layer, array in tensors(model.layers):
        # of n-grams, which have a row each, the scales would be as large as the numbers
        how = "bf16" if weights == "int8" and isinstance(layer, EvidenceLayer) else weights
        for each, dtype, data in stored(name, array, how, by_column=isinstance(layer, DenseLayer)):
            arrays.append(data)  # the library reads them by their addresses
            specs[each] = library.TensorSpec(
                dtype=dtype, shape=data.shape, data_ptr=data.ctypes.data, data_len=data.nbytes
            )
    text = _text(model)
    Stored.read(parsed(text))  # what is too large to be read is not written
    length = len(json.dumps(text, ensure_ascii=False).encode()) + 200 * len(specs)
    if length > _LONGEST_HEADER:
        raise ValueError(
            f"the header would be of {length / 2**20:.1f} MiB, more than {_LONGEST_HEADER // 2**20}; "
            "train with a smaller vocabulary, or on fewer texts"
        )
    try:
        with replacing(path) as part:
            part.touch(exist_ok=False)  # an error of the system as Python's own
            mode = stat.S_IMODE(part.stat().st_mode)  # what the umask leaves
            library.serialize_file(specs, part, metadata={ENTRY: text})
            part.chmod(mode)  # the library renames a file of its own, which its owner alone may read
    except library.SafetensorError as error:
        raise OSError(f"cannot write {path}: {error}") from None


def _text(model: Model) -> str:
    data = described(model, __version__)
    text = json.dumps(data, separators=(",", ":"), ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:  # halves of surrogate pairs, in words of damaged texts
        return json.dumps(data, separators=(",", ":"))
    return text


def read_model(path: str | Path) -> Model:
    """Return the model that `write_model` wrote, ready to predict.

    Raises:
        ModelError: the file holds no model, or one that is damaged; the message names what.
        OSError: the file cannot be read.
        ImportError: safetensors is not installed.
    """
    library, path = _library(), Path(path)
    mode = path.stat().st_mode
    if stat.S_ISDIR(mode):
        raise ModelError(
            f"{path} is a folder, not a model file; of the folder of a run, make one: "
            f"stepfold export {path} model.safetensors"
        )
    if path.suffix.lower() == ".onnx":
        raise ModelError(f"{path} is an ONNX model by its name; read it with stepfold.from_onnx")
    if not stat.S_ISREG(mode):
        raise ModelError(f"{path} is no regular file; copy it into one first")
    try:
        with path.open("rb") as file:
            return _read(file, library)
    except (ValueError, TypeError, ArithmeticError, RecursionError, library.SafetensorError) as error:
        cure = _OTHERS.get(path.suffix.lower(), "write it again with stepfold.export")
        raise ModelError(f"{path} is no model file, or it is damaged: {error}; {cure}") from None


def _read(file: IO[bytes], library: Any) -> Model:
    size = os.fstat(file.fileno()).st_size
    start = file.read(_LENGTH.size)
    if len(start) < _LENGTH.size:
        raise ValueError(f"it has {size} bytes, too few for a header")
    (length,) = _LENGTH.unpack(start)
    if length > min(_LONGEST_HEADER, size - _LENGTH.size):
        raise ValueError(
            f"its header claims {length:,} bytes, of a file of {size:,} and of at most {_LONGEST_HEADER:,}"
        )
    raw = file.read(length)
    if len(raw) < length:
        raise ValueError("it changed while it was read")
    header = parsed(raw)
    del raw
    text = _metadata(header)
    claims = _claims(header, size - _LENGTH.size - length)
    saved = Stored.read(parsed(text))
    used: set[str] = set()
    saved.model(lambda name: _placeholder(name, claims, saved.dtype, used))
    if claims.keys() - used:
        raise ValueError(f"no layer has the tensor {min(claims.keys() - used)!r:.80}")
    file.seek(0)
    tensors = {name: tensor["data"] for name, tensor in library.deserialize(file.read(size))}
    return saved.model(lambda name: _array(name, claims, tensors, np.dtype(saved.dtype)))


@dataclass(frozen=True)
class _Claim:
    """What a header says of a tensor."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


def _metadata(header: Any) -> str:
    metadata = header.pop("__metadata__", None) if isinstance(header, dict) else None
    text = metadata.get(ENTRY) if isinstance(metadata, dict) else None
    if not isinstance(text, str):
        raise ValueError(f"its header has no metadata {ENTRY!r}, so stepfold did not write it")
    return text


def _claims(header: dict[str, Any], size: int) -> dict[str, _Claim]:
    """Return what the header says of the tensors; ValueError unless they fill these bytes without gaps."""
    if len(header) > _MOST_TENSORS:
        raise ValueError(f"it has {len(header):,} tensors, more than {_MOST_TENSORS:,}")
    found = {name: _claim(name, entry) for name, entry in header.items()}
    at = 0
    for name, claim in sorted(found.items(), key=lambda item: (item[1].start, item[1].end)):
        if claim.start != at:
            raise ValueError(f"the tensor {name!r:.80} begins at byte {claim.start} of the data, not at {at}")
        at = claim.end
    if at != size:
        raise ValueError(f"its tensors take {at:,} bytes, but {size:,} follow the header")
    return found


def _claim(name: str, entry: Any) -> _Claim:
    match entry:
        case {"dtype": str(dtype), "shape": list(shape), "data_offsets": [int(start), int(end)], **rest}:
            integers = dtype == INTEGERS
            least = 0 if integers else 1  # there may be no n-grams of some length
            sound = not rest and dtype in STORED and (len(shape) == 1 if integers else len(shape) < 3)
            if sound and all(type(axis) is int and least <= axis < 2**40 for axis in shape):
                count = math.prod(shape) * STORED[dtype].itemsize
                if start >= 0 and end - start == count:
                    return _Claim(dtype, tuple(shape), start, end)
    raise ValueError(
        f"the tensor {name!r:.80} is not described by a dtype of {', '.join(STORED)}, a shape of at most two "
        "axes and the offsets of as many bytes"
    )


def _placeholder(name: str, claims: dict[str, _Claim], dtype: str, used: set[str]) -> Array:
    """Return an array of the claimed shape that takes no memory; ValueError if the file has none."""
    claim = _claimed(name, claims)
    if claim.dtype == INTEGERS:  # a layer that computes with it refuses it
        used.add(name)
        return _zeros(claim.shape, "int64")
    small = claim.dtype in ("BF16", "I8") and len(claim.shape) == 2
    if claim.dtype != {"float32": "F32", "float64": "F64"}[dtype] and not small:
        raise ValueError(f"the tensor {name} cannot be {claim.dtype} in a model of {dtype}")
    used.add(name)
    if claim.dtype == "I8":
        scale = _claimed(name + SCALE, claims)
        rows, columns = claim.shape
        if scale.dtype != "F32" or scale.shape not in ((rows, 1), (1, columns)):
            raise ValueError(
                f"the tensor {name + SCALE} is {scale.dtype} {scale.shape}, expected F32 {(rows, 1)} or "
                f"{(1, columns)}"
            )
        used.add(name + SCALE)
    return _zeros(claim.shape, dtype)


def _zeros(shape: tuple[int, ...], dtype: str) -> Array:
    return np.broadcast_to(np.zeros((), dtype), shape)


def _claimed(name: str, claims: dict[str, _Claim]) -> _Claim:
    if name not in claims:
        raise ValueError(f"it has no tensor {name}")
    return claims[name]


def _array(name: str, claims: dict[str, _Claim], tensors: dict[str, Any], dtype: np.dtype[Any]) -> Array:
    claim = claims[name]
    scale = _bytes_as(claims[name + SCALE], tensors[name + SCALE]) if claim.dtype == "I8" else None
    return restored(name, _bytes_as(claim, tensors[name]), claim.dtype, scale, dtype)


def _bytes_as(claim: _Claim, data: Any) -> Array:
    found: Array = np.frombuffer(data, STORED[claim.dtype]).reshape(claim.shape)
    return found


def _library() -> Any:
    try:
        import safetensors
    except ImportError as error:
        raise ImportError(
            f'model files need safetensors, which cannot be imported ({error}): pip install "stepfold[file]"',
            name="safetensors",
        ) from None
    return safetensors

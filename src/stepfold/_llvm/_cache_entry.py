"""The file format of a cached kernel.

A file is a magic line, the SHA-256 digest of what follows, the header's size, the header, the machine code.
The header is JSON: the entry's key, and the fields of `Kernel`, its text left empty. So the digest covers the
key, and an entry that was copied over another is not taken for it."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, is_dataclass, replace
from typing import Any, get_args, get_origin, get_type_hints

from ._layout import Kernel

_MAGIC = b"stepfold kernel 2\n"
_BODY = len(_MAGIC) + hashlib.sha256().digest_size
_SIZE = 8  # bytes of the header's size, little endian


@dataclass(frozen=True)
class _Header:
    key: str
    kernel: Kernel


def pack(key: str, kernel: Kernel, code: bytes) -> bytes:
    """Return the content of an entry."""
    header = json.dumps(asdict(_Header(key, replace(kernel, text="")))).encode()
    body = len(header).to_bytes(_SIZE, "little") + header + code
    return _MAGIC + hashlib.sha256(body).digest() + body


def unpack(key: str, data: bytes) -> tuple[Kernel, bytes] | None:
    """Return the kernel and the machine code of an entry, None if it is damaged or has another key."""
    body = data[_BODY:]
    if data[:_BODY] != _MAGIC + hashlib.sha256(body).digest():
        return None
    end = _SIZE + int.from_bytes(body[:_SIZE], "little")
    try:
        header: _Header = _decoder(_Header)(json.loads(body[_SIZE:end]))
    except (TypeError, ValueError, RecursionError):  # not UTF-8, not JSON, of other types, nested too deeply
        return None
    return (header.kernel, body[end:]) if header.key == key else None


# A decoder returns a value of its type from the value's JSON; TypeError or ValueError if that does not fit.
_Decoder = Callable[[Any], Any]


@functools.cache
def _decoder(kind: Any) -> _Decoder:
    """Return the decoder of a type: a dataclass, tuple, str, int or bool."""
    if is_dataclass(kind):
        return _dataclass_decoder(kind)
    if get_origin(kind) is not tuple:
        return functools.partial(_simple, kind)
    items = get_args(kind)
    if items[-1] is ...:
        item = _decoder(items[0])
        return lambda value: tuple(map(item, _typed(list, value)))
    decoders = [_decoder(item) for item in items]
    return lambda value: tuple(
        decode(part) for decode, part in zip(decoders, _typed(list, value), strict=True)
    )


def _dataclass_decoder(kind: Any) -> _Decoder:
    decoders = {name: _decoder(field) for name, field in get_type_hints(kind).items()}

    def decode(value: Any) -> Any:
        if _typed(dict, value).keys() != decoders.keys():
            raise TypeError(f"{kind.__name__} has the fields {', '.join(decoders)}, not {', '.join(value)}")
        return kind(*[decode(value[name]) for name, decode in decoders.items()])

    return decode


def _simple(kind: Any, value: Any) -> Any:
    """Check a str, int or bool. An integer is a size or an offset: not negative, at most 63 bits."""
    if _typed(kind, value) and kind is int and not 0 < value < 1 << 63:
        raise ValueError(f"{value} is neither a size nor an offset")
    return value


def _typed(kind: Any, value: Any) -> Any:
    if type(value) is not kind:  # True is no integer here
        raise TypeError(f"{value!r} is not of type {kind.__name__}")
    return value

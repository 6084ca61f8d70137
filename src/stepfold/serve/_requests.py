"""Reads the body of a request, within its limits."""

from __future__ import annotations

import asyncio

from starlette.exceptions import HTTPException
from starlette.requests import Request

from ._limits import Limits
from ._messages import Body, read


async def body_of(request: Request, kind: type[Body], limits: Limits) -> Body:
    """Return a request's JSON.

    Raises:
        HTTPException: 400 for JSON that is malformed or of another form, 408 for a body that comes too
            slowly, 413 for one that is too long, 415 for one that is no JSON.
        ClientDisconnect: the client has gone.
    """
    media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media != "application/json":
        shown = f"not {media[:80]!r}" if media else "but there is none"
        raise HTTPException(415, f"the Content-Type must be application/json, {shown}")
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise HTTPException(415, "send the body without a Content-Encoding")
    return read(await _body(request, limits), kind)


async def _body(request: Request, limits: Limits) -> bytes:
    too_long = HTTPException(413, f"the body is longer than {limits.body_bytes:,} bytes; send a part of it")
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length) > limits.body_bytes:
        raise too_long
    found = bytearray()
    try:
        async with asyncio.timeout(limits.body_seconds):
            async for part in request.stream():
                found += part
                if len(found) > limits.body_bytes:
                    raise too_long
    except TimeoutError:
        message = f"the body has not arrived within {limits.body_seconds:g} s"
        raise HTTPException(408, message, {"Connection": "close"}) from None
    return bytes(found)

"""The WebSocket `/stream`: a chunk of text or a token in, the outputs after each token out."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Any

import msgspec
from starlette.exceptions import HTTPException
from starlette.websockets import WebSocket, WebSocketDisconnect

from ..model import Model, Texts
from ._answers import rounded
from ._inputs import timesteps
from ._json import error_response
from ._limits import Limits
from ._messages import StreamMessage, chosen, read
from ._streams import Streams

_AWAY, _WRONG_DATA, _REFUSED, _FAILED, _AGAIN_LATER = 1001, 1003, 1008, 1011, 1013  # codes of a close

_log = logging.getLogger(__name__)


class Sockets:
    """Streams of every model.

    Args:
        streams: by the models' names; for a model that cannot be a stream, why not.
        limits: the number of streams, and how long a client may be silent.
    """

    def __init__(self, streams: dict[str, Streams | str], limits: Limits) -> None:
        self._streams = streams
        self._limits = limits
        self._open = 0

    async def serve(self, socket: WebSocket) -> None:
        """Serve one connection from its beginning to its end."""
        name = socket.query_params.get("model", next(iter(self._streams)))
        if name not in self._streams:
            message = f"there is no model {name[:80]!r}; there are {list(self._streams)}"
            await socket.send_denial_response(error_response(404, message))
            return
        if self._open >= self._limits.streams:
            busy = error_response(503, "too many streams are open; try again", {"Retry-After": "1"})
            await socket.send_denial_response(busy)
            return
        self._open += 1
        try:
            await socket.accept()
            with contextlib.suppress(WebSocketDisconnect):
                await self._serve(socket, name)
        finally:
            self._open -= 1

    async def _serve(self, socket: WebSocket, name: str) -> None:
        streams = self._streams[name]
        if isinstance(streams, str):
            await socket.close(_REFUSED, _reason(streams))
            return
        row: int | None = None
        try:
            row = await streams.join()
            count = 0
            while (message := await self._received(socket)) is not None:
                try:
                    tokens, values = steps(streams.model, read(message, StreamMessage), count)
                except HTTPException as error:
                    await socket.send_text(_text({"error": error.detail}))
                    continue
                outputs = await streams.read(row, values) if len(values) else values
                count += len(values)
                await socket.send_text(_text({"tokens": tokens, "outputs": rounded(outputs)}))
        except HTTPException as error:
            # the model is busy; of the last message some tokens may have been read
            await socket.close(_AGAIN_LATER, _reason(error.detail))
        except (WebSocketDisconnect, asyncio.CancelledError):
            raise
        except Exception:
            _log.exception("a stream failed")
            await socket.close(_FAILED, "the server failed; its log says why")
        finally:
            if row is not None:
                streams.leave(row)

    async def _received(self, socket: WebSocket) -> str | None:
        """Return the next message; None after a close, which a silent client or one of bytes gets."""
        try:
            async with asyncio.timeout(self._limits.idle_seconds):
                message = await socket.receive()
        except TimeoutError:
            await socket.close(_AWAY, f"nothing came for {self._limits.idle_seconds:g} s")
            return None
        if message["type"] == "websocket.disconnect":
            return None
        text: str | None = message.get("text")
        if text is None:
            await socket.close(_WRONG_DATA, "send JSON as text, not as bytes")
        return text


def steps(model: Model, given: StreamMessage, before: int) -> tuple[list[str], Any]:
    """Return what a message adds: the names of its timesteps, and their values, (time[, features]).

    Args:
        model: takes texts, or sequences.
        given: the message.
        before: how many timesteps the sequence has.

    Raises:
        HTTPException: 400 for what the model cannot take.
    """
    name, value = chosen(given, "text", "token", "sequence")
    if isinstance(model.inputs, Texts) != (name != "sequence"):
        wanted = '"text" or "token"' if name == "sequence" else '"sequence"'
        raise HTTPException(400, f'the model {model.name} takes {wanted}, not "{name}"')
    if name == "sequence":
        values = timesteps(model, '"sequence"', value)
        return [str(before + place) for place in range(1, len(values) + 1)], values
    assert isinstance(model.inputs, Texts)
    vocabulary = model.inputs.vocabulary
    tokens = vocabulary.tokens(value)
    if name == "token" and len(tokens) != 1:
        raise HTTPException(
            400, f'"token" must be one token, not {len(tokens)}: {tokens[:5]}; send it as "text"'
        )
    return tokens, vocabulary.encode(value)[1:]


def _reason(text: str) -> str:
    """Return a text as the reason of a close, which has 123 bytes at most."""
    return text if len(text.encode()) <= 123 else text.encode()[:120].decode(errors="ignore") + "…"


def _text(content: Any) -> str:
    return msgspec.json.encode(content).decode()

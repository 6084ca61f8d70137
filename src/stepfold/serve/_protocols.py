"""uvicorn's protocols with deadlines: a slow or silent client loses its connection and holds nobody up."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from starlette.types import Receive, Scope, Send
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState

from ._json import error_response
from ._limits import Limits

_DISCARDED = 8  # bodies of the greatest length, read and discarded after a refusal
_PIPELINED = 64  # requests that a client may send before the answer to the first
_READ_AT_LEAST = 8192  # bytes that a client must read within `write_seconds`, if not all of them
_SLACK = 5.0  # seconds in which the application's own refusal of a slow body goes out


_REFUSAL = 2.0  # seconds in which a connection too many must have asked, to be refused
_TOO_MANY = "too many connections are open; try again"


async def _refuse_connection(scope: Scope, receive: Receive, send: Send) -> None:
    headers = {"Retry-After": "1", "Connection": "close"}
    await error_response(503, _TOO_MANY, headers)(scope, receive, send)


class _Deadlines:
    """Timers of one connection, and the end of one that does not read what waits for it."""

    def __init__(self, transport: asyncio.Transport, write_seconds: float) -> None:
        self._transport = transport
        self._seconds = write_seconds
        self._unread = 0
        self._reading: asyncio.TimerHandle | None = None
        transport.set_write_buffer_limits(high=0)  # pause_writing tells of every byte that waits

    def writing_paused(self) -> None:
        """Begin to wait for the client to read."""
        self._unread = self._transport.get_write_buffer_size()
        self.writing_resumed()
        self._reading = asyncio.get_running_loop().call_later(self._seconds, self._check)

    def writing_resumed(self) -> None:
        """Stop waiting: everything has gone out, or the connection has."""
        if self._reading is not None:
            self._reading.cancel()
            self._reading = None

    def _check(self) -> None:
        if self._transport.get_write_buffer_size() <= self._unread - _READ_AT_LEAST:
            self.writing_paused()
        else:
            self._transport.abort()


def protocols(limits: Limits) -> tuple[type[HttpToolsProtocol], type[WebSocketsSansIOProtocol]]:
    """Return the protocols of HTTP and WebSocket with the limits of a server."""
    return (
        type("HttpProtocol", (HttpProtocol,), {"limits": limits}),
        type("StreamProtocol", (StreamProtocol,), {"limits": limits}),
    )


class _Writing(asyncio.Protocol):
    """A connection whose client must read what waits for it within a time."""

    _deadlines: _Deadlines | None = None

    def pause_writing(self) -> None:
        """Some bytes wait for the client."""
        if self._deadlines is not None:
            self._deadlines.writing_paused()
        super().pause_writing()

    def resume_writing(self) -> None:
        """No byte waits."""
        if self._deadlines is not None:
            self._deadlines.writing_resumed()
        super().resume_writing()


class HttpProtocol(_Writing, HttpToolsProtocol):
    """HTTP with a deadline for every request's headers and body, and a limit of connections.

    Where there are too many connections, the one goes that has owed a request longest; a new one is refused
    if none does.
    """

    limits: Limits

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.owing_since: float | None = None  # when it began to owe (the rest of) a request
        self._deadline: asyncio.TimerHandle | None = None
        self._received = 0  # bytes of the request that it owes
        self._in_headers = True
        self._upgraded = False
        self._full = False
        self._deadlines: _Deadlines | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to wait for a request, or refuse."""
        assert isinstance(transport, asyncio.Transport)
        super().connection_made(transport)
        self._deadlines = _Deadlines(transport, self.limits.write_seconds)
        if len(self.connections) > self.limits.connections and not self._make_room():
            self._full = True
            self.app = _refuse_connection
            if len(self.connections) > 2 * self.limits.connections:
                transport.close()
                return
        self._owe(min(self.limits.header_seconds, _REFUSAL) if self._full else self.limits.header_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop every timer."""
        self._owe_nothing()
        if self._deadlines is not None:
            self._deadlines.writing_resumed()
        super().connection_lost(exc)
        self._unset_keepalive_if_required()

    def data_received(self, data: bytes) -> None:
        """Read; count the bytes of an unfinished request."""
        if self.transport.is_closing():
            return
        self._received += len(data)
        super().data_received(data)
        if self._upgraded or self.transport.is_closing():
            return
        idle = self.cycle is None or self.cycle.response_complete
        if self._deadline is None and idle and self.timeout_keep_alive_task is None:
            self._owe(self.limits.header_seconds)  # bytes between two requests do not prolong the wait
        if self._deadline is None:
            self._received = 0
        elif self._in_headers and self._received > self.limits.header_bytes:
            self._refuse(431, f"the headers are longer than {self.limits.header_bytes:,} bytes")
        elif self._received > self.limits.header_bytes + _DISCARDED * self.limits.body_bytes:
            self.transport.abort()

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._in_headers = True
        if self._deadline is None:
            self._owe(self.limits.header_seconds)

    def on_headers_complete(self) -> None:
        """The headers are there."""
        self._in_headers = False
        if self.transport.is_closing():
            return
        if len(self.pipeline) >= _PIPELINED:  # each takes memory, and answers make uvicorn read on
            self.transport.abort()
            return
        self._owe(self.limits.body_seconds + _SLACK)
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The request is complete."""
        self._owe_nothing()
        super().on_message_complete()

    def handle_websocket_upgrade(self) -> None:
        """Hand the connection over."""
        if self._full:
            self._refuse(503, _TOO_MANY, b"retry-after: 1\r\n")
            return
        self._upgraded = True
        self._owe_nothing()
        if self._deadlines is not None:
            self._deadlines.writing_resumed()
        super().handle_websocket_upgrade()

    def _owe(self, seconds: float) -> None:
        self._owe_nothing()
        self.owing_since = time.monotonic()
        self._deadline = self.loop.call_later(seconds, self._too_slow)

    def _owe_nothing(self) -> None:
        self.owing_since = None
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _too_slow(self) -> None:
        self._deadline = None
        if self._in_headers and self._received:
            self._refuse(408, f"the headers have not arrived within {self.limits.header_seconds:g} s")
        elif self._in_headers:
            self.transport.close()
        else:
            self.transport.abort()

    def _make_room(self) -> bool:
        """Close the connection that has owed a request longest, or waits between two; False without one."""
        owing = [
            each
            for each in self.connections
            if isinstance(each, HttpProtocol)
            and each is not self
            and each.waits
            and not each.transport.is_closing()
        ]
        if not owing:
            return False
        min(owing, key=lambda each: each.owing_since or 0.0).transport.abort()
        return True

    @property
    def waits(self) -> bool:
        """Whether the client owes a request, and no answer is on its way."""
        return self.owing_since is not None or self.timeout_keep_alive_task is not None

    def _refuse(self, status: int, message: str, header: bytes = b"") -> None:
        """Answer without the application, and close."""
        self._owe_nothing()
        body = b'{"error":"%s"}' % message.encode()
        self.transport.write(
            b"HTTP/1.1 %d \r\ncontent-type: application/json\r\ncontent-length: %d\r\n" % (status, len(body))
            + header
            + b"connection: close\r\n\r\n"
            + body
        )
        self.transport.close()


class StreamProtocol(_Writing, WebSocketsSansIOProtocol):
    """WebSocket whose client must read what waits for it."""

    limits: Limits

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection over from HTTP."""
        super().connection_made(transport)
        assert isinstance(transport, asyncio.Transport)
        self._deadlines = _Deadlines(transport, self.limits.write_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop every timer."""
        if self._deadlines is not None:
            self._deadlines.writing_resumed()
        super().connection_lost(exc)

    async def send(self, message: Any) -> None:
        """Send a message of the application. A refusal completes the handshake, too; uvicorn's protocol would
        log each one as an error of the application."""
        await super().send(message)
        if message["type"] == "websocket.http.response.body" and not message.get("more_body", False):
            self.handshake_complete = True

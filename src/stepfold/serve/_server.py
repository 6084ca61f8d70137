"""The server process: where it listens, when it is ready, how it ends."""

from __future__ import annotations

import ipaddress
import os
import signal
import socket
import stat
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import uvicorn

from ..model import Model
from ._app import LOOPBACK, make_app
from ._limits import Limits
from ._protocols import protocols

_SHORTEST, _LONGEST = 16, 4096
_RATE = 100.0
_BACKLOG = 1024
# After a restart the address can be had again at once. On Windows, where that needs no option, the usual one
# would let another program listen at the same address and take what is sent to this one.
_ALONE = getattr(socket, "SO_EXCLUSIVEADDRUSE", socket.SO_REUSEADDR)


class ServeError(Exception):
    """The server cannot start: the address, the token, or the models."""


def read_token(path: str | Path) -> tuple[str, str | None]:
    """Return the token in a file, and a warning if others may read the file.

    Raises:
        ServeError: the file cannot be read, or holds no token: 16 or more printable ASCII characters.
    """
    try:
        with open(path, "rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            content = file.read(_LONGEST + 1)
    except OSError as error:
        raise ServeError(f"the token file {path}: {error.strerror}") from None
    token = content.decode("latin-1").strip()
    right = _SHORTEST <= len(token) <= _LONGEST and token.isascii() and token.isprintable()
    if not right or " " in token:
        raise ServeError(
            f"the token file {path} must hold {_SHORTEST} or more printable ASCII characters without spaces; "
            f'make one with python -c "import secrets; print(secrets.token_urlsafe())" > {path}'
        )
    # Windows grants access by lists that a mode does not show.
    if sys.platform != "win32" and mode & (stat.S_IRGRP | stat.S_IROTH):
        return token, f"other users may read the token file {path}; chmod 600 {path}"
    return token, None


def listen(host: str, port: int, *, token: bool) -> socket.socket:
    """Return a listening socket.

    Args:
        host: a name or an address; an empty one stands for all of this machine's.
        port: 0 for a free one.
        token: whether clients must show a token, without which nothing leaves this machine.

    Raises:
        ServeError: the address cannot be had, or is no loopback address and there is no token.
    """
    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise ServeError(f"there is no host {host!r}: {error}") from None
    family, kind, protocol, _, address = found[0]
    if not token and not ipaddress.ip_address(str(address[0]).partition("%")[0]).is_loopback:
        raise ServeError(
            f"{host or address[0]} can be reached from other machines; give --token-file FILE, so that "
            "clients must show a token, or --host 127.0.0.1"
        )
    # with its protocol, without which asyncio leaves Nagle's algorithm on: 40 ms an answer
    listening = socket.socket(family, kind, protocol)
    try:
        listening.setsockopt(socket.SOL_SOCKET, _ALONE, 1)
        listening.bind(address)
        listening.listen(_BACKLOG)
    except OSError as error:
        listening.close()
        raise ServeError(f"cannot listen on {host} port {port}: {error.strerror}") from None
    return listening


def run_server(
    models: Sequence[Model],
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    limits: Limits | None = None,
    token: str | None = None,
    ready: Callable[[str], None] = print,
) -> None:
    """Serve models until SIGTERM, or SIGINT, which then is raised again as KeyboardInterrupt.

    Args:
        models: as `make_app` takes them.
        host, port: as `listen` takes them.
        limits: `Limits()` if None; where there is a token and no rate, the rate is 100 requests a second.
        token: what clients must show; needed for an address that other machines reach.
        ready: called with the server's address when it answers.

    Raises:
        ServeError: as `listen`.
    """
    limits = limits or Limits()
    if token is not None and limits.rate is None:
        limits = replace(limits, rate=_RATE)
    listening = listen(host, port, token=token is not None)
    with listening:
        address, port = listening.getsockname()[:2]
        shown = f"[{address}]" if ":" in address else address
        hosts = (*LOOPBACK, address, host) if token is None else None
        app = make_app(models, limits, token, hosts)
        with _terminated():
            Server(config(app, limits), lambda: ready(f"http://{shown}:{port}")).run([listening])


def config(app: object, limits: Limits) -> uvicorn.Config:
    """Return uvicorn's configuration with the limits."""
    http, streams = protocols(limits)
    return uvicorn.Config(
        app,  # type: ignore[arg-type]
        http=http,
        ws=streams,
        ws_max_size=limits.message_bytes,
        ws_ping_interval=limits.ping_seconds,
        ws_ping_timeout=limits.ping_seconds,
        ws_per_message_deflate=False,
        lifespan="on",
        log_config=None,
        log_level="error",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=limits.keep_alive_seconds,
        timeout_graceful_shutdown=limits.grace_seconds,
    )


class Server(uvicorn.Server):
    """uvicorn's server, which says when it is ready."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to answer."""
        await super().startup(sockets)
        self._ready()


@contextmanager
def _terminated() -> Iterator[None]:
    """Let SIGTERM end the server as a success: uvicorn raises it again when it has finished."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, lambda number, frame: None)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)

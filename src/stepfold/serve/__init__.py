"""Trained models behind HTTP and WebSocket: an ASGI application, and the server that runs it."""

from ._app import LOOPBACK, make_app
from ._limits import Limits
from ._server import ServeError, Server, config, listen, read_token, run_server

__all__ = [
    "LOOPBACK",
    "Limits",
    "ServeError",
    "Server",
    "config",
    "listen",
    "make_app",
    "read_token",
    "run_server",
]

"""Who may ask, and how often: hosts, origins, the token, the rate; headers and figures of every answer."""

from __future__ import annotations

import base64
import hmac
import logging
import time
from collections import OrderedDict
from collections.abc import Mapping
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ._json import error_response
from ._limits import Limits
from ._metrics import Metrics

_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_POLICY = "default-src 'none'; frame-ancestors 'none'"
_log = logging.getLogger(__name__)
_METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH")


class Guard:
    """Middleware around the whole application.

    Args:
        app: what is guarded.
        limits: the rate, and the clients that are remembered.
        metrics: where requests and streams are counted.
        routes: the known paths, by which requests are counted.
        token: what a client must show, but for `GET /health`; None for nothing.
        hosts: the names in the header Host that are answered; None for any.
    """

    def __init__(
        self,
        app: ASGIApp,
        limits: Limits,
        metrics: Metrics,
        routes: frozenset[str],
        token: str | None,
        hosts: frozenset[str] | None,
    ) -> None:
        self._app = app
        self._metrics = metrics
        self._routes = routes
        self._token = token
        self._hosts = hosts
        self._rate = Rate(limits.rate, limits.burst, limits.clients) if limits.rate else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or refuse, one request or stream."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        begun = time.perf_counter()
        status = 0

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] in ("http.response.start", "websocket.http.response.start"):
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers[name] = value
                headers.setdefault("Content-Security-Policy", _POLICY)
            elif message["type"] == "websocket.accept":
                status = 101
            await send(message)

        stream = scope["type"] == "websocket"
        active = self._metrics.active.labels("stream" if stream else "request")
        active.inc()
        try:
            await (self._refusal(scope) or self._app)(scope, receive, send_with_headers)
        except Exception:
            if status or stream:
                raise
            _log.exception("a request failed")
            failed = error_response(500, "the server failed; its log says why")
            await failed(scope, receive, send_with_headers)
        finally:
            active.dec()
            route = scope["path"] if scope["path"] in self._routes else "other"
            method = scope["method"] if scope.get("method", "GET") in _METHODS and not stream else "other"
            self._metrics.requests.labels("stream" if stream else method, route, str(status)).inc()
            if not stream:
                self._metrics.seconds.labels(route).observe(time.perf_counter() - begun)

    def _refusal(self, scope: Scope) -> Response | None:
        """Return the answer to a request that is refused."""
        headers = Headers(scope=scope)
        if self._hosts is not None and _host(headers) not in self._hosts:
            return error_response(
                421,
                f"the server answers to {', '.join(sorted(self._hosts))} alone; ask by one of these names",
            )
        if not _same_origin(headers):
            return error_response(403, "another site's page may not ask; open the server's own page")
        if self._token is not None and scope["path"] != "/health" and not _shown(headers, self._token):
            wanted = {"WWW-Authenticate": 'Bearer, Basic realm="stepfold: the token is the password"'}
            return error_response(401, "send the header Authorization: Bearer TOKEN", wanted)
        if self._rate is not None:
            wait = self._rate.wait((scope.get("client") or ("",))[0])
            if wait:
                message = f"more than {self._rate.rate:g} requests a second; try again in {wait} s"
                return error_response(429, message, {"Retry-After": str(wait)})
        return None


class Rate:
    """Requests a second of each client, a token bucket each; the clients seen last are remembered."""

    def __init__(self, rate: float, burst: int, clients: int) -> None:
        self.rate = rate
        self._burst = burst
        self._clients = clients
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # what is left, and when

    def wait(self, client: str) -> int:
        """Count a request; return 0, or the seconds after which to try again."""
        now = time.monotonic()
        left, before = self._buckets.pop(client, (float(self._burst), now))
        left = min(left + (now - before) * self.rate, float(self._burst))
        allowed = left >= 1
        self._buckets[client] = (left - 1 if allowed else left, now)
        if len(self._buckets) > self._clients:
            self._buckets.popitem(last=False)
        return 0 if allowed else int((1 - left) / self.rate) + 1


def _host(headers: Mapping[str, str]) -> str:
    """Return the host that is asked, without its port; a program of HTTP/1.0 may ask none."""
    try:
        return urlsplit("//" + headers.get("host", "localhost")).hostname or ""
    except ValueError:
        return ""


def _same_origin(headers: Mapping[str, str]) -> bool:
    """Whether no page of another site asks; programs send no origin."""
    origin = headers.get("origin")
    if origin is None:
        return True
    try:
        return urlsplit(origin).netloc.lower() == headers.get("host", "").lower() != ""
    except ValueError:
        return False


def _shown(headers: Mapping[str, str], token: str) -> bool:
    """Whether the token is there: as Bearer, or as the password of Basic, which browsers ask for."""
    scheme, _, given = headers.get("authorization", "").partition(" ")
    given = given.strip()
    if scheme.lower() == "basic":
        try:
            given = base64.b64decode(given, validate=True).decode().partition(":")[2]
        except ValueError:  # neither base64 nor UTF-8
            return False
    elif scheme.lower() != "bearer":
        return False
    return hmac.compare_digest(given.encode("utf-8", "surrogateescape"), token.encode())

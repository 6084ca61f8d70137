"""The application: its routes, and what each answers."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.websockets import WebSocket

from ..model import Model, Texts
from ..viewer import live_page, live_policy
from ._explained import explained
from ._guard import Guard
from ._inputs import checked
from ._json import error_response, json_response
from ._limits import Limits
from ._messages import Body, Explain, Predict, chosen
from ._metrics import Metrics
from ._openapi import document
from ._pages import content_policy, documents_page
from ._requests import body_of
from ._socket import Sockets
from ._streams import Streams
from ._summary import summary
from ._worker import Worker

LOOPBACK = ("localhost", "127.0.0.1", "::1")
"""The names by which this machine reaches itself."""


def make_app(
    models: Sequence[Model],
    limits: Limits | None = None,
    token: str | None = None,
    hosts: Sequence[str] | None = None,
) -> Starlette:
    """Return an ASGI application that serves models.

    Args:
        models: one or more, each with a name of its own; the first answers requests that name none.
        limits: `Limits()` if None.
        token: what clients must show; None to answer everybody.
        hosts: the names in the header Host that are answered. None for any with a token, else for those of
            this machine alone, so that a page of another site cannot reach the server by a name of its own.

    Raises:
        ValueError: there is no model, or two have the same name.
    """
    names = [model.name for model in models]
    if not names or len(set(names)) < len(names):
        raise ValueError(f"give models with different names, not {names}")
    service = _Service(models, limits or Limits())
    routes = service.routes()
    allowed = LOOPBACK if hosts is None and token is None else hosts
    app = Starlette(
        routes=routes,
        middleware=[
            Middleware(
                Guard,
                limits=service.limits,
                metrics=service.metrics,
                routes=frozenset(each.path for each in routes if isinstance(each, Route | WebSocketRoute)),
                token=token,
                hosts=None if allowed is None else frozenset(map(str.lower, allowed)),
            ),
        ],
        exception_handlers={HTTPException: _refused, ClientDisconnect: _gone},
        lifespan=service.lifespan,
    )
    app.state.limits = service.limits
    return app


class _Service:
    """Models with their workers, and the endpoints."""

    def __init__(self, models: Sequence[Model], limits: Limits) -> None:
        self.limits = limits
        self.metrics = Metrics()
        self.workers = {model.name: Worker(model, limits, self.metrics) for model in models}
        self.summaries = [summary(model) for model in models]
        self.document = document(models, limits)
        self.documents_page = documents_page(self.document)
        self.page_text, self.page_policy = _front(models, self.documents_page)
        streams = {name: _streams(worker, self.metrics) for name, worker in self.workers.items()}
        self.sockets = Sockets(streams, limits)

    def routes(self) -> list[BaseRoute]:
        """Return every route."""
        return [
            Route("/", self.page),
            Route("/predict", self.predict, methods=["POST"]),
            Route("/explain", self.explain, methods=["POST"]),
            WebSocketRoute("/stream", self.stream),
            Route("/models", self.models),
            Route("/health", self.health),
            Route("/metrics", self.figures),
            Route("/openapi.json", self.openapi),
            Route("/docs", self.docs),
        ]

    @contextlib.asynccontextmanager
    async def lifespan(self, app: Starlette) -> AsyncIterator[None]:
        """Compile or load every model's kernels before the first request; end the threads after the last."""
        for worker in self.workers.values():
            await worker.run(worker.warm_up)
        yield
        for worker in self.workers.values():
            worker.close()

    async def body(self, request: Request, kind: type[Body]) -> tuple[Body, Worker]:
        """Return a request's JSON and the worker of the model that it names."""
        found = await body_of(request, kind, self.limits)
        name: str | None = getattr(found, "model", None)
        if name is None:
            return found, next(iter(self.workers.values()))
        if name not in self.workers:
            raise HTTPException(404, f'there is no "model" {name[:80]!r}; there are {list(self.workers)}')
        return found, self.workers[name]

    async def predict(self, request: Request) -> Response:
        """Answer one text or sequence, or many."""
        given, worker = await self.body(request, Predict)
        name, value = chosen(given, "text", "texts", "sequence", "sequences")
        many = name.endswith("s")
        inputs = checked(worker.model, name, value if many else [value], self.limits)
        found = await worker.predict(inputs) if inputs else []
        return json_response({"predictions": found} if many else found[0])

    async def explain(self, request: Request) -> Response:
        """Answer with what a model makes of a text or sequence after each token."""
        given, worker = await self.body(request, Explain)
        name, value = chosen(given, "text", "sequence")
        (one,) = checked(worker.model, name, [value], self.limits)
        found = await worker.call(explained, worker.model, one, given.values, self.limits)
        return Response(found, media_type="application/json")

    async def stream(self, socket: WebSocket) -> None:
        """Read tokens as they come."""
        await self.sockets.serve(socket)

    async def models(self, request: Request) -> Response:
        """Say what is served."""
        return json_response({"models": self.summaries})

    async def health(self, request: Request) -> Response:
        """Say that the server answers."""
        return json_response({"status": "ok"})

    async def figures(self, request: Request) -> Response:
        """Return the figures, as Prometheus reads them."""
        return Response(generate_latest(self.metrics.registry), media_type=CONTENT_TYPE_LATEST)

    async def openapi(self, request: Request) -> Response:
        """Return the OpenAPI document."""
        return json_response(self.document)

    async def docs(self, request: Request) -> Response:
        """Return the OpenAPI document as a page."""
        return _page(self.documents_page, content_policy(self.documents_page))

    async def page(self, request: Request) -> Response:
        """Return the page on which the models read as one types."""
        return _page(self.page_text, self.page_policy)


def _page(text: str, policy: str) -> Response:
    return HTMLResponse(text, headers={"Content-Security-Policy": policy})


def _front(models: Sequence[Model], otherwise: str) -> tuple[str, str]:
    """Return the first page and its policy: the viewer, if some model reads texts."""
    shown = [
        {"name": model.name, "labels": list(map(str, model.labels)), "equations": model.equations()}
        for model in models
        if isinstance(model.inputs, Texts) and model.labels is not None
    ]
    if shown:
        return live_page(shown), live_policy()
    return otherwise, content_policy(otherwise)


def _streams(worker: Worker, metrics: Metrics) -> Streams | str:
    try:
        return Streams(worker, metrics)
    except ValueError as error:
        return str(error)


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return error_response(error.status_code, str(error.detail), error.headers)


async def _gone(request: Request, error: Exception) -> Response:
    return error_response(400, "the client has gone before its request was complete")

"""The subcommand ``serve``: trained models behind HTTP and WebSocket."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..estimators import RunError, RunFolder
from ._arguments import at_least
from ._model import open_model

if TYPE_CHECKING:
    from ..model import Model


def add_serve(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``serve`` to its parser."""
    parser.add_argument(
        "models", metavar="MODEL", nargs="+", help="a file that export wrote, or a folder that train wrote"
    )
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen on (127.0.0.1)")
    parser.add_argument(
        "--port", type=at_least(0, below=65536), default=8000, metavar="N", help="0 for a free one (8000)"
    )
    parser.add_argument(
        "--token-file",
        metavar="FILE",
        help="holds the token that clients must send; needed for a host that other machines reach",
    )
    parser.add_argument(
        "--limit",
        action="append",
        default=[],
        metavar="NAME=NUMBER",
        help="change a limit, such as rate=20 requests a second of each client (see docs/serving.md)",
    )
    parser.set_defaults(run=_serve)


def _serve(options: argparse.Namespace) -> None:
    try:
        from .. import serve
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f'{error.name} is missing; install it with: pip install "stepfold[serve]"', name=error.name
        ) from None

    try:
        limits = serve.Limits(**dict(map(_limit, options.limit)))
    except (TypeError, ValueError) as error:
        names = ", ".join(field.name for field in dataclasses.fields(serve.Limits))
        raise RunError(f"--limit: {error}; the limits are {names}") from None
    try:
        token, warning = serve.read_token(options.token_file) if options.token_file else (None, None)
        if warning:
            print(f"stepfold: warning: {warning}", file=sys.stderr)
        models = _named([_opened(path) for path in options.models])
        serve.run_server(
            models,
            host=options.host,
            port=options.port,
            limits=limits,
            token=token,
            ready=_ready,
        )
    except serve.ServeError as error:
        raise RunError(str(error)) from None


def _opened(path: str) -> Model:
    if Path(path).is_dir():
        RunFolder(path).read_config()  # a folder that is no run needs no Keras, whose import takes seconds
        print(f"stepfold: loading {path} …", file=sys.stderr, flush=True)
    return open_model(path)


def _ready(address: str) -> None:
    print(f"stepfold: serving on {address} (end with Ctrl-C)", file=sys.stderr, flush=True)


def _limit(text: str) -> tuple[str, Any]:
    name, _, value = text.partition("=")
    try:
        return name, int(value)
    except ValueError:
        try:
            return name, float(value)
        except ValueError:
            raise ValueError(f"{text!r} is not NAME=NUMBER") from None


def _named(models: list[Any]) -> list[Any]:
    """Return the models, each with a name of its own."""
    found: list[Any] = []
    for model in models:
        taken = {each.name for each in found}
        name, number = model.name, 2
        while name in taken:
            name, number = f"{model.name}-{number}", number + 1
        found.append(dataclasses.replace(model, name=name))
    return found

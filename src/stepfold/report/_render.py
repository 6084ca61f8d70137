"""Templates filled in, and files written under a temporary name."""

from __future__ import annotations

import os
from functools import cache
from typing import Any

from .._files import replacing
from ._content import Report
from ._require import require
from ._text import clean, count, duration, flat, number, pieces, shorten, value


def render(template: str, content: Report, **values: Any) -> str:
    """Return a template filled in; every text is escaped, charts apart."""
    return str(_environment().get_template(template).render(content=content, **values))


@cache
def _environment() -> Any:
    jinja2 = require("jinja2")
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("stepfold.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda shown: shown if hasattr(shown, "__html__") else clean(shown),
    )
    environment.filters.update(number=number, duration=duration, count=count, shorten=shorten, value=value)
    environment.globals.update(flat=flat, pieces=pieces)
    return environment


def write(path: str | os.PathLike[str], page: str) -> None:
    """Write a page under a temporary name beside `path`, then rename it."""
    with replacing(path) as part:
        part.write_text(page, encoding="utf-8", newline="\n")

"""Pages without a CDN: the OpenAPI document as HTML, and what a page may load and run."""

from __future__ import annotations

import json
import re
from typing import Any

from jinja2 import Environment, PackageLoader

from ..viewer import hash_source

_SCRIPT = re.compile(r"<script\b[^>]*>(.*?)</script\s*>", re.DOTALL | re.IGNORECASE)


def documents_page(document: dict[str, Any]) -> str:
    """Return the OpenAPI document as a page on which each request can be tried."""
    environment = Environment(
        loader=PackageLoader("stepfold.serve"), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template("docs.html").render(
        document=document,
        operations=[
            (path, method, operation)
            for path, methods in document["paths"].items()
            for method, operation in methods.items()
        ],
        pretty=lambda value: json.dumps(value, indent=2, ensure_ascii=False),
    )


def content_policy(page: str) -> str:
    """Return the Content-Security-Policy of a page: its own inline scripts, by hash, and nothing else's."""
    scripts = " ".join(map(hash_source, _SCRIPT.findall(page))) or "'none'"
    return (
        f"default-src 'none'; script-src {scripts}; style-src 'unsafe-inline'; img-src data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )

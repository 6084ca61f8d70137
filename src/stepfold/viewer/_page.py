"""The component as a page that asks a server, and as a part of a page with what it shows inside."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ._assets import asset, hash_source, script, style
from ._still import still
from ._stored import stored

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="data:,">
<title>stepfold: a network reads word by word</title>
<style>{style}</style>
</head>
<body>
<main>
<h1>Watch the network read, word by word</h1>
<div class="stepfold-viewer">
<script type="application/json">{data}</script>
<noscript><p>This page asks the server after each change, for which it needs JavaScript.</p></noscript>
</div>
</main>
<script type="module">{script}</script>
</body>
</html>
"""
_FRAGMENT = """<style>{style}</style>
<div class="stepfold-viewer">
<div class="still">
{still}</div>
<script type="application/json">{data}</script>
</div>
<script type="module">{script}</script>
"""


def live_page(models: Sequence[Mapping[str, Any]], address: str = "explain") -> str:
    """Return the page of a server: a text is typed, and every model is watched while it reads.

    After each change the page sends `POST address` with `{"text", "model", "values"}` (`values`: a list of
    names, or true for all of them; first of all with an empty text) and shows the answer, an
    `Explanation.to_dict()`. An answer with another status may say why in "error", "detail" or "message",
    which is shown. What the browser knows of the server (a name and password) goes with each request.

    Args:
        models: each with "name" (what requests call it), "labels" (the names of the classes; one for values)
            and "equations" (`Model.equations()`).
        address: where to ask, relative to the page.
    """
    return _PAGE.format(
        policy=_policy(),
        style=_page_style(),
        data=embedded({"models": [_model(model) for model in models], "address": address}),
        script=script(),
    )


def live_policy() -> str:
    """Return the Content-Security-Policy to send with `live_page`: its own script, style and server."""
    return f"{_policy()}; frame-ancestors 'none'"


def script_hash() -> str:
    """Return the source expression that lets a page's policy run the script of `stored_fragment`."""
    return hash_source(script())


def stored_fragment(models: Sequence[Mapping[str, Any]], explanations: Sequence[Mapping[str, Any]]) -> str:
    """Return HTML that shows stored explanations, one a model, as a part of any page.

    It holds its style, its script and its data; several may stand on one page. Without scripts the words and
    the line are there. Of a longer text the last 300 words are shown; states are rounded to 8 bits and, where
    they are many, reduced to the units that follow the output most, so that it stays below some 220 kB. A
    page with a policy allows the script by `script_hash()`, and inline styles.

    Args:
        models: as for `live_page`.
        explanations: an `Explanation.to_dict()` for each model; with "unit": "timestep" there are no words to
            show, with "inputs", (steps, features), the measurements are drawn above the line.
    """
    if len(models) != len(explanations) or not models:
        raise ValueError(
            f"{len(models)} models and {len(explanations)} explanations do not belong together: "
            "give at least one model, and one explanation a model"
        )
    kept = stored(explanations)
    named = [_model(model) for model in models]
    return _FRAGMENT.format(
        style=style(),
        still="".join(still(model["name"], each) for model, each in zip(named, kept, strict=True)),
        data=embedded({"models": named, "explanations": kept}),
        script=script(),
    )


def embedded(data: object) -> str:
    """Return data as JSON that may stand in a script element, whatever texts it holds."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _model(model: Mapping[str, Any]) -> dict[str, Any]:
    equations = [
        {name: str(each[name]) for name in ("name", "cell", "maths")} for each in model.get("equations", ())
    ]
    labels = [str(label) for label in model.get("labels") or ("value",)]
    return {"name": str(model["name"]), "labels": labels, "equations": equations}


def _page_style() -> str:
    return asset("page.css") + style()


def _policy() -> str:
    return (
        f"default-src 'none'; script-src {script_hash()}; style-src {hash_source(_page_style())}; "
        "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'"
    )

"""The component's modules joined to one script, its style, and their hashes for a Content-Security-Policy."""

from __future__ import annotations

import base64
import hashlib
import re
from functools import cache
from importlib.resources import files

# Each module comes after those that it imports.
MODULES = (
    "elements", "numbers", "line", "heat", "words", "equations", "columns", "charts", "panel", "live",
    "viewer",
)  # fmt: skip
_IMPORT = re.compile(r'^import (\{[^}]*\}) from "\./(\w+)\.js";$', re.MULTILINE)
_EXPORT = re.compile(r"^export ((?:async )?(?:function|class|const) (\w+))", re.MULTILINE)


@cache
def asset(name: str) -> str:
    """Return the text of a file of the component."""
    return files(__package__).joinpath("assets", name).read_text(encoding="utf-8")


@cache
def script() -> str:
    """Return all modules as one: each becomes a function that returns what it exports.

    A page that holds everything can import nothing; modules whose names the page cannot address are joined.
    """
    parts = ['"use strict";\n']
    for name in MODULES:
        source = asset(f"{name}.js")
        exported = ", ".join(found[1] for found in _EXPORT.findall(source))
        body = _EXPORT.sub(r"\1", _IMPORT.sub(r"const \1 = \2;", source))
        parts.append(f"const {name} = (() => {{\n{body}return {{ {exported} }};\n}})();\n")
    return "".join(parts)


@cache
def style() -> str:
    """Return the style of the component, all of it below the class `stepfold-viewer`."""
    return asset("viewer.css")


def hash_source(text: str) -> str:
    """Return the source expression of a Content-Security-Policy that allows this inline text."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"

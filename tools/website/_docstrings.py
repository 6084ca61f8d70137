"""Docstrings as Markdown: sections become lists, literal blocks code, names of documented objects links."""

from __future__ import annotations

import inspect
import re
from collections.abc import Collection, Iterator

_SECTION = re.compile(r"^(Args|Attributes|Returns|Raises):$")
_ITEM = re.compile(r"^(?P<names>\*{0,2}\w+(?:, \*{0,2}\w+)*): (?P<text>.*)$")
_NAME = re.compile(r"(`{1,2})(?P<name>[A-Za-z_][\w.]*)(?P<call>\(\))?\1")
_TITLES = {"Args": "Arguments"}


def described(docstring: str) -> set[str]:
    """Return the names that the sections of a docstring describe."""
    return {
        name.strip(" *")
        for title, lines in _parts(docstring)
        if title in ("Args", "Attributes")
        for names, _ in _items(lines)
        for name in names.split(",")
    }


def paragraphs(docstring: str, path: str, objects: Collection[str]) -> str:
    """Return a docstring as Markdown. `path`: the object's own name; `objects`: the names to link, in which
    those of the object's own arguments are not."""
    parts = []
    for title, lines in _parts(docstring):
        if not title:
            parts.append(_prose(lines, path, objects))
            continue
        parts.append(f"**{_TITLES.get(title, title)}**\n")
        for names, text in _items(lines):
            words = _linked(text, path, objects)
            parts.append(f"* {_code(names)}{': ' if names else ''}{words}")
        parts.append("")
    return "\n".join(parts)


def _code(names: str) -> str:
    return ", ".join(f"`{name.strip()}`" for name in names.split(",")) if names else ""


def _parts(docstring: str) -> Iterator[tuple[str, list[str]]]:
    """The sections: title ("" for prose) and lines."""
    title, lines = "", list[str]()
    for line in inspect.cleandoc(docstring).splitlines():
        begins = _SECTION.match(line)
        if begins or (title and line.strip() and not line.startswith(" ")):
            if any(map(str.strip, lines)):
                yield title, lines
            title, lines = (begins[1] if begins else ""), []
            if begins:
                continue
        lines.append(line)
    if any(map(str.strip, lines)):
        yield title, lines


def _items(lines: list[str]) -> list[tuple[str, str]]:
    """The entries of a section: names ("" for none) and text."""
    found: list[tuple[str, str]] = []
    for line in inspect.cleandoc("\n".join(["", *lines])).splitlines():
        item = None if line.startswith(" ") else _ITEM.match(line)
        if item:
            found.append((item["names"], item["text"]))
        elif found:
            found[-1] = found[-1][0], f"{found[-1][1]} {line.strip()}".strip()
        elif line.strip():
            found.append(("", line.strip()))
    return found


def _prose(lines: list[str], path: str, objects: Collection[str]) -> str:
    """Prose, in which a line that ends with `::` begins a block of code."""
    written, code = list[str](), False
    for line in lines:
        if code and line.strip() and not line.startswith("    "):
            written, code = _closed(written), False
        if code:
            if line.strip() or written[-1] != "```python":
                written.append(line[4:])
        elif line.rstrip().endswith("::"):
            written += [_linked(line.rstrip()[:-1], path, objects), "", "```python"]
            code = True
        else:
            written.append(line)
    written = _closed(written) if code else written
    text = "\n".join(written)
    pieces = re.split(r"(```python\n.*?\n```)", text, flags=re.DOTALL)
    text = "".join(p if p.startswith("```") else _linked(p, path, objects) for p in pieces)
    return text.strip("\n") + "\n"


def _closed(written: list[str]) -> list[str]:
    while written and not written[-1].strip():
        written = written[:-1]
    return [*written, "```", ""]


def _linked(text: str, path: str, objects: Collection[str]) -> str:
    """Link the names that are documented; escape what would be HTML or emphasis outside code."""
    pieces = re.split(r"(`{1,2}[^`]+`{1,2})", text)
    return "".join(
        _link(piece, path, objects)
        if piece.startswith("`")
        else re.sub(r"(?<=[\w)])\*|\*(?=[\w(])", r"\\*", piece.replace("<", "&lt;"))
        for piece in pieces
    )


def _link(code: str, path: str, objects: Collection[str]) -> str:
    match = _NAME.fullmatch(code)
    if match is None:
        return code
    name, package = match["name"], path
    while package and f"{package}.{name}" not in objects:
        package = package.rpartition(".")[0]
    target = f"{package}.{name}" if package else name
    if target not in objects or target == path:
        return code
    return f"{{py:obj}}`{name}{match['call'] or ''} <{target}>`"

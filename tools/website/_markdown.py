"""From a page of `docs/` to a page of the site: links, equations, diagrams, pictures, printed output."""

from __future__ import annotations

import contextlib
import html
import io
import linecache
import posixpath
import re
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_FENCE = re.compile(r"^(?P<ticks>`{3,})(?P<info>.*)$")
_COMMENT = re.compile(r"^<!--\s*(?P<name>[a-z ]+?)(?::\s*(?P<value>.*?))?\s*-->\s*$")
_LINK = re.compile(r"(?P<before>!?\[(?:[^\[\]]|\[[^\]]*\])*\]\()(?P<target>[^)\s]+)\)")
_CODE = re.compile(r"(?<![`\[{}])`(?P<name>stepfold(?:\.\w+)+)`(?![`\]])")


@dataclass(frozen=True)
class Piece:
    """A run of lines of a page: prose, or a fenced block with its language ("" for none)."""

    text: str
    language: str | None = None


def pieces(markdown: str) -> Iterator[Piece]:
    """Cut a page into prose and fenced blocks."""
    prose: list[str] = []
    block: list[str] = []
    ticks = info = ""
    for line in markdown.splitlines():
        fence = _FENCE.match(line)
        if ticks:
            if fence and fence["ticks"] == ticks and not fence["info"].strip():
                yield Piece("\n".join(block) + "\n", info)
                ticks, block = "", []
            else:
                block.append(line)
        elif fence:
            yield Piece("\n".join(prose) + "\n")
            ticks, info, prose = fence["ticks"], fence["info"].strip(), []
        else:
            prose.append(line)
    if ticks:
        raise ValueError(f"a block of {info or 'text'} is never closed; end it with a line of {ticks}")
    yield Piece("\n".join(prose) + "\n")


def fenced(text: str, language: str = "text") -> str:
    """Return a fenced block."""
    ticks = "```"
    while ticks in text:
        ticks += "`"
    return f"{ticks}{language}\n{text.rstrip()}\n{ticks}\n"


def equations(latex: str) -> str:
    """Return equations as MathML, on a line of their own that scrolls where it is too wide."""
    from latex2mathml.converter import convert

    mathml = convert(latex.strip().replace("{aligned}", "{split}"), display="block")
    # One letter is a variable: in the italics of the text's font, for not every machine has a font for maths.
    mathml = re.sub(
        r"<mi>([^<]|&#x[0-9A-F]+;)</mi>", r'<mi class="letter" mathvariant="normal">\1</mi>', mathml
    )
    return f'<div class="equations" tabindex="0">{mathml}</div>\n'


def diagram(mermaid: str) -> str:
    """Return a Mermaid diagram as SVG, from top to bottom as pages are, in the colours of the style sheet."""
    import mermaidx

    svg = mermaidx.render(mermaid.replace("flowchart LR", "flowchart TB", 1)).svg()
    name = f"diagram-{zlib.crc32(mermaid.encode()):08x}"
    svg = re.sub(r"<style>.*?</style>", "", svg, flags=re.DOTALL).replace("my-svg", name)
    return f'<div class="diagram" tabindex="0">{_one_line(svg)}</div>\n'


def _one_line(text: str) -> str:
    """Return HTML without empty lines, at which Markdown would end it."""
    return re.sub(r"\s*\n\s*", " ", text.strip())


@dataclass(frozen=True)
class Context:
    """What a page needs to know of the others.

    `place`: the page's path in the site, without `.md`; `origin`: the file that it is made from; `targets`:
    file → page, for every file that is a page; `objects`: the names that the reference documents; `inserts`:
    what a comment `<!-- insert: NAME -->` becomes, given what the code of the page above it has defined.
    """

    place: str
    origin: Path
    targets: Mapping[Path, str]
    objects: frozenset[str]
    inserts: Mapping[str, Callable[[Mapping[str, Any]], str]]


def rendered(markdown: str, context: Context) -> str:
    """Return a page as the site's Markdown."""
    parts = []
    namespace: dict[str, Any] = {"__name__": "__main__"}
    runs = "<!-- output" in markdown or "<!-- insert" in markdown
    printed = ""
    for piece in pieces(markdown):
        if piece.language is None:
            parts.append(_prose(piece.text, context, printed, namespace))
        elif piece.language == "math":
            parts.append(equations(piece.text))
        elif piece.language == "mermaid":
            parts.append(diagram(piece.text))
        else:
            parts.append(fenced(piece.text, piece.language or "text"))
            if piece.language == "python" and runs:
                printed = run(piece.text, namespace, context.origin.name)
    return "\n".join(parts)


def run(code: str, namespace: dict[str, Any], name: str) -> str:
    """Run code in a namespace and return what it prints; what it defines knows its source."""
    caught = io.StringIO()
    name = f"<{name}, {zlib.crc32(code.encode()):08x}>"
    linecache.cache[name] = len(code), None, code.splitlines(keepends=True), name
    with contextlib.redirect_stdout(caught):
        exec(compile(code, name, "exec"), namespace)
    return caught.getvalue()


def _prose(text: str, context: Context, printed: str, namespace: Mapping[str, Any]) -> str:
    parts, lines = list[str](), list[str]()
    for line in text.splitlines():
        comment = _COMMENT.match(line)
        if comment is None:
            lines.append(line)
            continue
        parts.append(_linked("\n".join(lines), context))
        lines = []
        if comment["name"] == "output":
            parts.append(fenced(_excerpt(printed, comment["value"] or "")))
        elif comment["name"] == "insert":
            parts.append(_insert(comment["value"] or "", context, namespace))
        elif comment["name"] != "not run":
            raise ValueError(f"{context.origin}: no one knows what {line!r} means; say output or insert")
    return "\n".join([*parts, _linked("\n".join(lines), context)])


def _linked(text: str, context: Context) -> str:
    """Prose whose links lead to pages of the site, as do the names of documented objects."""
    text = _LINK.sub(lambda match: f"{match['before']}{_target(match['target'], context)})", text)
    known = context.objects
    return _CODE.sub(lambda m: f"{{py:obj}}`{m['name']}`" if m["name"] in known else m[0], text)


def _insert(name: str, context: Context, namespace: Mapping[str, Any]) -> str:
    if name not in context.inserts:
        raise ValueError(
            f"{context.origin}: there is no insert {name!r}; there are {', '.join(context.inserts)}"
        )
    return context.inserts[name](namespace)


def _excerpt(printed: str, which: str) -> str:
    """Return some lines of an output: `20 lines`, `20 lines from PATTERN`, `… 4 before PATTERN`, or all."""
    lines = printed.rstrip().splitlines()
    if not which:
        return "\n".join(lines)
    match = re.fullmatch(r"(\d+) lines(?: from (?:(\d+) before )?(.+))?", which)
    if match is None:
        raise ValueError(f"an output is `20 lines` or `20 lines from PATTERN`, not {which!r}")
    count, start = int(match[1]), 0
    if match[3]:
        found = [number for number, line in enumerate(lines) if re.search(match[3], line)]
        if not found:
            raise ValueError(f"no line of the output matches {match[3]!r}")
        start = max(0, found[0] - int(match[2] or 0))
    chosen = lines[start : start + count]
    before, after = start, len(lines) - start - len(chosen)
    return "\n".join(
        [f"… {before:,} lines before" if before else "", *chosen, f"… {after:,} lines more" if after else ""]
    ).strip("\n")


def _target(target: str, context: Context) -> str:
    """Return where a link of a file leads on the site; ValueError for a file that is no page."""
    if re.match(r"[a-z]+:|#", target):
        return target
    path, _, fragment = target.partition("#")
    file = (context.origin.parent / path).resolve()
    if file in context.targets:
        below = posixpath.relpath(context.targets[file], posixpath.dirname(context.place) or ".")
        return f"{below}.md" + (f"#{fragment}" if fragment else "")
    raise ValueError(
        f"{context.origin}: the link {html.escape(target)} leads to a file that is no page of the site; "
        "name the file in `code` instead"
    )

"""Check a built site: it loads nothing from elsewhere, and no link inside it is broken."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

_LOADED = {
    "script": ("src",), "img": ("src", "srcset"), "source": ("src", "srcset"), "video": ("src", "poster"),
    "audio": ("src",), "iframe": ("src",), "embed": ("src",), "object": ("data",),
    "use": ("href", "xlink:href"), "image": ("href", "xlink:href"), "input": ("src",), "track": ("src",),
}  # fmt: skip
_RELATIONS = {
    "stylesheet",
    "icon",
    "preload",
    "prefetch",
    "preconnect",
    "dns-prefetch",
    "modulepreload",
    "manifest",
}
_CSS = re.compile(r"@import\s+(?:url\()?['\"]?([^'\")\s;]+)|url\(\s*['\"]?([^'\")]+?)['\"]?\s*\)")


@dataclass
class Found(HTMLParser):
    """What a page loads, where its links lead, which places it has."""

    loads: list[str] = field(default_factory=list)
    links: list[str] = field(default_factory=list)
    places: set[str] = field(default_factory=set)
    styles: list[str] = field(default_factory=list)
    _style: bool = False

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what a tag loads and names."""
        given = {name: value for name, value in attrs if value is not None}
        self._style = tag == "style"
        if "id" in given:
            self.places.add(given["id"])
        if "style" in given:
            self.styles.append(given["style"])
        if tag == "a":
            if "name" in given:
                self.places.add(given["name"])
            if "href" in given:
                self.links.append(given["href"])
        if tag == "link" and _RELATIONS & set(given.get("rel", "").split()):
            self.loads.append(given.get("href", ""))
        for name in _LOADED.get(tag, ()):
            if name in given:
                parts = given[name].split(",") if name == "srcset" else [given[name]]
                self.loads += [part.split()[0] for part in parts if part.strip()]

    def handle_endtag(self, tag: str) -> None:
        """End a style sheet."""
        if tag == "style":
            self._style = False

    def handle_data(self, data: str) -> None:
        """Note a style sheet."""
        if self._style:
            self.styles.append(data)


def check(folder: Path) -> list[str]:
    """Return what is wrong with the pages below a folder, a line each."""
    pages = {path.resolve(): _parsed(path) for path in sorted(folder.rglob("*.html"))}
    problems = []
    for path, found in pages.items():
        where = path.relative_to(folder.resolve())
        loads = found.loads + [url for text in found.styles for url in _urls(text)]
        problems += [f"{where}: {text}" for url in loads if (text := _load_problem(url, path))]
        problems += [f"{where}: {text}" for url in found.links if (text := _link_problem(url, path, pages))]
    for path in sorted(folder.rglob("*.css")):
        where = path.relative_to(folder)
        urls = _urls(path.read_text(encoding="utf-8"))
        problems += [f"{where}: {text}" for url in urls if (text := _load_problem(url, path))]
    return problems or ([] if pages else [f"{folder}: there is no page"])


def _parsed(path: Path) -> Found:
    found = Found()
    found.feed(path.read_text(encoding="utf-8"))
    return found


def _urls(css: str) -> list[str]:
    return [first or second for first, second in _CSS.findall(css)]


def _load_problem(url: str, page: Path) -> str:
    parts = urlsplit(url)
    if parts.scheme == "data" or url.startswith("#"):
        return ""
    if parts.scheme or parts.netloc:
        return f"loads {url} from elsewhere"
    return "" if (page.parent / unquote(parts.path)).is_file() else f"loads {url}, which is not there"


def _link_problem(url: str, page: Path, pages: dict[Path, Found]) -> str:
    parts = urlsplit(url)
    if parts.scheme or parts.netloc:
        return ""
    target = (page.parent / unquote(parts.path)).resolve() if parts.path else page.resolve()
    if target not in pages:
        return "" if target.is_file() else f"the link {url} leads nowhere"
    place = unquote(parts.fragment)
    return "" if not place or place in pages[target].places else f"the link {url} leads to no place there"

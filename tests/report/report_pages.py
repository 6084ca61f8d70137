"""An HTML page taken apart: elements, ids, links, text; complains of tags that do not match."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser

_VOID = {"meta", "link", "br", "img", "hr", "input"}


@dataclass
class Element:
    """One element: its tag, its attributes, all text within it."""

    tag: str
    attributes: dict[str, str]
    parts: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "".join(self.parts)


class Page(HTMLParser):
    """The elements of a page in document order."""

    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=True)
        self.source, self.elements = source, list[Element]()
        self._open: list[Element] = []
        self.feed(source)
        self.close()
        assert not self._open, f"never closed: {[e.tag for e in self._open]}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"<{tag}> has an attribute twice: {names}"
        element = Element(tag, {name: value or "" for name, value in attrs})
        self.elements.append(element)
        if tag not in _VOID:
            self._open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in _VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert [e.tag for e in self._open[-1:]] == [tag], f"</{tag}> closes {self._open[-1:]}"
        self._open.pop()

    def handle_data(self, data: str) -> None:
        for element in self._open:
            element.parts.append(data)

    def all(self, tag: str, name: str = "") -> list[Element]:
        """All elements with this tag, and this class if one is given."""
        return [
            e for e in self.elements
            if e.tag == tag and (not name or name in e.attributes.get("class", "").split())
        ]  # fmt: skip

    def one(self, tag: str, name: str = "") -> Element:
        """The only element with this tag and class."""
        found = self.all(tag, name)
        assert len(found) == 1, f"{len(found)} elements <{tag} class={name}>"
        return found[0]

    @property
    def ids(self) -> list[str]:
        return [e.attributes["id"] for e in self.elements if "id" in e.attributes]

    @property
    def words(self) -> str:
        """The text that is read, white space made single blanks."""
        return " ".join(self.one("body").text.split())

"""Which pages the site has, in the order in which a reader meets them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Page:
    """One page: its path in the site, without `.md`, and the file that it is made from, from the root of the
    repository ("" for a page that is written from the code)."""

    place: str
    file: str = ""


@dataclass(frozen=True)
class Section:
    """Pages that stand together in the navigation."""

    title: str
    pages: tuple[Page, ...]


def _documents(*names: str) -> tuple[Page, ...]:
    return tuple(Page(name, f"docs/{name}.md") for name in names)


SECTIONS = (
    Section("Begin", _documents("start", "tutorial", "migration")),
    Section("Write a cell", (*_documents("cells", "cell_errors"), Page("functions"), Page("gallery/index"))),
    Section("Train", _documents("keras", "pytorch", "texts", "accuracy", "memory", "drop_in", "scaling")),
    Section("Serve and export", _documents("export", "serving", "systems", "streams", "format", "onnx")),
    Section(
        "Understand",
        (*_documents("how_it_works"), Page("architecture", "ARCHITECTURE.md"), *_documents("performance")),
    ),
    Section("Look up", (Page("reference/index"), Page("commands"), Page("examples/index"))),
)
"""The navigation. A file that is not there is left out; a file of `docs/` that is not named here is found
under `Look up`."""

PROJECT = (
    Page("contributing", "CONTRIBUTING.md"),
    Page("changelog", "CHANGELOG.md"),
    Page("security", "SECURITY.md"),
)
"""Pages on the project itself, at the end of the navigation."""


def sections(root: Path) -> list[Section]:
    """Return the sections with the pages that there are."""
    named = {page.file for section in SECTIONS for page in section.pages} | {"docs/index.md"}
    others = [Page(path.stem, f"docs/{path.name}") for path in sorted((root / "docs").glob("*.md"))]
    rest = tuple(page for page in others if page.file not in named)
    found = [Section(section.title, _existing(section.pages, root)) for section in SECTIONS]
    found[-1] = Section(found[-1].title, found[-1].pages + rest)
    return [*found, Section("The project", _existing(PROJECT, root))]


def _existing(pages: Iterable[Page], root: Path) -> tuple[Page, ...]:
    return tuple(page for page in pages if not page.file or (root / page.file).is_file())

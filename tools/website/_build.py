"""Write the site's pages into a folder, let Sphinx set them, and check what came out."""

from __future__ import annotations

import os
import re
from functools import cache
from pathlib import Path

import stepfold
from stepfold import cells

from . import _functions, _gallery
from ._commands import commands_page
from ._examples import examples
from ._markdown import Context, rendered
from ._pages import Section, sections
from ._picture import picture
from ._reference import Reference, reference

SOURCE = Path(__file__).resolve().parents[2]
"""The root of the repository."""
MEASURED = Path("docs/figures/measured.md")
"""What `make bench` measured last, kept by its option `--page`."""


def build(out: Path) -> int:
    """Build the site: `out/source` the pages as Markdown, `out/html` the site. Returns Sphinx's exit status,
    which is not 0 if anything was worth a warning."""
    from sphinx.cmd.build import build_main

    pages, html = out / "source", out / "html"
    write_pages(pages)
    os.environ["STEPFOLD_DOCUMENTS_VERSION"] = stepfold.__version__
    here = Path(__file__).parent
    status: int = build_main(
        ["-q", "-b", "html", "-W", "--keep-going", "-j", "auto", "-c", str(here), str(pages), str(html)]
    )
    return status


def write_pages(folder: Path) -> None:
    """Write every page into a folder; a page that has not changed keeps its time, others are removed."""
    found = sections(SOURCE)
    api = reference(SOURCE / "src")
    texts = {**generated(api), **api.pages}
    targets = {
        (SOURCE / page.file).resolve(): page.place for section in found for page in section.pages if page.file
    }
    targets[SOURCE / "README.md"] = targets[SOURCE / "docs/index.md"] = "index"
    targets |= {SOURCE / "examples" / f"{path.stem}.py": f"examples/{path.stem}" for path in _examples()}
    inserts = {
        "families": lambda _: families(),
        "functions": lambda _: (
            "What each computes: [functions of the cell language](functions.md). "
            "Cells to begin with: [the gallery](gallery/index.md).\n"
        ),
        "how fast": lambda _: _section(SOURCE / "README.md", "How fast"),
        "measured": lambda _: _below((SOURCE / MEASURED).read_text(encoding="utf-8")),
        "picture": lambda defined: picture(defined["light_gru"]),
    }
    for file, place in {**targets, SOURCE / "docs/index.md": "index"}.items():
        if file.suffix == ".md" and file != SOURCE / "README.md":
            context = Context(place, file, targets, frozenset(api.objects), inserts)
            texts[place] = rendered(file.read_text(encoding="utf-8"), context)
    texts["index"] += _tree(found)
    _write(folder, texts)


def generated(api: Reference) -> dict[str, str]:
    """Return the pages that are written from the code."""
    figures = _gallery.measured(SOURCE)
    texts = {
        "gallery/index": _gallery.index(figures),
        "functions": _functions.page(),
        "commands": commands_page(),
    }
    for family, members in cells.FAMILIES.items():
        for cell in members:
            texts[f"gallery/{cell.name}"] = _gallery.page(cell, family, figures)
    return {**texts, **examples(_examples())}


@cache
def _examples() -> tuple[Path, ...]:
    return tuple(sorted((SOURCE / "examples").glob("*.py")))


def families() -> str:
    """The built-in cells by family, each a link to its page."""
    return "\n".join(
        f"* {family}: " + ", ".join(f"[{cell.name}](gallery/{cell.name}.md)" for cell in members)
        for family, members in cells.FAMILIES.items()
    )


def _section(file: Path, title: str) -> str:
    """The text of a section of a file, below its heading."""
    match = re.search(
        rf"^## {title}\n(.*?)(?=^## |\Z)", file.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    )
    if match is None:
        raise ValueError(f"{file.name} has no section {title!r}")
    return match[1]


def _below(text: str) -> str:
    """A page's text without its heading, its sections one level lower."""
    return re.sub(r"^## ", "### ", text.partition("\n")[2], flags=re.MULTILINE)


def _tree(found: list[Section]) -> str:
    parts = []
    for section in found:
        pages = "\n".join(page.place for page in section.pages)
        parts.append(f"\n```{{toctree}}\n:hidden:\n:caption: {section.title}\n\n{pages}\n```\n")
    return "\n".join(parts)


def _write(folder: Path, texts: dict[str, str]) -> None:
    wanted = {folder / f"{place}.md": text for place, text in texts.items()}
    for path in folder.rglob("*.md"):
        if path not in wanted:
            path.unlink()
    for path, text in wanted.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")

"""The documents as a site: Markdown pages of `docs/`, and pages written from the code, set by Sphinx."""

from ._build import SOURCE, build
from ._pages import SECTIONS, Page, Section

__all__ = ["SECTIONS", "SOURCE", "Page", "Section", "build"]

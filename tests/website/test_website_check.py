"""The check of built pages: what is loaded from elsewhere, and links that lead nowhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.website._check import check

GOOD = """<html><head><link rel="stylesheet" href="a.css"><link rel="canonical" href="https://example.org">
<style>p { background: url(data:image/png;base64,AA) }</style></head>
<body><h1 id="top">A</h1><img src="a.svg"><a href="b.html#here">b</a> <a href="https://example.org">out</a>
<a href="a.css">file</a> <a href="#top">up</a></body></html>"""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    (tmp_path / "a.css").write_text("p { color: red }")
    (tmp_path / "a.svg").write_text("<svg/>")
    (tmp_path / "b.html").write_text('<html><body><p id="here">b</p></body></html>')
    (tmp_path / "a.html").write_text(GOOD)
    return tmp_path


def test_a_good_site_has_no_problem(site: Path) -> None:
    assert check(site) == []


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("c.html", '<script src="//c.org/x"></script>', "c.html: loads //c.org/x from elsewhere"),
        ("c.html", '<link rel="preconnect" href="//f.org">', "c.html: loads //f.org from elsewhere"),
        ("c.html", '<img srcset="a.svg 1x, no.png 2x">', "c.html: loads no.png, which is not there"),
        ("c.html", "<style>@import '//f.org/f'</style>", "c.html: loads //f.org/f from elsewhere"),
        ("c.html", '<p style="background: url(no.png)">', "c.html: loads no.png, which is not there"),
        ("a.css", "@font-face { src: url('//f.org/f') }", "a.css: loads //f.org/f from elsewhere"),
        ("c.html", '<a href="none.html">x</a>', "c.html: the link none.html leads nowhere"),
        ("c.html", '<a href="b.html#there">x</a>', "c.html: the link b.html#there leads to no place there"),
        ("c.html", '<svg><use href="//i.org/i#a"/></svg>', "c.html: loads //i.org/i#a from elsewhere"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(site: Path, file: str, text: str, said: str) -> None:
    (site / file).write_text(text)
    assert check(site) == [said]


def test_an_empty_folder_is_a_problem(tmp_path: Path) -> None:
    assert check(tmp_path) == [f"{tmp_path}: there is no page"]

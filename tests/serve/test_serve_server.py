"""Where the server listens, and what a token file may hold."""

from __future__ import annotations

import os
import re
import socket
from dataclasses import fields
from pathlib import Path

import pytest

from stepfold.serve import Limits, ServeError, _server, listen, read_token

TOKEN = "abcdefghijklmnop"


def test_the_document_has_every_limit_as_it_is() -> None:
    text = (Path(__file__).parents[2] / "docs" / "serving.md").read_text()
    limits = Limits()
    found = set()
    for names, values in re.findall(
        r"^\| (`\w+`[^|]*)\| ([^|]*)\|", text.partition("## Limits")[2], re.MULTILINE
    ):
        for name in re.findall(r"`(\w+)`", names):
            value = getattr(limits, name)
            assert ("none" if value is None else f"{value:,.0f}") in values
            found.add(name)
    assert found == {field.name for field in fields(Limits)}


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.0.0.5"])
def test_loopback_needs_no_token(host: str) -> None:
    with listen(host, 0, token=False) as listening:
        assert listening.getsockname()[0].startswith("127.")
        # else asyncio leaves Nagle's algorithm on, and an answer takes 40 ms
        assert listening.proto == socket.IPPROTO_TCP


@pytest.mark.parametrize("host", ["0.0.0.0", "", "::"])
def test_other_hosts_need_a_token(host: str) -> None:
    with pytest.raises(ServeError, match="can be reached from other machines; give --token-file FILE"):
        listen(host, 0, token=False)


def test_with_a_token_every_host_will_do() -> None:
    with listen("0.0.0.0", 0, token=True) as listening:
        assert listening.getsockname()[0] == "0.0.0.0"


def test_an_address_in_use_and_one_of_nobody() -> None:
    with listen("127.0.0.1", 0, token=False) as listening:
        port = listening.getsockname()[1]
        with pytest.raises(
            ServeError, match=f"cannot listen on 127.0.0.1 port {port}: Address already in use"
        ):
            listen("127.0.0.1", port, token=False)
    for host in ("no.such.host.invalid", "a" * 300, "256.1.1.1", "a..b"):
        with pytest.raises(ServeError, match="there is no host"):
            listen(host, 0, token=True)


def test_a_token_is_read_and_a_file_for_all_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "token"
    path.write_text(f"{TOKEN}\n")
    os.chmod(path, 0o600)
    assert read_token(path) == (TOKEN, None)
    os.chmod(path, 0o644)
    token, warning = read_token(path)
    assert token == TOKEN
    assert warning == f"other users may read the token file {path}; chmod 600 {path}"
    monkeypatch.setattr(_server.sys, "platform", "win32")  # every file has such a mode there
    assert read_token(path) == (TOKEN, None)


@pytest.mark.parametrize(
    "content", [b"", b"\n", b"short", b"a token with spaces", b"\xff" * 20, b"a\x00" * 20, b"a" * 5000]
)
def test_what_is_no_token_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "token"
    path.write_bytes(content)
    with pytest.raises(ServeError, match="must hold 16 or more printable ASCII characters without spaces"):
        read_token(path)


def test_a_token_file_that_cannot_be_read(tmp_path: Path) -> None:
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(ServeError, match="the token file"):
            read_token(path)

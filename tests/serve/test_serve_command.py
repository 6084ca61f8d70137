"""The command `stepfold serve`: the address it prints, the token, and how it ends."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from serve_models import text_model

import stepfold

pytestmark = pytest.mark.slow

TOKEN = "abcdefghijklmnop"
BUSY = {"texts": ["good film " * 200] * 200}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("serve") / "reviews.safetensors"
    stepfold.export(text_model(), path)
    return path


@contextlib.contextmanager
def started(*arguments: object) -> Iterator[tuple[subprocess.Popen[str], str]]:
    command = [sys.executable, "-m", "stepfold.app.cli", "serve", *map(str, arguments), "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            line = process.stderr.readline()
            while "warning" in line:
                line = process.stderr.readline()
            (address,) = re.findall(r"^stepfold: serving on (http://\S+:[0-9]+) \(end with Ctrl-C\)$", line)
            yield process, address
        finally:
            process.kill()


def ended(process: subprocess.Popen[str], number: int) -> tuple[int, str, str]:
    process.send_signal(number)
    out, error = process.communicate(timeout=20)
    return process.returncode, out, error


def refused(*arguments: object) -> str:
    command = [sys.executable, "-m", "stepfold.app.cli", "serve", *map(str, arguments), "--port", "0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    return done.stderr


@pytest.mark.parametrize(
    ("number", "status", "said"), [(signal.SIGTERM, 0, ""), (signal.SIGINT, 130, "stepfold: interrupted\n")]
)
def test_it_serves_and_ends(model: Path, number: int, status: int, said: str) -> None:
    with started(model) as (process, address):
        assert address.startswith("http://127.0.0.1:")
        found = httpx2.post(f"{address}/predict", json={"text": "the film is good"}).json()
        assert found["label"] == text_model().predict(["the film is good"])[0]
        assert ended(process, number) == (status, "", said)


def test_what_has_begun_is_finished(model: Path) -> None:
    found: list[Any] = []
    with started(model, "--limit", "batch=1") as (process, address):

        def ask() -> None:
            found.append(httpx2.post(f"{address}/predict", json=BUSY, timeout=30))

        thread = threading.Thread(target=ask)
        thread.start()
        time.sleep(0.15)
        status, _, error = ended(process, signal.SIGTERM)
        thread.join()
    assert (status, error) == (0, "")
    assert len(found[0].json()["predictions"]) == 200


def test_a_stuck_client_does_not_keep_it(model: Path) -> None:
    with started(model, "--limit", "grace_seconds=1") as (process, address):
        port = int(address.rpartition(":")[2])
        from serve_running import connect, request

        with connect(port) as silent, connect(port) as slow:
            slow.sendall(request(b"", length=1000))
            time.sleep(0.1)
            before = time.monotonic()
            status, _, _ = ended(process, signal.SIGTERM)
            assert status == 0
            assert time.monotonic() - before < 4
            silent.close()


def test_other_hosts_with_a_token_alone(model: Path, tmp_path: Path) -> None:
    error = refused(model, "--host", "0.0.0.0")
    assert "can be reached from other machines; give --token-file FILE" in error
    path = tmp_path / "token"
    path.write_text(TOKEN)
    os.chmod(path, 0o600)
    with started(model, "--host", "0.0.0.0", "--token-file", path) as (process, address):
        local = address.replace("0.0.0.0", "127.0.0.1")
        assert httpx2.get(f"{local}/models").status_code == 401
        headers = {"Authorization": f"Bearer {TOKEN}", "Host": "some.where"}
        (described,) = httpx2.get(f"{local}/models", headers=headers).json()["models"]
        assert described["name"] == "reviews"
        with httpx2.Client() as client:  # with a token, a client has a rate
            found = {client.get(f"{local}/health").status_code for _ in range(400)}
        assert found == {200, 429}
        assert ended(process, signal.SIGTERM)[0] == 0


def test_two_models_of_one_name_get_two(model: Path) -> None:
    with started(model, model) as (_, address):
        names = [each["name"] for each in httpx2.get(f"{address}/models").json()["models"]]
        assert names == ["reviews", "reviews-2"]
        asked = {"text": "good", "model": "reviews-2"}
        assert httpx2.post(f"{address}/predict", json=asked).status_code == 200


def test_wrong_calls_end_with_one_line(model: Path, tmp_path: Path) -> None:
    assert "does not exist" in refused(tmp_path / "none.safetensors")
    assert "the limits are body_bytes, " in refused(model, "--limit", "colour=3")
    assert "is not NAME=NUMBER" in refused(model, "--limit", "texts")
    assert "the limit texts must be an integer above 0" in refused(model, "--limit", "texts=0")
    assert "the token file" in refused(model, "--token-file", tmp_path / "none")
    assert "there is no host" in refused(model, "--host", "no.such.host.invalid")


def test_json_on_the_command_line_of_curl(model: Path) -> None:
    with started(model) as (_, address):
        command = ["curl", "-s", f"{address}/predict", "--json", json.dumps({"text": "good"})]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
        except FileNotFoundError:
            pytest.skip("there is no curl")
        assert set(json.loads(done.stdout)) == {"label", "probability", "probabilities"}

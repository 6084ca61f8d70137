"""The tools of `make cross` and `make dist`: what they refuse, and what they say of what is missing."""

from __future__ import annotations

import tarfile
import zipfile
from pathlib import Path

import pytest

import stepfold
from tools import cross, try_wheel


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An x86-64 machine without anything yet, and whatever would be run fails the test."""
    monkeypatch.setattr(cross.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(cross, "FOLDER", tmp_path / "cross")
    monkeypatch.setattr(cross, "_run", lambda command: pytest.fail(f"runs {command}"))
    monkeypatch.delenv("CI", raising=False)
    return tmp_path


def test_without_debian_s_tools_a_line_says_so(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cross.shutil, "which", lambda name: None)
    assert cross.main([]) == 0
    wanted = "cross: nothing was run: it needs apt-get, which Debian and its relatives have\n"
    assert capsys.readouterr().out == wanted
    monkeypatch.setenv("CI", "true")
    assert cross.main([]) == 1
    assert capsys.readouterr().out == wanted


def test_what_a_command_says_is_passed_on(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        cross, "_debian", lambda root: cross._fetch(["sh", "-c", "echo a; echo no >&2; exit 3"], "x")
    )
    monkeypatch.setattr(cross.shutil, "which", lambda name: f"/bin/{name}")
    assert cross.main([]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "cross: nothing was run: it needs x, which said: no"
    assert not (elsewhere / "cross/complete").exists()


def test_an_arm_needs_no_emulation(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cross.platform, "machine", lambda: "aarch64")
    assert cross.main([]) == 0
    assert "`make test` runs every test on it" in capsys.readouterr().out


def test_the_emulated_python_gets_what_the_core_and_its_tests_need() -> None:
    names = [requirement.partition(">")[0] for requirement in cross._requirements()]
    assert names == ["numpy", "llvmlite", "pytest", "pytest-xdist", "hypothesis", "expecttest"]
    for name in (*cross.TESTS, *cross.LEFT_OUT):
        file, _, test = name.removeprefix("--deselect=").partition("::")
        function = test.partition("[")[0]
        assert f"def {function}" in (cross.ROOT / file).read_text("utf-8")


def built(folder: Path, leave_out: str = "", add: str = "", version: str = "") -> Path:
    """A wheel and an sdist of the files that are there, but one, and of another one."""
    version = version or stepfold.__version__
    source = cross.ROOT / "src"
    files = [path for path in (source / "stepfold").rglob("*") if path.is_file() and path.suffix != ".pyc"]
    with zipfile.ZipFile(folder / f"stepfold-{version}-py3-none-any.whl", "w") as wheel:
        for path in files:
            if path.name != leave_out:
                wheel.writestr(path.relative_to(source).as_posix(), "")
        if add:
            wheel.writestr(add, "")
        wheel.writestr(f"stepfold-{version}.dist-info/METADATA", "")
    with tarfile.open(folder / f"stepfold-{version}.tar.gz", "w:gz") as sdist:
        for path in [*files, *(cross.ROOT / name for name in ("LICENSE", "README.md", "pyproject.toml"))]:
            sdist.add(path, f"stepfold-{version}/{path.relative_to(cross.ROOT).as_posix()}")
    return folder


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"leave_out": "py.typed"}, "lacks stepfold/py.typed (1 files)"),
        ({"add": "tests/test_x.py"}, "has, unasked, tests/test_x.py (1 files)"),
        ({"version": "9.9"}, "is not of version"),
        ({}, "tried"),
    ],
)
def test_what_was_built_is_compared_with_what_is_there(
    changes: dict[str, str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def tried(wheel: Path) -> None:
        raise try_wheel.WrongError("tried")

    monkeypatch.setattr(try_wheel, "_try", tried)
    assert try_wheel.main([str(built(tmp_path, **changes))]) == 1
    assert message in capsys.readouterr().err


def test_a_folder_without_a_wheel_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert try_wheel.main([str(tmp_path)]) == 1
    assert f"{tmp_path} holds 0 files *.whl, not one" in capsys.readouterr().err

"""Run README's first block and a part of the core's tests on an emulated AArch64 processor.

    python tools/cross.py [pytest's options and files]

Everything is put into build/cross and kept there for the next time: qemu's user emulation and Debian's Python
for AArch64, both unpacked from their packages, and the wheels for AArch64 of what the tests need. Nothing is
installed, so no rights are needed; what is needed is apt-get and dpkg-deb with Debian's archive, and pip.
Where one of them is missing, a line says so and nothing is run.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "build" / "cross"
DEBIAN = ("python3", "libstdc++6")
# Debian's newer releases have the static emulator in the second package.
EMULATORS = (("qemu-user-static", "qemu-aarch64-static"), ("qemu-user", "qemu-aarch64"))
# Neoverse N1: 128-bit vectors and atomic instructions, as most ARM servers and laptops have them.
PROCESSOR = "neoverse-n1"
GLIBC = (36, 35, 34, 31, 28, 27, 24, 17)  # the second number of the versions that wheels name
# Compiling is what takes time here: few cells, but all that depends on the processor.
TESTS = (
    "tests/llvm/test_vectors.py",
    "tests/native/test_native_executors.py",
    "tests/native/test_native_programs.py",
    "tests/native/test_native_schedule.py",
    "tests/runtime/test_runtime_cells.py",
    "tests/runtime/test_runtime_cooperative.py",
    "tests/runtime/test_runtime_tokens.py",
    "tests/test_stream.py",
)
# What starts another Python is slow to begin, and has a time limit. Of all cells single precision is enough:
# its code is that of double precision with other types.
LEFT_OUT = (
    "--deselect=tests/native/test_native_executors.py::test_a_forked_child_needs_no_thread_of_its_parent",
    "--deselect=tests/runtime/test_runtime_cells.py::test_a_cell_is_its_reference[",
)


class MissingError(Exception):
    """Something that this needs is not there; the message says what."""


def main(options: Sequence[str]) -> int:
    """Run the tests and return pytest's exit status; 0 too where they cannot be run, unless CI is set."""
    if platform.machine() in ("aarch64", "arm64"):
        print("cross: this processor is an AArch64; `make test` runs every test on it")
        return 0
    try:
        python = _prepared()
    except MissingError as missing:
        print(f"cross: nothing was run: {missing}")
        return 1 if os.environ.get("CI") else 0
    block = FOLDER / "README.md"
    found = re.search(r"^```python\n.*?^```\n", (ROOT / "README.md").read_text("utf-8"), re.M | re.S)
    block.write_text(found[0] if found else "", "utf-8")
    status = _run([str(python), "tools/run_blocks.py", str(block)])
    marks = ["-m", "not slow and not exhaustive"]
    chosen = [] if any(not option.startswith("-") for option in options) else TESTS
    pytest = ["-m", "pytest", "-p", "no:cacheprovider", "-n", "2", "--dist", "worksteal", *marks]
    return status or _run([str(python), *pytest, *LEFT_OUT, *options, *chosen])


def _run(command: Sequence[str]) -> int:
    print(f"cross: {' '.join(command[1:])}", flush=True)
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(FOLDER / "startup"), str(ROOT / "src"), str(FOLDER / "site")]),
        "PYTHONDONTWRITEBYTECODE": "1",
        "XDG_CACHE_HOME": str(FOLDER / "cache"),
        "STEPFOLD_EMULATED": "1",
    }
    return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode


def _prepared() -> Path:
    """Return the emulated Python, with everything in place."""
    requirements = _requirements()
    wanted = hashlib.sha256("\n".join([Path(__file__).read_text("utf-8"), *requirements]).encode())
    stamp = FOLDER / "complete"
    if not (stamp.exists() and stamp.read_text() == wanted.hexdigest()):
        shutil.rmtree(FOLDER, ignore_errors=True)
        _unpack(requirements)
        stamp.write_text(wanted.hexdigest())
    return FOLDER / "python"


def _requirements() -> list[str]:
    """Return what the core and its tests need."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    tests = project["optional-dependencies"]["test-core"]
    return [str(each) for each in (*project["dependencies"], *tests) if not each.startswith("stepfold[")]


def _unpack(requirements: Sequence[str]) -> None:
    for tool in ("apt-get", "dpkg-deb"):
        if shutil.which(tool) is None:
            raise MissingError(f"it needs {tool}, which Debian and its relatives have")
    root = FOLDER / "root"
    print("cross: fetching the emulator, Python for AArch64 and its packages (some 150 MB)", flush=True)
    _debian(root)
    emulator = _emulator()
    found = sorted((root / "usr/bin").glob("python3.*[0-9]"))
    if not found:
        raise MissingError(f"Debian's packages {', '.join(DEBIAN)} had no Python")
    # What starts Python again, as xdist and some tests do, has to start it in the emulator.
    script = f'#!/bin/sh\nexec "{emulator}" -cpu {PROCESSOR} -L "{root}" "{found[-1]}" "$@"\n'
    python = FOLDER / "python"
    python.write_text(script, "utf-8")
    python.chmod(0o755)
    startup = FOLDER / "startup"
    startup.mkdir()
    (startup / "sitecustomize.py").write_text(f"import sys\n\nsys.executable = {str(python)!r}\n", "utf-8")
    platforms = [f"--platform=manylinux_2_{minor}_aarch64" for minor in GLIBC]
    version = f"--python-version={found[-1].name.removeprefix('python')}"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    target = ["--target", str(FOLDER / "site"), "--only-binary=:all:", "--no-compile", version, *platforms]
    _fetch([*pip, *target, *requirements], "pip and its registry")


def _debian(root: Path) -> None:
    """Unpack Debian's packages for AArch64 and all that they need, by lists and a cache of their own: the
    system's are not touched."""
    state = FOLDER / "apt"
    for part in ("lists/partial", "cache/archives/partial"):
        (state / part).mkdir(parents=True)
    (state / "status").touch()
    settings = {
        "APT::Architecture": "arm64",
        "APT::Architectures::": "arm64",
        "APT::Sandbox::User": "",
        "Dir::State": state,
        "Dir::State::status": state / "status",
        "Dir::State::lists": state / "lists",
        "Dir::Cache": state / "cache",
        "Debug::NoLocking": 1,
    }
    apt = ["apt-get", "-qq", *(f"-o{name}={value}" for name, value in settings.items())]
    # A list of some other source may be missing; if Debian's is, the next command says so.
    subprocess.run([*apt, "update"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    _fetch(
        [*apt, "--yes", "--no-install-recommends", "--download-only", "install", *DEBIAN],
        "apt-get and Debian's archive for arm64",
    )
    for package in (state / "cache/archives").glob("*.deb"):
        _fetch(["dpkg-deb", "-x", str(package), str(root)], "dpkg-deb")
    for name in ("bin", "lib"):  # which newer releases leave to a package that is not among these
        if not (root / name).exists():
            (root / name).symlink_to(f"usr/{name}")


def _emulator() -> str:
    """Return qemu's user emulator for AArch64: the system's, or one from Debian's packages."""
    for _, name in EMULATORS:
        if (installed := shutil.which(name)) is not None:
            return installed
    folder = FOLDER / "qemu"
    for package, name in EMULATORS:
        folder.mkdir(exist_ok=True)
        for old in folder.glob("*.deb"):
            old.unlink()
        if subprocess.run(
            ["apt-get", "-qq", "-oAPT::Sandbox::User=", "download", package], cwd=folder
        ).returncode:
            continue
        for archive in folder.glob("*.deb"):
            _fetch(["dpkg-deb", "-x", str(archive), str(folder)], "dpkg-deb")
        found = folder / "usr/bin" / name
        if found.exists():  # with those of all other processors, half a gigabyte
            emulator = found.rename(FOLDER / name)
            shutil.rmtree(folder)
            return str(emulator)
    raise MissingError(
        "it needs qemu-aarch64-static: apt-get install qemu-user-static (or run apt-get update)"
    )


def _fetch(command: Sequence[str], needs: str) -> None:
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        said = done.stderr.strip().splitlines()
        raise MissingError(f"it needs {needs}, which said: {said[-1] if said else done.returncode}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

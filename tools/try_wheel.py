"""Try a wheel as a new user would: in an environment of its own, away from this folder.

    python tools/try_wheel.py [FOLDER]

The folder (dist) holds one wheel and one sdist of the same version. The wheel must hold every file of
src/stepfold, and nothing else; it is installed, and the first block of README.md is run.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import venv
import zipfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]


class WrongError(Exception):
    """What was built is not what a user needs; the message says why."""


def main(arguments: Sequence[str]) -> int:
    """Return 0 if what was built is right; else say why it is not."""
    folder = Path(arguments[0] if arguments else "dist").resolve()
    try:
        wheel, sdist = _one(folder, "*.whl"), _one(folder, "*.tar.gz")
        _check_names(wheel, sdist)
        _check_content(wheel, sdist)
        _try(wheel)
    except WrongError as error:
        print(f"try_wheel: {error}", file=sys.stderr)
        return 1
    print(f"try_wheel: {wheel.name} installs, and README's first block says what it should")
    return 0


def _one(folder: Path, pattern: str) -> Path:
    found = sorted(folder.glob(pattern))
    if len(found) != 1:
        raise WrongError(f"{folder} holds {len(found)} files {pattern}, not one")
    return found[0]


def _check_names(wheel: Path, sdist: Path) -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    said = re.search(r'^__version__ = "(.*)"$', (ROOT / "src/stepfold/__init__.py").read_text("utf-8"), re.M)
    if said is None or said[1] != version:
        raise WrongError(f"pyproject.toml says version {version}, stepfold.__version__ {said and said[1]}")
    for path in (wheel, sdist):
        if not path.name.startswith(f"stepfold-{version}"):
            raise WrongError(f"{path.name} is not of version {version}")


def _check_content(wheel: Path, sdist: Path) -> None:
    source = ROOT / "src"
    files = (path for path in (source / "stepfold").rglob("*") if path.is_file())
    wanted = {path.relative_to(source).as_posix() for path in files if "__pycache__" not in path.parts}
    with zipfile.ZipFile(wheel) as archive:
        found = {name for name in archive.namelist() if ".dist-info/" not in name}
    _compare(wheel, wanted, found)
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    missing = {f"src/{name}" for name in wanted} | {"LICENSE", "README.md", "pyproject.toml"}
    _compare(sdist, missing, names & missing)


def _compare(path: Path, wanted: set[str], found: set[str]) -> None:
    for what, names in (("lacks", wanted - found), ("has, unasked,", found - wanted)):
        if names:
            raise WrongError(f"{path.name} {what} {', '.join(sorted(names)[:5])} ({len(names)} files)")


def _try(wheel: Path) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        venv.create(folder / "venv", with_pip=True)
        python = folder / "venv" / ("Scripts" if os.name == "nt" else "bin") / "python"
        _run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", wheel], folder)
        readme = (ROOT / "README.md").read_text("utf-8")
        block = re.search(r"^```python\n.*?^```\n", readme, re.M | re.S)
        if block is None:
            raise WrongError("README.md has no block of Python")
        (folder / "README.md").write_text(block[0], "utf-8")
        _run([python, ROOT / "tools" / "run_blocks.py", "README.md"], folder)


def _run(command: Sequence[str | Path], folder: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    status = subprocess.run(command, cwd=folder, env=environment, check=False).returncode
    if status:
        raise WrongError(f"{' '.join(map(str, command[1:4]))} … ended with status {status}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

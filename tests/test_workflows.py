"""The workflows, and the files beside them, name what is there."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

import stepfold

yaml = pytest.importorskip("yaml", reason="reads workflows")

ROOT = Path(__file__).parents[1]
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]


def jobs(path: Path) -> dict[str, Any]:
    """The jobs of a workflow, by name."""
    found: dict[str, Any] = yaml.safe_load(path.read_text("utf-8"))["jobs"]
    return found


def commands(path: Path) -> str:
    """All that a workflow runs."""
    steps = [step for job in jobs(path).values() for step in job["steps"]]
    return "\n".join(step["run"] for step in steps if "run" in step)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_what_a_workflow_runs_is_there(path: Path) -> None:
    text, makefile = commands(path), (ROOT / "Makefile").read_text("utf-8")
    for target in re.findall(r"\bmake ((?!/|-)[\w./,-]+)", text.replace("make python3-venv", "")):
        if target.startswith(".venv/installed-"):
            extras = target.removeprefix(".venv/installed-").split(",")
            assert set(extras) <= PROJECT["optional-dependencies"].keys()
        else:
            assert re.search(rf"^{target}:", makefile, re.M), target
    for extra in re.findall(r'"\.\[([\w-]+)\]"', text):
        assert extra in PROJECT["optional-dependencies"]
    for name in re.findall(r"@?((?:tools|tests)/[\w/]+(?:\.\w+)?)", text):
        assert (ROOT / name).exists(), name


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_every_job_has_a_time_limit_and_few_rights(path: Path) -> None:
    workflow = yaml.safe_load(path.read_text("utf-8"))
    assert workflow["permissions"] == {"contents": "read"}
    for name, job in workflow["jobs"].items():
        assert 0 < job["timeout-minutes"] <= 120, name
        assert job.get("permissions", {"id-token": "write"}) == {"id-token": "write"}
        assert ("permissions" in job) == (name == "publish")


def test_the_core_is_run_on_every_system_and_every_python_that_is_promised() -> None:
    promised = {name.rpartition(" ")[2] for name in PROJECT["classifiers"] if re.search(r":: 3\.\d+$", name)}
    for job in ("all", "core"):
        assert (
            set(jobs(ROOT / ".github/workflows/tests.yml")[job]["strategy"]["matrix"]["python"]) == promised
        )
    core = jobs(ROOT / ".github/workflows/tests.yml")["core"]["strategy"]["matrix"]
    systems = {*core["runner"], *(each["runner"] for each in core["include"])}
    assert {name.partition("-")[0] for name in systems} == {"macos", "windows", "ubuntu"}


def test_the_core_s_tests_are_there() -> None:
    names = (ROOT / "tests/core.txt").read_text("utf-8").split()
    assert names
    assert all((ROOT / name).exists() for name in names)


def test_one_version_is_named_everywhere() -> None:
    version = PROJECT["version"]
    assert stepfold.__version__ == version
    assert f"\n## {version} " in (ROOT / "CHANGELOG.md").read_text("utf-8")
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))["version"] == version

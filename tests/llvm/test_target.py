"""Targets belong to an architecture; code for systems that are not here asks of them what they have."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import llvmlite.binding as llvm
import pytest

from stepfold import cells
from stepfold._llvm import (
    KERNELS,
    Target,
    _compile,
    _support_kernels,
    _target,
    layout_for,
    support_kernel,
    support_names,
)
from stepfold._plan import plan

LINUX = {"x86_64": "x86_64-unknown-linux-gnu", "aarch64": "aarch64-unknown-linux-gnu"}
FUTEX = {"syscall", "sched_getcpu", "sched_getaffinity", "sched_setaffinity"}
"""What the workers call, which only Linux has."""
NEON, SSE = Target("generic", "", 128, 32), Target("x86-64", "", 128, 16)


@pytest.fixture
def on(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Compile for a processor and a system named by a triple; what is compiled cannot be run here."""
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()

    def use(triple: str) -> None:
        for module in (_target, _compile, _support_kernels):
            monkeypatch.setattr(module, "triple", lambda: triple)
        for cached in (_compile.machine, _target.target):
            cached.cache_clear()

    yield use
    monkeypatch.undo()
    for cached in (_compile.machine, _target.target):
        cached.cache_clear()


@pytest.mark.parametrize(
    ("triple", "names", "wrong", "message"),
    [
        (
            "aarch64-unknown-linux-gnu",
            ["host", "generic"],
            "haswell",
            "there is no target 'haswell' on aarch64; use one of 'host', 'generic'",
        ),
        (
            "arm64-apple-darwin23.5.0",
            ["host", "generic"],
            "x86-64",
            "there is no target 'x86-64' on aarch64; use one of 'host', 'generic'",
        ),
        (
            "x86_64-pc-windows-msvc-elf",
            ["host", "haswell", "x86-64"],
            "generic",
            "there is no target 'generic' on x86_64; use one of 'host', 'haswell', 'x86-64'",
        ),
        (
            "riscv64-unknown-linux-gnu",
            ["host"],
            "generic",
            "there is no target 'generic' on riscv64; use one of 'host'",
        ),
    ],
)
def test_an_architecture_has_its_own_targets(
    on: Callable[[str], None], triple: str, names: list[str], wrong: str, message: str
) -> None:
    on(triple)
    assert _target.target_names() == names
    assert [_target.target(name).width for name in names[1:]] == [256, 128][-len(names[1:]) :][
        : len(names) - 1
    ]
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        _target.target(wrong)


@pytest.mark.parametrize(
    ("kind", "features", "expected"),
    [
        ("x86_64", "", (128, 16)),
        ("x86_64", "avx2", (128, 16)),
        ("x86_64", "avx2 fma", (256, 16)),
        ("x86_64", "avx2 fma avx512f", (256, 16)),
        ("x86_64", "avx2 fma avx512f avx512vl avx512dq", (512, 32)),
        ("aarch64", "neon", (128, 32)),
        ("aarch64", "neon sve", (128, 32)),
    ],
)
def test_vectors_are_as_wide_as_the_processors(kind: str, features: str, expected: tuple[int, int]) -> None:
    assert _target.vectors_of(kind, dict.fromkeys(features.split(), True)) == expected


def test_objects_have_the_format_that_the_loader_reads() -> None:
    assert _target.object_triple("x86_64-pc-windows-msvc", "win32") == "x86_64-pc-windows-msvc-elf"
    for name, system in ((LINUX["x86_64"], "linux"), ("arm64-apple-darwin23.5.0", "darwin")):
        assert _target.object_triple(name, system) == name


def called(code: str) -> set[str]:
    """The functions that assembly calls, without those that it defines."""
    found = set(re.findall(r"^\s+(?:callq?|jmp|bl?)\s+(?!\.?L)([A-Za-z_]\w*)", code, re.MULTILINE))
    prefix = "_" if ".subsections_via_symbols" in code else ""  # of every name in macOS's objects
    return {name.removeprefix(prefix) for name in found - set(re.findall(r"^(\w+):", code, re.MULTILINE))}


@pytest.mark.parametrize("kernel", ["infer", "backward", "project"])
def test_arm_computes_in_neon(on: Callable[[str], None], kernel: str) -> None:
    on(LINUX["aarch64"])
    layout = layout_for(plan(cells.gru.step), 17, 32, NEON)
    code = _compile.assembly(KERNELS[kernel](layout).text, NEON)
    assert re.search(r"\bfmla\s+v\d+\.4s", code)
    assert called(code) == set()


@pytest.mark.parametrize(
    ("triple", "expected"),
    [
        ("x86_64-unknown-linux-gnu", {"malloc", "free", "memset", "sched_yield"} | FUTEX),
        ("aarch64-unknown-linux-musl", {"malloc", "free", "memset", "sched_yield"} | FUTEX),
        ("arm64-apple-darwin23.5.0", {"malloc", "free", "memset", "bzero", "sched_yield"}),
        # __chkstk is a function of Windows that a function with much on its stack calls first.
        ("x86_64-pc-windows-msvc-elf", {"malloc", "free", "memset", "SwitchToThread", "__chkstk"}),
    ],
)
def test_a_system_is_asked_for_functions_that_it_has(
    on: Callable[[str], None], triple: str, expected: set[str]
) -> None:
    on(triple)
    target = SSE if triple.startswith("x86") else NEON
    found: set[str] = set()
    for name in support_names(target):
        found |= called(_compile.assembly(support_kernel(name, target).text, target))
    assert found == expected

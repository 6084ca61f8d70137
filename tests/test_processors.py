"""How many processors a process may use, from affinity, cgroup quotas and OMP_NUM_THREADS."""

from __future__ import annotations

import os
import sys
import timeit
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import pytest

from stepfold import _processors
from stepfold._processors import cgroup_limit, cpu_folders, processors, quota, thread_limit

V2 = "31 23 0:28 / /sys/fs/cgroup rw,nosuid,relatime shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
V1 = """\
25 20 0:22 / /sys/fs/cgroup rw - tmpfs tmpfs ro,mode=755
32 25 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct
34 25 0:31 / /sys/fs/cgroup/cpuset rw,relatime - cgroup cgroup rw,cpuset
"""


@pytest.fixture
def fresh() -> Iterator[None]:
    """Forget what was read for this process, before and after."""
    _processors._limit.cache_clear()
    yield
    _processors._limit.cache_clear()


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("max 100000\n", None),
        ("200000 100000\n", 2),
        ("150000 100000", 2),
        ("1000 100000", 1),
        ("100001 100000", 2),
        ("50000 25000", 2),
        ("-1 100000", None),
        ("-1\n 100000\n", None),
        ("200000\n 100000\n", 2),
        ("0 100000", 1),
        ("100000 0", None),
        ("100000", None),
        ("", None),
        (" 100000", None),
        ("a b", None),
        ("1 2 3", None),
        ("²00000 100000", None),
        (f"{10**30} 100000", None),
    ],
)
def test_a_quota_is_rounded_up(text: str, count: int | None) -> None:
    assert quota(text) == count


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("4", 4),
        ("4,2", 4),
        (" 3 , 1", 3),
        ("1", 1),
        ("", None),
        ("0", None),
        ("-2", None),
        ("+2", None),
        ("two", None),
        ("2.5", None),
        (",2", None),
        ("²", None),
        ("9" * 5000, None),
    ],
)
def test_omp_num_threads_counts_if_it_is_a_positive_integer(text: str, count: int | None) -> None:
    assert thread_limit(text) == count


@pytest.mark.parametrize(
    ("groups", "mounts", "folders"),
    [
        ("0::/a/b\n", V2, [(2, "/sys/fs/cgroup/a/b"), (2, "/sys/fs/cgroup/a"), (2, "/sys/fs/cgroup")]),
        ("0::/\n", V2, [(2, "/sys/fs/cgroup")]),
        (
            "5:cpuset:/x\n4:cpu,cpuacct:/docker/c\n",
            V1,
            [
                (1, "/sys/fs/cgroup/cpu,cpuacct/docker/c"),
                (1, "/sys/fs/cgroup/cpu,cpuacct/docker"),
                (1, "/sys/fs/cgroup/cpu,cpuacct"),
            ],
        ),
        # a container that is shown its own group as the top, with the path of the whole system and without
        (
            "0::/docker/c/d\n",
            V2.replace(" / ", " /docker/c "),
            [(2, "/sys/fs/cgroup/d"), (2, "/sys/fs/cgroup")],
        ),
        ("0::/elsewhere\n", V2.replace(" / ", " /docker/c "), [(2, "/sys/fs/cgroup")]),
        ("0::/../sibling\n", V2, [(2, "/sys/fs/cgroup")]),
        ("0::/docker/cc\n", V2.replace(" / ", " /docker/c "), [(2, "/sys/fs/cgroup")]),
        # both versions, and a path with a colon and a mount with a space
        (
            "3:cpu:/p:q\n0::/\n",
            V2.replace("/sys/fs/cgroup", "/mnt/two\\040words") + V1,
            [
                (2, "/mnt/two words"),
                (1, "/sys/fs/cgroup/cpu,cpuacct/p:q"),
                (1, "/sys/fs/cgroup/cpu,cpuacct"),
            ],
        ),
        ("3:cpuset:/p\n", V1 + V2, []),
        ("", V1 + V2, []),
        ("0::/a\nnonsense\n\n", "nonsense\n\n1 2 - cgroup2\n - \n", []),
    ],
)
def test_the_folders_that_may_set_a_quota(groups: str, mounts: str, folders: list[tuple[int, str]]) -> None:
    assert list(cpu_folders(groups, mounts)) == [(v, PurePosixPath(path)) for v, path in folders]


def system(root: Path, groups: str, mounts: str, files: dict[str, str]) -> Path:
    texts = {"proc/self/cgroup": groups, "proc/self/mountinfo": mounts}
    texts |= {f"sys/fs/cgroup/{name}": text for name, text in files.items()}
    for name, text in texts.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_version_2_takes_the_least_of_a_group_and_its_ancestors(tmp_path: Path) -> None:
    root = system(tmp_path, "0::/a/b/c\n", V2, {"a/b/c/cpu.max": "max 100000\n"})
    assert cgroup_limit(root) is None
    for name, text, count in (
        ("a/b", "700000 100000\n", 7),
        ("a", "250000 100000\n", 3),
        ("a/b/c", "600000 100000\n", 3),
        ("a/b/c", "50000 100000\n", 1),
        ("sibling", "1000 100000\n", 1),
    ):
        (root / "sys/fs/cgroup" / name).mkdir(exist_ok=True)
        (root / "sys/fs/cgroup" / name / "cpu.max").write_text(text)
        assert cgroup_limit(root) == count


def test_version_1_takes_the_quota_over_the_period(tmp_path: Path) -> None:
    period, amount = "cpu,cpuacct/j/cpu.cfs_period_us", "cpu,cpuacct/j/cpu.cfs_quota_us"
    root = system(tmp_path, "4:cpu,cpuacct:/j/k\n", V1, {period: "50000\n", amount: "-1\n"})
    assert cgroup_limit(root) is None
    (root / "sys/fs/cgroup" / amount).write_text("125000\n")
    assert cgroup_limit(root) == 3
    (root / "sys/fs/cgroup" / period).unlink()
    assert cgroup_limit(root) is None


def test_a_system_without_cgroups_sets_no_limit(tmp_path: Path) -> None:
    assert cgroup_limit(tmp_path) is None
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_bytes(b"0::/\xff\n")
    assert cgroup_limit(tmp_path) is None


def test_the_least_of_all_limits_counts(fresh: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_processors, "_available", lambda: 6)
    for given, cgroup, count in (("", None, 6), ("9,2", 8, 6), ("4", 8, 4), ("5", 3, 3), ("no", 7, 6)):
        _processors._limit.cache_clear()
        monkeypatch.setenv("OMP_NUM_THREADS", given)
        monkeypatch.setattr(_processors, "cgroup_limit", lambda root, cgroup=cgroup: cgroup)
        assert processors() == count


def test_the_environment_is_read_once_and_the_affinity_in_every_call(
    fresh: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.setattr(_processors, "cgroup_limit", lambda root: None)
    monkeypatch.setattr(_processors, "_available", lambda: 8)
    assert processors() == 3
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert processors() == 3
    monkeypatch.setattr(_processors, "_available", lambda: 2)
    assert processors() == 2


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no affinity")
def test_this_process(fresh: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    allowed = os.sched_getaffinity(0)
    assert 1 <= processors() <= len(allowed)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        assert processors() == 1
    finally:
        os.sched_setaffinity(0, allowed)
    assert min(timeit.repeat(processors, number=100, repeat=20)) / 100 < 50e-6


def test_a_mac_counts_its_performance_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_processors.sys, "platform", "darwin")
    monkeypatch.setattr(_processors, "_performance_cores", lambda: 4)
    assert _processors._available() == 4
    monkeypatch.setattr(_processors, "_performance_cores", lambda: None)
    assert _processors._available() == os.cpu_count()


@pytest.mark.skipif(sys.platform == "darwin", reason="macOS has performance cores")
def test_other_systems_do_not_tell_of_performance_cores() -> None:
    assert _processors._performance_cores() is None

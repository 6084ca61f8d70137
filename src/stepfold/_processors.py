"""How many processors this process may use: affinity, cgroup quota, OMP_NUM_THREADS."""

from __future__ import annotations

import ctypes
import functools
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

_ESCAPE = re.compile(r"\\([0-7]{3})")  # how /proc/self/mountinfo writes a space, tab, line end or backslash


def processors() -> int:
    """Return how many processors this process may use, at least 1: the least of those that the calling
    thread's affinity allows, the cgroup's quota of processor time, and OMP_NUM_THREADS.

    The affinity is read in every call. The quota and OMP_NUM_THREADS are read in the first call and hold for
    the process.
    """
    available = _available()
    limit = _limit()
    return available if limit is None else min(available, limit)


def _available() -> int:
    if sys.platform == "darwin":
        return _performance_cores() or os.cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@functools.cache
def _limit() -> int | None:
    given = thread_limit(os.environ.get("OMP_NUM_THREADS", ""))
    limits = [limit for limit in (given, cgroup_limit(Path("/"))) if limit is not None]
    return min(limits, default=None)


def thread_limit(text: str) -> int | None:
    """Return the number of threads that OMP_NUM_THREADS asks for on the outermost level ("4,2": 4), None if
    it is not a positive integer."""
    first = text.split(",")[0].strip()
    if not (first.isascii() and first.isdigit() and len(first) < 10):
        return None
    return int(first) or None


def cgroup_limit(root: Path) -> int | None:
    """Return how many processors the cgroup's quota of processor time amounts to, rounded up, at least 1;
    None if there is no quota. `root` is the folder in which proc lies.

    A quota also binds the groups below its own, so the least of the group and its ancestors counts.
    """
    groups = _read(root / "proc/self/cgroup")
    mounts = _read(root / "proc/self/mountinfo")
    if groups is None or mounts is None:
        return None
    limits = [
        limit
        for version, folder in cpu_folders(groups, mounts)
        if (limit := _quota(version, root / folder.relative_to("/"))) is not None
    ]
    return min(limits, default=None)


def cpu_folders(groups: str, mounts: str) -> Iterator[tuple[int, PurePosixPath]]:
    """Yield the version and the folder of each cgroup that may set a quota of processor time: this process's
    own groups and their ancestors, as far as they can be seen.

    `groups` is the content of /proc/self/cgroup, `mounts` that of /proc/self/mountinfo.
    """
    own = _own_groups(groups)
    for line in mounts.splitlines():
        mounted, _, described = line.partition(" - ")
        fields, (kind, *options) = mounted.split(), described.split() or [""]
        version = {"cgroup": 1, "cgroup2": 2}.get(kind, 0)
        if len(fields) < 5 or version not in own:
            continue
        if version == 1 and "cpu" not in options[-1].split(","):
            continue
        shown, at = (PurePosixPath(_ESCAPE.sub(_unescaped, field)) for field in fields[3:5])
        # A container may see a part of the tree that its own path is not in; then the top of the part is the
        # nearest group that can be seen.
        group = own[version]
        seen = group.is_relative_to(shown) and ".." not in group.parts
        folder = at / group.relative_to(shown) if seen else at
        while folder != at:
            yield version, folder
            folder = folder.parent
        yield version, at


def _own_groups(groups: str) -> dict[int, PurePosixPath]:
    """Return this process's group by the version of cgroups; of version 1, that of the controller "cpu"."""
    own = {}
    for line in groups.splitlines():
        hierarchy, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if hierarchy == "0" and not controllers:
            own[2] = PurePosixPath(path)
        elif "cpu" in controllers.split(","):
            own[1] = PurePosixPath(path)
    return own


def _unescaped(found: re.Match[str]) -> str:
    return chr(int(found[1], 8))


def _quota(version: int, folder: Path) -> int | None:
    if version == 2:
        return quota(_read(folder / "cpu.max") or "")
    period = _read(folder / "cpu.cfs_period_us") or ""
    return quota(f"{_read(folder / 'cpu.cfs_quota_us') or ''} {period}")


def quota(text: str) -> int | None:
    """Return how many processors a quota amounts to, rounded up, at least 1; None if it sets no limit.

    `text` is a quota and a period in microseconds: the content of version 2's cpu.max, or those of version
    1's cpu.cfs_quota_us and cpu.cfs_period_us. "max" and -1 stand for no limit.
    """
    parts = text.split()
    if len(parts) != 2 or not all(part.isascii() and part.isdigit() and len(part) < 19 for part in parts):
        return None
    time, period = map(int, parts)
    return max(1, -(-time // period)) if period else None


def _read(path: Path) -> str | None:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return None


@functools.cache
def _performance_cores() -> int | None:
    """Return the number of performance cores, None if the system does not tell them from others."""
    try:
        sysctlbyname = ctypes.CDLL(None).sysctlbyname
    except (AttributeError, OSError, TypeError):
        return None
    sysctlbyname.argtypes = [
        ctypes.c_char_p,
        ctypes.c_void_p,
        ctypes.POINTER(ctypes.c_size_t),
        ctypes.c_void_p,
        ctypes.c_size_t,
    ]
    count = ctypes.c_int32(0)
    size = ctypes.c_size_t(ctypes.sizeof(count))
    failed = sysctlbyname(b"hw.perflevel0.physicalcpu", ctypes.byref(count), ctypes.byref(size), None, 0)
    return None if failed or size.value != ctypes.sizeof(count) or count.value < 1 else count.value

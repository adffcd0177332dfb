"""How many CPU cores this process may use, which may be fewer than the machine has."""

import math
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

CGROUP_ROOT = Path("/sys/fs/cgroup")
OWN_CGROUPS = Path("/proc/self/cgroup")


def usable_cores() -> int:
    """Cores that threads can be spread over, at least 1.

    `taskset` and cpusets leave a process some of the machine's cores; a container's limit (`docker run --cpus 2`,
    `resources.limits.cpu` of Kubernetes) is a quota of processor time over all of them. A part of a core counts as one.
    """
    affinity = getattr(os, "sched_getaffinity", None)  # Linux has it
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    return max(min([cores, *(math.ceil(quota) for quota in _quotas())]), 1)


def _quotas() -> Iterator[float]:
    """The cores' worth of time that each control group above this process allows."""
    try:
        lines = OWN_CGROUPS.read_text("utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        number, controllers, path = line.split(":", 2)
        # A container may see its own group as the root of what is mounted, while the path is the host's.
        groups = [PurePosixPath(path.strip("/")), *PurePosixPath(path.strip("/")).parents]
        if number == "0" and not controllers:
            yield from (quota for group in groups if (quota := _quota(CGROUP_ROOT / group / "cpu.max")))
        elif "cpu" in controllers.split(","):
            for mount in {"cpu", controllers}:
                yield from (quota for group in groups if (quota := _quota_of_version_1(CGROUP_ROOT / mount / group)))


def _quota(path: Path) -> float | None:
    """Of version 2: the two numbers of `cpu.max`, microseconds in a period; None for `max`, or where it is not read."""
    try:
        quota, period = path.read_text("utf-8").split()
        return int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return None


def _quota_of_version_1(group: Path) -> float | None:
    try:
        quota = int((group / "cpu.cfs_quota_us").read_text("utf-8"))
        return quota / int((group / "cpu.cfs_period_us").read_text("utf-8")) if quota > 0 else None
    except (OSError, ValueError, ZeroDivisionError):
        return None

"""Cores that a process may use: those of taskset and cpusets, and a container's quota, whichever is fewer."""

import os
from pathlib import Path

import pytest

from stages import cores
from stages.cores import usable_cores


@pytest.fixture
def groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with eight cores, and no control group that limits it."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setattr(cores, "CGROUP_ROOT", tmp_path)
    monkeypatch.setattr(cores, "OWN_CGROUPS", tmp_path / "own")
    return tmp_path


def _write(root: Path, own: str, quotas: dict[str, str]) -> None:
    (root / "own").write_text(own)
    for group, text in quotas.items():
        (root / group).mkdir(parents=True, exist_ok=True)
        (root / group / "cpu.max").write_text(text)


def test_affinity_counts_where_no_group_limits(groups: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert usable_cores() == 8  # no control groups at all
    _write(groups, "0::/user.slice\n", {"user.slice": "max 100000\n", ".": "nonsense"})
    assert usable_cores() == 8
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {5}, raising=False)
    assert usable_cores() == 1


def test_a_machine_that_has_no_affinity_counts_its_cores(groups: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 10)
    assert usable_cores() == 10


@pytest.mark.parametrize(
    ("quota", "expected"), [("200000 100000", 2), ("150000 100000", 2), ("5000 100000", 1), ("9900000 100000", 8)]
)
def test_a_containers_quota_counts(groups: Path, quota: str, expected: int) -> None:
    _write(groups, "0::/\n", {".": quota})
    assert usable_cores() == expected


def test_the_tightest_of_nested_groups_counts(groups: Path) -> None:
    _write(groups, "0::/a/b\n", {"a/b": "max 100000", "a": "300000 100000", ".": "700000 100000"})
    assert usable_cores() == 3


@pytest.mark.parametrize("mount", ["cpu", "cpu,cpuacct"])
@pytest.mark.parametrize("group", ["docker/12ab", "."])  # the host's path, also where the container's own is mounted
def test_the_first_version_of_control_groups_counts(groups: Path, mount: str, group: str) -> None:
    _write(groups, "4:memory:/docker/12ab\n1:cpu,cpuacct:/docker/12ab\n0::/\n", {})
    folder = groups / mount / group
    folder.mkdir(parents=True)
    (folder / "cpu.cfs_period_us").write_text("100000\n")
    (folder / "cpu.cfs_quota_us").write_text("-1\n")
    assert usable_cores() == 8
    (folder / "cpu.cfs_quota_us").write_text("250000\n")
    assert usable_cores() == 3

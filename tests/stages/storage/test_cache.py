"""A cache folder that cannot be used is named with its variable; what can do without it does."""

import os
from pathlib import Path

import pytest

from configs.catalogue import Wheel
from configs.errors import StoreError
from filters.text import ngrams
from model.weights import resolve
from pipeline import cli, exit_codes
from stages.storage import packages, snapshot

WHEEL = Wheel.model_construct(package="x", version="1", sha256="0" * 64, member="a/b", index="pypi")


def fetch_package() -> None:
    packages.fetch(WHEEL)


def convert_weights() -> None:
    resolve._converted("x", "0" * 64, lambda folder: None)


def fetch_shard() -> None:
    snapshot._cached(None, {"sha256": "0" * 64, "bytes": 1, "file": "x"}, packages.cache_folder() / "shards")


def index_evaluation() -> None:
    with packages.using_cache():
        ngrams._write(packages.cache_folder() / "evaluation" / "x.npy", ngrams.np.zeros(1))


@pytest.fixture(params=["missing", "file", "below a file"])
def cache(request, tmp_path, monkeypatch) -> Path:
    file = tmp_path / "file"
    file.write_text("x")
    folder = {"missing": Path("/proc/x"), "file": file, "below a file": file / "cache"}[request.param]
    monkeypatch.setenv("GRISTMILL_CACHE", str(folder))
    return folder


@pytest.mark.parametrize("use", [fetch_package, convert_weights, fetch_shard, index_evaluation])
def test_a_cache_that_cannot_be_used_is_named(use, cache) -> None:
    with pytest.raises(StoreError) as caught:
        use()
    assert f"cannot use {cache} (" in str(caught.value)
    assert "set GRISTMILL_CACHE to a folder" in str(caught.value)


def test_an_error_of_another_file_is_left_as_it_is(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("GRISTMILL_CACHE", str(tmp_path))
    with pytest.raises(FileNotFoundError):
        resolve._converted("x", "0" * 64, lambda folder: Path("/nowhere/weights").read_bytes())


def test_a_user_without_a_home_is_told_what_to_set(monkeypatch) -> None:
    def home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    for name in ("GRISTMILL_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", home)
    with pytest.raises(StoreError, match="no home folder; set GRISTMILL_CACHE"):
        packages.cache_folder()


def test_hashes_are_known_without_a_cache(cache, tmp_path) -> None:
    weights = tmp_path / "weights"
    weights.write_bytes(b"x")
    assert len(resolve._sha256_of([weights])) == 64


def test_the_command_line_says_it_in_one_line(cache, tmp_path, capsys) -> None:
    line = ["preview", "--config", "laptop", "--set", f"out={tmp_path / 'out'}"]
    assert cli.main(line) == exit_codes.FAILED
    (said,) = [each for each in capsys.readouterr().err.splitlines() if "cache" in each]
    assert f"cannot use {cache} (" in said
    assert cli.main(["doctor"]) == exit_codes.DONE
    assert "set GRISTMILL_CACHE to a folder" in " ".join(capsys.readouterr().out.split())


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_cache_serves_what_it_has(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("GRISTMILL_CACHE", str(tmp_path))
    (tmp_path / "models" / f"x-{'0' * 12}").mkdir(parents=True)
    tmp_path.chmod(0o555)
    assert resolve._converted("x", "0" * 64, lambda folder: None).is_dir()


@pytest.mark.parametrize(
    "line",
    [
        ["run", "--config", "echo", "--set", "out=/proc/x"],
        ["train", "--config", "laptop", "--data", "/nowhere", "--set", "out=/proc/x"],
        ["schedule", "emit", "cron", "--config", "echo", "--set", "out=/proc/x", "--write", "/proc/x"],
        ["store", "verify", "--out", "/proc/x"],
        ["audit", "2026-01-02", "--out", "/proc/x"],
        ["report", "--out", "/proc/x"],
    ],
    ids=lambda line: line[0],
)
def test_a_folder_that_cannot_be_written_is_no_traceback(line, capsys) -> None:
    assert cli.main(line) in (exit_codes.FAILED, exit_codes.USAGE)
    assert capsys.readouterr().err


def test_an_error_of_the_system_names_its_file(finished, tmp_path, monkeypatch, capsys) -> None:
    def refuse(*_) -> None:
        raise PermissionError(13, "Permission denied", "/read-only/report.html")

    monkeypatch.setattr("pipeline.pages.report.write_report", refuse)
    monkeypatch.setattr("pipeline.commands.report.write_report", refuse, raising=False)
    assert cli.main(["report", "2026-01-02", "--out", str(finished.out)]) == exit_codes.FAILED
    assert "/read-only/report.html: Permission denied; fix it" in capsys.readouterr().err

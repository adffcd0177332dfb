"""What this machine can run, what is missing, and the command that fixes it."""

import importlib.util
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from configs.errors import StoreError
from stages.cores import usable_cores
from stages.storage.packages import cache_folder, using_cache

GIB = 1 << 30


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was checked. `state` is ok, missing (a run needs it) or note (a run does without it)."""

    what: str
    state: str
    detail: str
    fix: str = ""


def inspect_machine(config: str | None) -> list[Finding]:
    """Checks Python, packages, hardware, backends and caches; with a config, also what that config needs."""
    findings = [finding for check in (_python, _packages, _machine, _device, _engines, _cache) for finding in check()]
    return findings + (_config(config) if config else [])


def _python() -> Iterator[Finding]:
    version = platform.python_version()
    good = (3, 11) <= sys.version_info[:2] <= (3, 12)
    yield Finding("Python", "ok" if good else "missing", version, "" if good else "use Python 3.11 or 3.12")


def _packages() -> Iterator[Finding]:
    for name, module in (
        ("Beam", "apache_beam"),
        ("pyarrow", "pyarrow"),
        ("torch", "torch"),
        ("transformers", "transformers"),
        ("peft", "peft"),
        ("pip", "pip"),
    ):
        installed = importlib.util.find_spec(module) is not None
        yield Finding(
            name,
            "ok" if installed else "missing",
            "installed" if installed else "not installed",
            "" if installed else "pip install -r requirements.lock",
        )


def _machine() -> Iterator[Finding]:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    yield Finding("machine", "ok", f"{usable_cores()} cores, {memory / GIB:.0f} GiB memory")
    free = shutil.disk_usage(Path.cwd()).free
    enough = free > 5 * GIB
    yield Finding(
        "disk",
        "ok" if enough else "note",
        f"{free / GIB:.0f} GiB free here",
        "" if enough else "free space, or set --out elsewhere",
    )


def _device() -> Iterator[Finding]:
    if importlib.util.find_spec("torch") is None:
        return
    import torch

    from model.device import choose_device

    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            gpu = torch.cuda.get_device_properties(index)
            yield Finding("GPU", "ok", f"{gpu.name}, {gpu.total_memory / GIB:.0f} GiB")
    else:
        yield Finding("GPU", "note", "none: generation runs on the CPU", "")
        bf16 = choose_device("auto")[1] is torch.bfloat16
        yield Finding(
            "bfloat16", "ok" if bf16 else "note", "fast on this CPU" if bf16 else "slow on this CPU: float32 is used"
        )


def _engines() -> Iterator[Finding]:
    from model import backends

    for name in backends.BACKENDS:
        readiness = backends.get(name).readiness()
        state = "ok" if readiness.ready else "note"
        yield Finding(name, state, f"generator backend, {readiness.detail}", readiness.fix)


def _cache() -> Iterator[Finding]:
    try:
        folder = cache_folder()
        with using_cache():
            folder.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=folder).close()
            size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    except StoreError as error:
        yield Finding("cache", "note", "", str(error))
    else:
        yield Finding("cache", "ok", f"{folder}, {size / 1e6:.0f} MB of models and texts")


def _config(path: str) -> list[Finding]:
    from configs.errors import GristmillError
    from configs.load import load
    from pipeline.run.resolve import resolve_models
    from pipeline.store.remote import stamp, utc_now
    from stages import seeds
    from stages.storage.bucket import Bucket

    def attempt(what: str, check: Callable[[], str]) -> Finding:
        try:
            return Finding(what, "ok", check())
        except GristmillError as error:
            return Finding(what, "missing", "", str(error))

    try:
        config = load(path)
    except GristmillError as error:
        return [Finding("config", "missing", "", str(error))]

    def probed(url: str) -> str:
        Bucket.open(url).probe(stamp(utc_now()))
        return f"{url} honours conditional puts"

    url = config.publish and config.publish.to
    return [
        Finding("config", "ok", path),
        *([attempt("publish", lambda: probed(url))] if url else []),
        attempt("models", lambda: resolve_models(config).generator.name),
        attempt(
            "seeds", lambda: f"{len({(f.domain, f.place, f.file.url) for f in seeds.list_sources(config).files})} files"
        ),
    ]

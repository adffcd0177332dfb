"""One date's run: begin or resume it, keep its driver alive, say how it ended.

The driver works in a child process group. When it dies or commits nothing for `run.stall_timeout_s`, the group is
killed and started again; what is committed is skipped. The supervisor itself holds no work and may be killed too:
the driver notices and ends, and the next `gristmill run` goes on. When a stop is asked for, a file in the run folder
tells the workers to begin no shard; those at work have `run.grace_s` to end.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from configs import load
from configs.errors import ConfigError, StoreError
from configs.schema import Config
from model import backends
from pipeline.run.cleanup import forget_attempts, tidy
from pipeline.run.shutdown import Stop
from pipeline.store.dataset import DataSet
from stages.ports import ModelCard
from stages.storage.atomic import write_text
from stages.storage.records import FileRef, ShardRecord, stop_path

_FULL_BELOW = 1 << 20  # bytes
POLL_S = 0.2
# Beam starts threads anew for each stage; Arrow's own allocator and glibc's many arenas keep what ended ones freed.
ALLOCATORS = {"ARROW_DEFAULT_MEMORY_POOL": "system", "MALLOC_ARENA_MAX": "2"}
PACKAGES = ("gristmill", "apache-beam", "pyarrow", "torch", "transformers", "peft")  # and those of the backend


@dataclass(frozen=True, slots=True)
class Models:
    """The models of a config, found and hashed, not loaded."""

    config: Config  # with backend `auto` resolved
    generator: ModelCard
    encoder: ModelCard | None
    filters: dict[str, str]  # by name, the hash of what a filter reads besides its options


@dataclass(slots=True)
class Result:
    """How a run ended: done, nothing (no work was left), deferred (stopped, resumable) or failed."""

    status: str
    manifest: dict[str, Any] | None = None
    error: str = ""
    notes: list[str] = field(default_factory=list)


def find_models(config: Config) -> Models:
    """Fetches and converts what is not cached yet. Raises ConfigError or InputError naming the model."""
    from filters.build import data_hashes
    from model.encoder.weights import identify_encoder

    card = backends.identify(config.generator)
    generator = config.generator.model_copy(update={"backend": card.backend})
    encoder = config.screen.encoder
    encoder_card = identify_encoder(encoder) if encoder else None
    read = data_hashes(config.screen.filters, encoder_card.name if encoder_card else "")
    return Models(config.model_copy(update={"generator": generator}), card, encoder_card, read)


def fingerprint(models: Models) -> str:
    cards = (models.generator, models.encoder)
    hashes = [(card.sha256, card.tokenizer_sha256) if card else ("", "") for card in cards]
    return load.fingerprint(models.config, *hashes, models.filters)


def run(
    models: Models, date: str, *, force: bool, beam_args: Sequence[str], watch: Callable[[Path], None], stop: Stop
) -> Result:
    """Runs or resumes a date; `watch` is called with the run folder a few times a second.

    Raises ConfigError when the date belongs to another configuration, StoreError (HeldError) when it is held.
    """
    data = DataSet.open(models.config.out)
    mark = fingerprint(models)
    finished = _finished(data, date, force)
    folder = data.run_folder(date)
    if finished is not None and finished["fingerprint"] == mark and not force:
        if (folder / "run.json").exists():  # else it was deleted, as it may be
            tidy(data, date)
        return Result("nothing", finished, notes=[f"{date} is finished with this configuration: nothing to do"])
    lock = data.lock(date)
    try:
        begun = _begun(folder)
        owner = finished or owner_of(data, date)
        if owner is not None and owner["fingerprint"] != mark and not force:
            changed = _changes(folder, models.config)
            raise ConfigError(
                f"{date} {'was finished' if finished else 'is begun'} with another configuration"
                f"{f' ({changed})' if changed else ''}; "
                "--force makes it anew with this one; what is still valid is kept"
            )
        same = begun if begun is not None and begun["fingerprint"] == mark else None
        _forgive(folder)
        _begin(data, folder, models, date, mark, same)
        return _supervise(data, folder, date, mark, models.config, lock, beam_args, watch, stop)
    except OSError as error:
        raise StoreError(
            f"{error.filename or folder}: {error.strerror}; mend it and run the same command again"
        ) from None
    finally:
        os.close(lock)


def _finished(data: DataSet, date: str, force: bool) -> dict[str, Any] | None:
    try:
        return data.manifest(date)
    except StoreError:
        if not force:
            raise
        return None  # damaged: the date is published anew from what is committed


def owner_of(data: DataSet, date: str) -> dict[str, Any] | None:
    """The manifest of a finished date, `run.json` of one that has made something; nothing made: nothing to lose."""
    folder = data.run_folder(date)
    return data.manifest(date) or (_begun(folder) if any(folder.glob("stages/*/part-*.json")) else None)


def _begun(folder: Path) -> dict[str, Any] | None:
    try:
        return json.loads((folder / "run.json").read_text("utf-8"))
    except FileNotFoundError:
        return None
    except ValueError:
        raise StoreError(
            f"{folder / 'run.json'}: damaged; remove it and run again: committed shards are kept"
        ) from None


def _forgive(folder: Path) -> None:
    """A start by the user tries again what an earlier start gave up: the cause may be mended."""
    for record in folder.glob("stages/*/part-*.json"):
        if ShardRecord.read(record).error:
            record.unlink()
    forget_attempts(folder)


def _begin(data: DataSet, folder: Path, models: Models, date: str, mark: str, same: dict[str, Any] | None) -> None:
    """Writes what the driver reads: this start's runner and limits, the seeds and keys of other dates.

    A date that is begun keeps what it knew of other dates' seeds once it has chosen its own, since dates that came
    later passed these over. One that was finished keeps all that it knew: it is to be the same again.
    """
    config = models.config
    cores = len(os.sched_getaffinity(0))
    past = data.history(date)
    finished = data.manifest_path(date).exists()
    if same and (finished or data.chosen(date)):
        past = replace(past, used=_known(same["used"], past.used))
    if same and finished:
        past = replace(past, index=_known(same["index"], past.index))
    write_text(folder / "config.yaml", load.dump(config))
    packages = PACKAGES + backends.get(models.generator.backend).packages
    begun = {
        "date": date,
        "run_id": f"{date}-{mark}",
        "fingerprint": mark,
        "begun": same["begun"] if same else datetime.now(UTC).isoformat(timespec="seconds"),
        "generator": asdict(models.generator),
        "encoder": asdict(models.encoder) if models.encoder else None,
        "filters": models.filters,
        "threads": config.generator.threads or max(cores // config.run.workers, 1),
        "used": past.used,
        "index": past.index,
        "versions": {name: metadata.version(name) for name in packages if _installed(name)},
    }
    write_text(folder / "run.json", json.dumps(begun, indent=1))


def _known(refs: list[Any], now: list[FileRef]) -> list[FileRef]:
    """The same files where they are now: what was chosen then may be published since."""
    place = {ref.sha256: ref for ref in now}
    return [place.get(ref.sha256, ref) for ref in (FileRef(*ref) for ref in refs)]


def _supervise(
    data: DataSet,
    folder: Path,
    date: str,
    mark: str,
    config: Config,
    lock: int,
    beam_args: Sequence[str],
    watch: Callable[[Path], None],
    stop: Stop,
) -> Result:
    result = folder / "result.json"
    seen: set[str] | None = None
    stop_path(folder).unlink(missing_ok=True)
    left = ""
    while not stop.reason:
        result.unlink(missing_ok=True)
        child, pipe = _start(folder, lock, beam_args)
        try:
            stalled = _wait(child, folder, config.run.stall_timeout_s, stop, watch)
        finally:
            _kill(child)
            os.close(pipe)
        if result.exists():
            said = json.loads(result.read_text("utf-8"))
            if said["status"] != "deferred":
                forget_attempts(folder)
                return _ended(data, date, mark, said)
            left = f": {said['left']}"
        now = _progress(folder)
        if seen == now and not stop.reason:
            why = "stalled" if stalled else f"ended with code {child.returncode}"
            if shutil.disk_usage(folder).free < _FULL_BELOW:  # the driver found no room for its own word
                why = f"found {folder} full; free space, then run the same command again. It {why}"
            return Result("failed", error=f"the driver {why} twice at the same place: {_log_tail(folder)}")
        seen = now
    forget_attempts(folder)
    stopped = f"stopped ({stop.reason}){left}; committed shards are kept: the same command goes on from them"
    return Result("deferred", notes=[stopped])


def _start(folder: Path, lock: int, beam_args: Sequence[str]) -> tuple[subprocess.Popen[bytes], int]:
    hear, hold = os.pipe()
    environment = {"TOKENIZERS_PARALLELISM": "true"} | ALLOCATORS | os.environ | {"GRISTMILL_PIPE": str(hear)}
    with (folder / "log.txt").open("ab") as log:
        child = subprocess.Popen(
            [sys.executable, "-m", "pipeline.run.driver", str(folder), *beam_args],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            pass_fds=(lock, hear),
            env=environment,
        )
    os.close(hear)
    return child, hold


def _wait(
    child: subprocess.Popen[bytes], folder: Path, limit: float, stop: Stop, watch: Callable[[Path], None]
) -> bool:
    """Until the driver ends, it is to end at once, or nothing is committed for `limit` seconds (then True)."""
    state, since, told = _progress(folder), time.monotonic(), False
    while child.poll() is None and not stop.at_once:
        if stop.draining and not told:
            write_text(stop_path(folder), stop.reason)
            told = True
        time.sleep(POLL_S)
        watch(folder)
        now = _progress(folder)
        if now != state:
            state, since = now, time.monotonic()
        if time.monotonic() - since > limit:
            return True
    return False


def _kill(child: subprocess.Popen[bytes]) -> None:
    """The whole group: workers and engines of a dead driver go with it."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def _progress(folder: Path) -> set[str]:
    """Names of records and attempts: they change when a shard starts or is committed."""
    names: set[str] = set()
    for stage in (folder / "stages").glob("*"):
        names.update(
            f"{stage.name}/{name}" for name in os.listdir(stage) if name.endswith(".json") or ".attempt-" in name
        )
    return names


def _ended(data: DataSet, date: str, mark: str, said: dict[str, Any]) -> Result:
    if said["status"] != "done":
        return Result(said["status"], error=said.get("error", ""), notes=said.get("notes", []))
    manifest = data.manifest(date)
    if manifest is None or manifest["fingerprint"] != mark:
        return Result("failed", error=f"{data.manifest_path(date)}: missing after the run; run again")
    return Result("done", manifest, notes=manifest["notes"])


def _changes(folder: Path, config: Config) -> str:
    """The config paths that differ from what the date was begun with."""
    try:
        keys = load.changed_keys(load.load(str(folder / "config.yaml")), config)
    except ConfigError:
        return ""
    return ", ".join(keys[:5]) or "a model or filter file differs"


def _log_tail(folder: Path) -> str:
    lines = (folder / "log.txt").read_text("utf-8", "replace").strip().splitlines()
    return (lines or ["it said nothing"])[-1][:500] + f" (see {folder / 'log.txt'})"


def _installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True

"""`prepare`: what a training is, compared with what its folder already contains, before anything is written."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from configs.errors import ConfigError
from configs.schema.training import Training
from model.data.shards import HeldOutRule
from model.data.training_record import TrainingRecord
from model.data.vocabulary import Vocabulary
from model.training import checkpoint
from model.training.checkpoint import Checkpoint
from model.training.identity import Changes, are_allowed, build_identity, describe, find_changes
from model.training.model_config import build_model_config
from model.training.starting_point import StartingPoint

RESULT_FILE = "result.json"
_ANY_VOCABULARY = 64  # sizes are checked before the vocabulary is known


@dataclass(frozen=True, slots=True)
class Preparation:
    """How a training goes on."""

    identity: Mapping[str, Any]
    rule: HeldOutRule  # which rows are held out
    tokenizer: Path | None  # a tokenizer.json or its folder; None: one is trained
    start: StartingPoint | None  # where the weights of step 0 are from; None: drawn, or a checkpoint is resumed
    resumed: Checkpoint | None
    changes: Changes  # from the resumed checkpoint's configuration
    result: dict[str, Any] | None  # of a training that has finished; None: there are steps left


def prepare(config: Training, shards: Sequence[Path], *, allow_changes: bool) -> Preparation:
    """Reads the folder of a training and decides how it goes on. Changes nothing on disk.

    Args:
        config: the training's configuration.
        shards: published Parquet files.
        allow_changes: whether rates, schedule, steps and precision may differ from the newest checkpoint's.

    Raises:
        ConfigError: the configuration cannot be used, or the folder contains another training; the message names what
            differs.
        InputError: a shard, the tokenizer, a checkpoint or the starting point cannot be used.
    """
    out = Path(config.out)
    sizes = build_model_config(config.model, _ANY_VOCABULARY)
    resumed = checkpoint.latest(out)
    finished = TrainingRecord.read(out / "model")
    if finished is None and resumed is None and (out / "model").is_dir():
        raise ConfigError(
            f"{out / 'model'}: a model of an earlier version of Gristmill; give another --out, with --start-from "
            f"{out / 'model'} to begin with its weights"
        )
    known = resumed.record if resumed else finished
    tokenizer = Path(config.data.tokenizer) if config.data.tokenizer else None
    rule, start, start_sha256 = HeldOutRule(config.data.held_out), None, None
    if config.start_from:
        if known and not Path(config.start_from).is_dir():  # what it started from is gone: it goes on without it
            start_sha256, by = known.identity["start_from"], known.held_out.by
        else:
            start = StartingPoint.open(config.start_from)
            start.check(sizes, config.data.held_out)
            _check_tokenizer(tokenizer, start, config.data.eos)
            start_sha256, by = start.sha256, start.held_out.by if start.held_out else "document"
        rule = HeldOutRule(config.data.held_out, by)
        tokenizer = start.folder if start else resumed.folder if resumed else out / "model"
    tokenizer_sha256 = Vocabulary.open(tokenizer, config.data.eos).sha256 if tokenizer else None
    identity = build_identity(config, sizes, shards, rule, tokenizer_sha256, start_sha256)
    changes = find_changes(known.identity, identity) if known else {}
    if changes and not (allow_changes and are_allowed(changes) and resumed):
        folder = resumed.folder if resumed else out / "model"
        raise ConfigError(_refusal(folder, out, changes, has_checkpoint=resumed is not None))
    result = _result(out, finished) if finished and not find_changes(finished.identity, identity) else None
    return Preparation(identity, rule, tokenizer, None if resumed else start, resumed, changes, result)


def _result(out: Path, finished: TrainingRecord) -> dict[str, Any] | None:
    """Returns the result on disk, if it and the model are whole."""
    if finished.step < finished.steps or finished.damaged_file(out / "model"):
        return None
    try:
        result = json.loads((out / RESULT_FILE).read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return result if isinstance(result, dict) and result.get("steps") == finished.steps else None


def _check_tokenizer(given: Path | None, start: StartingPoint, eos: str | None) -> None:
    if given and Vocabulary.open(given, eos).sha256 != Vocabulary.open(start.folder, eos).sha256:
        raise ConfigError(
            f"data.tokenizer: {given} is not the tokenizer of {start.folder}, whose weights belong to its own; "
            "leave data.tokenizer out"
        )


def _refusal(folder: Path, out: Path, changes: Changes, *, has_checkpoint: bool) -> str:
    kind = "other shards" if set(changes) == {"shards"} else "another configuration"
    what = f"a checkpoint of {kind}" if has_checkpoint else f"a model of {kind}"
    fixes = [f"use theirs ({out / 'config.yaml'})" if kind == "another configuration" else "give the same data"]
    if has_checkpoint and are_allowed(changes):
        fixes.append("--allow-changes to go on from it with the new values")
    fixes.append(f"--out DIR --start-from {folder} for a new training that starts with its weights")
    fixes.append("another --out for one from scratch")
    return f"{folder}: {what}: {describe(changes)}; {', or '.join(fixes)}"

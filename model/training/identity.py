"""What the weights of a training depend on, and how two trainings differ, in words that name the configuration's keys.

A checkpoint is resumed only by a training with the same identity. Versions of libraries, paths, what is logged and
saved, and how ranks and micro-batches divide the work are not part of it.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from configs.schema.training import Training
from model.data.shards import HeldOutRule, shard_sha256
from model.lm import DsaConfig
from model.training.model_config import size_fields

# Keys that --allow-changes lets a resumed training have other values for.
CHANGEABLE = ("optimizer.", "schedule.", "steps", "precision")
MAX_NAMED_SHARDS = 3
Changes = Mapping[str, tuple[Any, Any]]  # by key: the value of the checkpoint and the new one


def build_identity(
    config: Training,
    model_config: DsaConfig,
    shards: Sequence[Path],
    rule: HeldOutRule,
    tokenizer: str | None,
    start: str | None,
) -> dict[str, Any]:
    """Returns the identity, as JSON types.

    Args:
        config: the training's configuration.
        model_config: the model's sizes; its vocabulary follows from the rest.
        shards: the data.
        rule: which rows are held out.
        tokenizer: sha256 of a tokenizer that exists already; None where one is trained.
        start: sha256 of the weights that the training starts from; None: drawn at random.
    """
    dumped = config.model_dump(mode="json")
    return {
        **{name: dumped[name] for name in ("seed", "steps", "optimizer", "schedule", "precision")},
        "batch": {"length": config.batch.length, "sequences": config.batch.sequences},
        "model": size_fields(model_config),
        "data": {
            "vocabulary": config.data.vocabulary if tokenizer is None else None,
            "tokenizer": tokenizer,
            "eos": config.data.eos,
            "held_out": rule.share,
            "held_out_by": rule.by,
        },
        "start_from": start,
        "shards": {shard_sha256(path): str(path) for path in shards},
    }


def find_changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> Changes:
    """Returns the keys whose values differ, as dotted paths. The shards are one key, `shards`."""
    old, new = _flat(before), _flat(now)
    changes = {key: (old.get(key), new.get(key)) for key in {**old, **new} if old.get(key) != new.get(key)}
    if set(before["shards"]) != set(now["shards"]):
        changes["shards"] = (before["shards"], now["shards"])
    return changes


def describe(changes: Changes) -> str:
    """Returns what differs, for a message."""
    parts = [f"{key} is {old!r} there and {new!r} now" for key, (old, new) in changes.items() if key != "shards"]
    if "shards" in changes:
        old, new = changes["shards"]
        added, missing = (
            [path for sha256, path in some.items() if sha256 not in others] for some, others in ((new, old), (old, new))
        )
        words = [
            f"{len(paths)} {word} ({_names(paths)})" for paths, word in ((added, "new"), (missing, "missing")) if paths
        ]
        parts.append(f"of the shards {' and '.join(words)}")
    return "; ".join(parts)


def are_allowed(changes: Changes) -> bool:
    """Whether a training may be resumed with these changes, where the user allows changes."""
    return all(key.startswith(CHANGEABLE) and key != "optimizer.name" for key in changes)


def _names(paths: Sequence[str]) -> str:
    named = ", ".join(sorted(paths)[:MAX_NAMED_SHARDS])
    return named if len(paths) <= MAX_NAMED_SHARDS else f"{named} …"


def _flat(identity: Mapping[str, Any]) -> dict[str, Any]:
    flat = {}
    for key, value in identity.items():
        if key == "shards":
            continue
        if isinstance(value, Mapping):
            flat |= {f"{key}.{name}": inner for name, inner in value.items()}
        else:
            flat[key] = value
    return flat

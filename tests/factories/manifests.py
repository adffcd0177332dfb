"""Manifests and domain figures with plain values; a test names what it is about."""

from typing import Any

from pipeline.store.manifest import DomainFigures, Manifest
from stages.ports import ModelCard


def domain_figures(**changes: Any) -> DomainFigures:
    values: dict[str, Any] = {
        "generated": 0, "accepted": 0, "quarantined": 0, "text_bytes": 0, "shard_bytes": 0, "prompt_tokens": 0,
        "output_tokens": 0, "rejected": {}, "tokens_per_second": 0.0, "cost": 0.0,
    }  # fmt: skip
    return DomainFigures.model_validate(values | changes)


def manifest_of(**changes: Any) -> Manifest:
    values: dict[str, Any] = {
        "date": "2026-01-02", "run_id": "a run", "fingerprint": "f", "digest": "", "shards": [], "index": [],
        "used": [], "adapters": [], "generator": ModelCard("echo", "", "echo", "", 0), "accepted": 0, "bytes": 0,
        "rejected": {}, "quarantined": 0, "domains": {}, "stages": {}, "seconds": {},
    }  # fmt: skip
    return Manifest.model_validate(values | changes)

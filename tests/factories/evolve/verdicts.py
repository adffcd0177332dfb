"""Variants and verdicts with plain values; a test names what it is about. Adapters that are folders on disk."""

import json
from pathlib import Path
from typing import Any

from model.weights.adapter import CONFIG, WEIGHTS, adapter_sha256
from pipeline.store.registry import ArmFigures, Check, DomainRegistry, EvolveVerdict, Variant, VariantAdapter

BASE_SHA256 = "ba5e" * 16
DATE_OF_VERDICT = "2026-01-02"


def adapter_of(digest: str, domain: str = "law") -> VariantAdapter:
    return VariantAdapter(name=f"{domain}@{digest}", sha256=digest, path=f"adapters/{digest}")


def variant_of(name: str = "one", **changes: Any) -> Variant:
    """A variant with an adapter of its own, which is no folder."""
    return Variant(adapter=adapter_of(name.encode().hex().ljust(64, "0")), round=1).model_copy(update=changes)


def adapter_on_disk(root: Path, content: str, domain: str = "law") -> VariantAdapter:
    """Writes an adapter's folder into a data set."""
    draft = root / "adapters" / "draft"
    draft.mkdir(parents=True)
    (draft / WEIGHTS).write_text(content)
    (draft / CONFIG).write_text(json.dumps({"r": 8}))
    digest = adapter_sha256(draft)
    draft.rename(draft.with_name(digest))
    return adapter_of(digest, domain)


def check_of(**changes: Any) -> Check:
    values = {"name": "coverage", "passed": True, "against": "base", "value": 0.98, "limit": 0.95}
    return Check.model_validate(values | changes)


def arm_of(**changes: Any) -> ArmFigures:
    values = {
        "variant": "base", "answers": 400, "accepted": 228, "rightness": 0.81, "copied": 0.2, "copies": 3,
        "tokens": 90_000, "text_bytes": 64_000, "mean_length": 281.4, "bits_per_byte": {"tokens": 2.5, "cost": 2.25},
    }  # fmt: skip
    return ArmFigures.model_validate(values | changes)


def verdict_after(pointer: DomainRegistry, status: str, **changes: Any) -> EvolveVerdict:
    """The next verdict on a domain. A promoted one has a challenger, unless a test names one."""
    number = pointer.last_verdict + 1
    judged = status in ("promoted", "refused")
    values = {
        "number": number, "domain": pointer.domain, "date": DATE_OF_VERDICT, "decided": "2026-01-03T02:00:00+00:00",
        "status": status, "kind": "sft" if judged else "", "reason": "because", "champion": pointer.champion,
        "base_sha256": pointer.base_sha256 or BASE_SHA256,
        "challenger": variant_of(f"variant {number}") if judged else None,
    }  # fmt: skip
    return EvolveVerdict.model_validate(values | changes)

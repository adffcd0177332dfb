"""Registries of the self-evolving loop: verdicts with plausible figures, and the pointer that they lead to."""

from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from pipeline.store.registry import (
    ArmFigures,
    Check,
    DomainRegistry,
    EvolveVerdict,
    Variant,
    VariantAdapter,
)
from pipeline.store.registry_files import Registry

FIRST_DAY = date(2026, 1, 2)
REASONS = {
    "promoted": "its rows save bits at equal cost and at equal tokens, and no guard objects",
    "refused": "utility at equal cost: its lower bound is not above 0; diversity fell too far",
    "kept": "12 accepted rows, 64 are needed",
    "rolled back": "compared again, the champion before it is better at equal cost",
}
BASE_SHA256 = "ba5e" * 16


def variant(number: int, **changes: Any) -> Variant:
    """An adapter's variant; `number` tells one from another."""
    sha256 = f"{number:064x}"
    adapter = VariantAdapter(name=f"law@{sha256}", sha256=sha256, path=f"adapters/{sha256}")
    return Variant(adapter=adapter, round=number, trained_on={"2026-01-02": "d" * 64}).model_copy(update=changes)


def arm(of_variant: Variant, accepted: int, answers: int = 400, **changes: Any) -> ArmFigures:
    values: dict[str, Any] = {
        "variant": of_variant.id, "answers": answers, "accepted": accepted, "rightness": 0.81, "copied": 0.21,
        "copies": 4, "tokens": 120_000, "text_bytes": 90_000, "mean_length": 240.0,
        "bits_per_byte": {"cost": 2.31, "tokens": 2.35},
    }  # fmt: skip
    return ArmFigures.model_validate(values | changes)


def checks(gain: float, failed: Sequence[str] = ()) -> tuple[Check, ...]:
    """The gate's checks with a utility of `gain`; those named in `failed` did not pass."""
    figures = {
        "utility at equal cost": (
            gain,
            gain - 0.01,
            gain + 0.01,
            0.0,
            "Bits per byte saved on real text, at equal cost.",
        ),
        "utility at equal text": (
            gain / 2,
            gain / 2 - 0.01,
            gain / 2 + 0.01,
            -0.005,
            "The same at equal bytes of rows.",
        ),
        "rightness": (0.01, None, None, 0.0, "Change of the share of answers that the verifier holds right."),
        "diversity": (-0.02, None, None, -0.05, "Change of distinct 3-grams in texts of equal length."),
        "coverage": (0.99, None, None, 0.95, "Passages with accepted rows, as against the champion's."),
        "copying": (0.01, None, None, 0.05, "How far the median share of copied words rose."),
    }
    return tuple(
        Check(name=name, passed=name not in failed, against="base", value=v, low=lo, high=hi, limit=limit, meaning=m)
        for name, (v, lo, hi, limit, m) in figures.items()
    )


def verdict(number: int, status: str, champion: Variant, challenger: Variant | None, **changes: Any) -> EvolveVerdict:
    """A verdict of the day `number - 1` days after FIRST_DAY."""
    failed = ("utility at equal cost", "diversity") if status == "refused" else ()
    compared = {"base": arm(Variant(), 228 + number), "champion": arm(champion, 240 + number)}
    values: dict[str, Any] = {
        "number": number, "domain": "law", "date": str(FIRST_DAY + timedelta(days=number - 1)),
        "decided": f"{FIRST_DAY + timedelta(days=number)}T03:00:00+00:00", "status": status, "kind": "sft",
        "reason": REASONS[status], "base_sha256": BASE_SHA256,
        "champion": champion, "challenger": challenger,
        "arms": compared | ({"challenger": arm(challenger, 262 + number)} if challenger else {}),
        "checks": checks(-0.004 if failed else 0.021, failed), "training": {"best_step": 40, "loss_after": 1.71},
        "alpha": 0.0152 if status == "promoted" else None,
    }  # fmt: skip
    if status == "kept":
        values |= {"kind": "", "arms": {}, "checks": (), "training": {}}
    return EvolveVerdict.model_validate(values | changes)


def verdicts(statuses: Sequence[str], **changes: Any) -> list[EvolveVerdict]:
    """A history with these statuses. A rollback sets the champion back to the one before it."""
    champions, history = [Variant()], []
    for number, status in enumerate(statuses, 1):
        challenger = variant(number) if status in ("promoted", "refused") else None
        kind = {"kind": "rejudge"} if status == "rolled back" else {}
        history.append(verdict(number, status, champions[-1], challenger, **kind | changes))
        if status == "promoted":
            champions.append(variant(number))
        elif status == "rolled back":
            champions.pop()
    return history


def write_registry(root: Path, history: Sequence[EvolveVerdict], domain: str = "law") -> DomainRegistry:
    """Commits verdicts as the loop does; returns the pointer after them."""
    registry = Registry(root)
    for each in history:
        registry.commit(each.model_copy(update={"domain": domain}))
    return registry.read(domain)

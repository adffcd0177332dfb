"""The registry of generators: which variant of the base model a domain's rows are written by, and every verdict.

<out>/registry/law.json               the pointer: champion, earlier champions, what attempts have spent
<out>/registry/history/law/0001.json  the first verdict; never changed

Every change of the pointer is a verdict, those that people make by hand too: the pointer is `next_pointer` over the
verdicts of the history in their order. A verdict is written first and the pointer second, each by one rename. Whoever
reads the pointer of a process that was killed between the two gets it with the verdict (`registry_files.Registry`).
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict, model_validator

VERSION = 1
BASE = "base"  # the id of the base model without a change

MAX_ROLLBACKS_IN_A_ROW = 1  # one more freezes the domain

Status = Literal["promoted", "refused", "kept", "rolled back"]
BY_HAND = ("rollback", "to-base", "freeze", "unfreeze")  # kinds of verdicts that people make


class RegistryPart(BaseModel):
    """Frozen, and keeps keys that this version does not know."""

    model_config = ConfigDict(extra="allow", frozen=True)


class VariantAdapter(RegistryPart):
    """A LoRA adapter of the data set; `path` is relative to it: `adapters/<sha256>`."""

    name: str  # "law@<sha256>"
    sha256: str
    path: str


class Variant(RegistryPart):
    """What changes the base model's rows: an adapter, the tasks' weights, prompts. Without any it is the base model."""

    adapter: VariantAdapter | None = None
    task_weights: dict[str, float] = {}  # {}: as configured
    prompts: dict[str, str] = {}  # by task, the task that takes its place
    round: int = 0  # how many candidates its adapter's training rests on, its own included; 0: the base model
    trained_on: dict[str, str] = {}  # by date, the digest of the publication whose answers it was trained on
    measured_share: float | None = None  # evolve.measured_share when its adapter was trained; null: not recorded

    @property
    def is_base(self) -> bool:
        """Whether it is the base model without a change."""
        return not (self.adapter or self.task_weights or self.prompts)

    @property
    def id(self) -> str:
        """12 hex digits that identify adapter, weights and prompts; "base" without any of them."""
        if self.is_base:
            return BASE
        content = [self.adapter and self.adapter.sha256, self.task_weights, self.prompts]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]


class Check(RegistryPart):
    """One test of a verdict: a figure with its interval where it has one, the limit, and what they mean."""

    name: str
    passed: bool
    against: str = ""  # the id of the variant it is compared with, or ""
    value: float | None = None
    low: float | None = None
    high: float | None = None
    limit: float | None = None
    meaning: str = ""  # one sentence for people


class ArmFigures(RegistryPart):
    """What one generator made of the measured passages."""

    variant: str  # its id
    answers: int
    accepted: int
    rightness: float | None  # share of its answers that the verifier holds right; None where it judged none
    copied: float | None  # median share of copied word n-grams in accepted answers
    copies: int  # answers that were dropped as copies of the passage
    tokens: int  # of prompts and answers
    text_bytes: int  # of accepted answers
    mean_length: float  # of accepted answers, in characters
    bits_per_byte: dict[str, float] = {}  # of real held-out text after its rows: by budget, tokens or cost


class EvolveVerdict(RegistryPart):
    """What one comparison decided, and on which figures."""

    version: int = VERSION
    number: int  # 1, 2, … in the domain
    domain: str
    date: str
    decided: str  # ISO 8601, UTC
    status: Status  # kept: the champion stays, and no challenger was judged; `reason` says why
    kind: str = ""  # of the candidate: sft, dpo, tasks, prompt; rejudge; base: replaced; by hand: see BY_HAND
    reason: str
    base_sha256: str  # of the base model's weights
    champion: Variant  # before the verdict
    challenger: Variant | None = None
    arms: dict[str, ArmFigures] = {}  # base, champion, previous, challenger
    checks: tuple[Check, ...] = ()
    training: dict[str, float] = {}  # figures of the candidate's training
    alpha: float | None = None  # the level of the vault's test, if it was opened
    rejudge_dates: int = 0  # of a promotion: dates for which the new champion is compared with the one before it

    @model_validator(mode="after")
    def _has_challenger(self) -> "EvolveVerdict":
        if self.status == "promoted" and not self.challenger:
            raise ValueError("promoted, but without a challenger")
        return self


class DomainRegistry(RegistryPart):
    """The pointer of one domain."""

    version: int = VERSION
    domain: str
    base_sha256: str = ""  # of the base model that the champion belongs to; "" before the first verdict
    champion: Variant = Variant()
    since: str = ""  # the date of the verdict that made it champion
    previous: tuple[Variant, ...] = ()  # earlier champions, the newest last
    attempts: int = 0  # challengers that were judged
    vault_openings: int = 0
    rejudgements_left: int = 0  # dates for which the champion is still compared with the previous one
    rollbacks_in_a_row: int = 0
    frozen: str = ""  # why no candidate is made any more; "" if they are
    last_verdict: int = 0  # the newest verdict that is part of this pointer


def next_pointer(pointer: DomainRegistry, verdict: EvolveVerdict) -> DomainRegistry:
    """The pointer after a verdict. It depends on nothing else, so that a history can be replayed.

    promoted: the challenger becomes champion and is compared with the one before it for `rejudge_dates` dates.
    refused: one more attempt. Both count an opening of the vault where `alpha` is set.
    rolled back: the champion before takes its place, the base model if there is none. Two champions in a row that were
        rolled back freeze the domain. A champion that was compared on all its dates and stays ends the row.
        Kind to-base: the base model takes its place, whoever was before, and the row is as it was.
    kept: kind rejudge with checks: one date less to compare on. Kind base: the base model was replaced, so no adapter
        fits any more and the new base model is the champion. Kinds freeze and unfreeze: as they say.
    """
    changes = _changes(pointer, verdict) | {"last_verdict": verdict.number}
    if not pointer.base_sha256:
        changes["base_sha256"] = verdict.base_sha256
    return pointer.model_copy(update=changes)


def is_decided(verdicts: Sequence[EvolveVerdict]) -> bool:
    """Whether the loop's verdicts of a date on a domain are all of them: the last is about the candidate.

    A verdict on the champion alone is the first of two, unless it is rolled back, which ends the date.
    """
    return any(verdict.kind != "rejudge" or verdict.status == "rolled back" for verdict in verdicts)


def replay(pointer: DomainRegistry, verdicts: Iterable[EvolveVerdict]) -> DomainRegistry:
    """The pointer after several verdicts, in their order."""
    for verdict in verdicts:
        pointer = next_pointer(pointer, verdict)
    return pointer


def _changes(pointer: DomainRegistry, verdict: EvolveVerdict) -> dict[str, object]:
    judged: dict[str, object] = {
        "attempts": pointer.attempts + 1,
        "vault_openings": pointer.vault_openings + (verdict.alpha is not None),
    }
    match verdict.status, verdict.kind:
        case "promoted", _:
            return (
                judged
                | _rejudged(pointer, verdict.rejudge_dates)
                | {
                    "champion": verdict.challenger or Variant(),
                    "since": verdict.date,
                    "previous": (*pointer.previous, pointer.champion),
                }
            )
        case "refused", _:
            return judged
        case "rolled back", "to-base":
            return _on_base(verdict)
        case "rolled back", _:
            row = pointer.rollbacks_in_a_row + 1
            reason = f"{row} champions in a row were rolled back, the last one on {verdict.date}: {verdict.reason}"
            return {
                "champion": pointer.previous[-1] if pointer.previous else Variant(),
                "since": verdict.date,
                "previous": pointer.previous[:-1],
                "rejudgements_left": 0,
                "rollbacks_in_a_row": row,
                "frozen": pointer.frozen or (reason if row > MAX_ROLLBACKS_IN_A_ROW else ""),
            }
        case "kept", "rejudge" if verdict.checks and pointer.rejudgements_left:
            return _rejudged(pointer, pointer.rejudgements_left - 1)
        case "kept", "base":
            return _on_base(verdict) | {"base_sha256": verdict.base_sha256}
        case "kept", "freeze":
            return {"frozen": verdict.reason}
        case "kept", "unfreeze":
            return {"frozen": "", "rollbacks_in_a_row": 0}
    return {}


def _on_base(verdict: EvolveVerdict) -> dict[str, object]:
    return {"champion": Variant(), "since": verdict.date, "previous": (), "rejudgements_left": 0}


def _rejudged(pointer: DomainRegistry, dates_left: int) -> dict[str, object]:
    return {
        "rejudgements_left": dates_left,
        "rollbacks_in_a_row": pointer.rollbacks_in_a_row if dates_left else 0,
    }

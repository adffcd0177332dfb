"""The registry of generators: which variant of the base model a domain's rows are written by, and every verdict.

<out>/registry/law.json               the pointer: champion, earlier champions, what attempts have spent
<out>/registry/history/law/0001.json  the first verdict; never changed

A verdict is written first and the pointer second, each by one rename. The pointer of a run that was killed between the
two is brought up to date by the next `gristmill evolve`, which finds the verdict.
"""

import hashlib
import json
from typing import Literal

from pydantic import BaseModel, ConfigDict

VERSION = 1
BASE = "base"  # the id of the base model without a change

Status = Literal["promoted", "refused", "kept", "rolled back"]


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

    @property
    def id(self) -> str:
        """12 hex digits that identify adapter, weights and prompts; "base" without any of them."""
        if not (self.adapter or self.task_weights or self.prompts):
            return BASE
        content = [self.adapter and self.adapter.sha256, self.task_weights, self.prompts]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]


class Check(RegistryPart):
    """One test of a verdict: a figure with its 95 % interval where it has one, the limit, and what they mean."""

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
    status: Status  # kept: there was nothing to compare, and `reason` says why
    kind: str = ""  # of the candidate: sft, dpo, tasks, prompt; rejudge; rollback for one by hand
    reason: str
    base_sha256: str  # of the base model's weights
    champion: Variant  # before the verdict
    challenger: Variant | None = None
    arms: dict[str, ArmFigures] = {}  # base, champion, previous, challenger
    checks: tuple[Check, ...] = ()
    training: dict[str, float] = {}  # figures of the candidate's training
    alpha: float | None = None  # the level of the vault's test, if it was opened


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

"""The manifest of a date: which files were published, and figures about the run that made them.

It is read and written through `Manifest` only. Version 1 (from before stages declared what they are) is upgraded when
it is read. Fields that older data sets do not have are None or empty.
"""

import json
from collections.abc import Callable, Iterable
from hashlib import sha256
from typing import Any

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ValidationError

from pipeline.store.registry import Variant
from stages.ports import ModelCard
from stages.storage.records import FileRef
from stages.storage.stage import StageKind, kind_of_version_1
from stages.storage.stats import EngineStats

VERSION = 2


class ManifestPart(BaseModel):
    """Keeps keys that this version does not know: a rollback writes manifests of other versions back."""

    model_config = ConfigDict(extra="allow")


class PublishedShard(ManifestPart):
    """A Parquet file of accepted rows; `file` is relative to the data set, below `data/`."""

    file: str
    domain: str
    rows: int
    bytes: int
    sha256: str

    @property
    def ref(self) -> FileRef:
        """The file and what it must contain."""
        return FileRef(self.file, self.sha256, self.rows, self.bytes)


class AdapterResult(ManifestPart):
    """A domain's adapter: whether the second round used it, and why. Losses are nats per answer token, held out."""

    domain: str
    used: bool
    reason: str
    name: str | None = None
    sha256: str | None = None
    path: str | None = None  # relative to the data set
    loss_before: float | None = None
    loss_after: float | None = None
    train_rows: int | None = None
    held_out_rows: int | None = None
    tokens: int | None = None
    trainable_parameters: int | None = None
    total_parameters: int | None = None


class StageFlow(ManifestPart):
    """A domain's rows through one stage: rows_in = kept + rejected + quarantined."""

    rows_in: int = Field(validation_alias=AliasChoices("in", "rows_in"), serialization_alias="in")
    kept: int
    rejected: dict[str, int]
    quarantined: int


class Diversity(ManifestPart):
    """How varied a domain's answers are, on a sample (`pipeline.report.diversity`)."""

    rows: int
    compression_ratio: float = 0.0
    distinct_3: float = 0.0
    shared_8: float = 0.0


class DomainFigures(ManifestPart):
    """One domain's figures. generated = accepted + rejected + quarantined."""

    generated: int
    accepted: int
    quarantined: int
    text_bytes: int
    shard_bytes: int
    prompt_tokens: int
    output_tokens: int
    rejected: dict[str, int]
    findings: dict[str, int] = Field(  # what filters saw in candidates: count by name
        default={}, validation_alias=AliasChoices("found", "findings"), serialization_alias="found"
    )
    flow: dict[str, StageFlow] | None = None  # by stage; None in data sets that did not record it
    profile: dict[str, dict[str, int]] = {}  # histograms of length and scores
    tokens_per_second: float
    cost: float
    diversity: Diversity | None = None


class EngineFigures(ManifestPart):
    """The generator's engines and GPUs over all rounds. Shares (waiting, utilisation, usage) are between 0 and 1."""

    tokens_per_second: float
    waiting: float
    gpu_utilisation: float | None = None
    sm_activity: float | None = None
    gpu_watts: float | None = None
    kv_usage: float | None = None
    preemptions: int
    restarts: int
    each: dict[str, EngineStats]


class Rate(ManifestPart):
    """Right rows among labelled ones, with Wilson's 95 % interval."""

    rows: int
    right: int
    low: float
    high: float

    @property
    def share(self) -> float:
        """The rate, between 0 and 1."""
        return self.right / self.rows


class Agreement(ManifestPart):
    """How far two readers agree on the rows that both labelled."""

    rows: int
    share: dict[str, float]  # by what was asked: right, faithful, complete, useful
    kappa: dict[str, float | None]  # Cohen's; None where both readers gave every row one and the same answer


class AuditFigures(ManifestPart):
    """What readers said of a sample of the date's rows. They have no names here: manifests are published."""

    digest: str  # of the rows that were read
    labelled: str  # time of the newest label, ISO 8601
    readers: int
    sampled: int  # accepted rows in the sample
    two_readers: int  # accepted rows that at least two readers labelled
    accepted: Rate | None  # None: only rejected rows are labelled so far
    rejected: Rate | None
    domains: dict[str, Rate]  # of accepted rows, as tasks and languages
    tasks: dict[str, Rate]
    languages: dict[str, Rate]
    agreement: list[Agreement]  # of each pair of readers, on accepted and rejected rows
    faults: dict[str, int]  # in labels of accepted rows, the commonest first


class GroupWorth(ManifestPart):
    """What one group of rows teaches, as against the average group. Above 0 it helps; `low` to `high` is 95 %."""

    group: dict[str, str]  # value by column
    rows: int
    bytes: int  # of the generator's text in them
    effect: float  # bits per byte of real text that a student saves with the group's rows in an average group's place
    low: float
    high: float


class DomainAttribution(ManifestPart):
    """The groups of one domain, the most useful first."""

    groups: list[GroupWorth]
    bytes_each: int  # of a group's text that a student learns
    students: int
    documents: int  # held-out ones
    bits_per_byte: float  # of them, for the average student
    real_text: str  # where they come from
    left_out: dict[str, str] = {}  # groups that were not measured, and why


class Attribution(ManifestPart):
    """Which groups of rows help a small student on real text (`gristmill attribute`)."""

    columns: list[str]  # whose values make the groups
    dates: list[str]  # of the rows
    computed: str  # ISO 8601
    domains: dict[str, DomainAttribution]


class Manifest(ManifestPart):
    """One date of a data set. Times are UTC, costs in `currency`."""

    version: int = VERSION
    date: str
    run_id: str
    fingerprint: str  # of the configuration and of everything that it reads
    published: str | None = None  # ISO 8601
    digest: str  # of the published rows: equal for equal data
    shards: list[PublishedShard]
    index: list[FileRef]  # dedup keys, for later dates
    used: list[FileRef]  # ids of the passages used, for later dates
    answers: list[FileRef] = []  # all answers to passages that got several, for training; [] once they are too old
    adapters: list[AdapterResult]
    champions: dict[str, Variant] = {}  # by domain, what its rows are written by; {}: the base model, without evolve
    generator: ModelCard
    encoder: ModelCard | None = None
    filters: dict[str, str] = {}  # by filter name, the hash of the data that it reads
    versions: dict[str, str] = {}  # of packages
    notes: list[str] = []
    empty: list[str] = []  # domains that made no row, or fewer than run.min_keep
    licences: dict[str, int] = {}  # accepted rows by licence, source, task, language
    sources: dict[str, int] = {}
    tasks: dict[str, int] = {}
    languages: dict[str, int] = {}
    accepted: int
    bytes: int
    rejected: dict[str, int]
    quarantined: int
    seeds_passed_over: dict[str, int] = {}
    canary: dict[str, float] | None = None  # scores of fixed texts; None in data sets that did not record them
    domains: dict[str, DomainFigures]
    engines: EngineFigures | None = None
    stages: dict[str, StageKind]  # in the order in which they ran
    seconds: dict[str, float]  # by stage, and `loading` of models and engines
    cost: float = 0.0
    annotation_cost: float | None = None
    currency: str = "USD"
    machine: str = ""
    reference: str | None = None  # the date that drift was measured against
    alarms: list[str] = []
    audit: AuditFigures | None = None  # None: nobody has read a sample of these rows
    attribution: Attribution | None = None  # None: nobody has measured which of these rows help
    min_rightness: float | None = None  # the date is kept from buckets until an audit shows at least so much
    publication: str | None = None  # its folder below `history/`; None in data sets that kept one publication a date

    @classmethod
    def from_json(cls, text: str) -> "Manifest":
        """Reads any version up to VERSION. Raises ValueError for a newer version or when the text is not a manifest."""
        value = json.loads(text)
        if not isinstance(value, dict):
            raise ValueError("not a manifest")
        if value.get("version", 1) > VERSION:
            raise ValueError(f"version {value['version']} of the manifest is newer than this gristmill: update it")
        try:
            return cls.model_validate(_upgraded(value))
        except ValidationError as error:
            first = error.errors()[0]
            raise ValueError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None

    def to_dict(self) -> dict[str, Any]:
        """As stored: values of JSON types under their stored keys."""
        return self.model_dump(mode="json", by_alias=True)

    def to_json(self) -> str:
        """The content of the manifest's file."""
        return json.dumps(self.to_dict(), indent=1, ensure_ascii=False)

    def with_shards_renamed(self, rename: Callable[[str], str]) -> "Manifest":
        """The manifest with other names of its shards. `rename`: from a shard's `file` to the new one."""
        shards = [shard.model_copy(update={"file": rename(shard.file)}) for shard in self.shards]
        return self.model_copy(update={"shards": shards})

    @property
    def published_files(self) -> list[FileRef]:
        """All files that the manifest names, by their names in `data/`, `index/`, `used/` and `answers/`."""
        return [*self._row_files, *self.answers]

    def has_the_rows_of(self, manifest: "Manifest") -> bool:
        """Whether the two name the same files of rows, dedup keys and passages."""
        return self._row_files == manifest._row_files

    @property
    def _row_files(self) -> list[FileRef]:
        return [*(shard.ref for shard in self.shards), *self.index, *self.used]

    @property
    def generated(self) -> int:
        """Generated rows of all domains."""
        return sum(domain.generated for domain in self.domains.values())

    @property
    def text_bytes(self) -> int:
        """UTF-8 bytes of accepted text."""
        return sum(domain.text_bytes for domain in self.domains.values())


def content_digest(refs: Iterable[FileRef]) -> str:
    """One hash over published files: equal for equal data, on any runner and after any number of restarts."""
    text = "\n".join(sorted(f"{ref.sha256} {ref.rows}" for ref in refs))
    return sha256(text.encode()).hexdigest()


def _upgraded(value: dict[str, Any]) -> dict[str, Any]:
    """A manifest of version 1 as one of version 2; others as they are."""
    if value.get("version", 1) >= VERSION:
        return value
    value = value | {"version": VERSION, "engines": value.get("engines") or None}
    stages = [stage for stage in value.get("seconds", {}) if stage != "loading"]
    return value | {"stages": {stage: kind_of_version_1(stage).to_json() for stage in stages}}

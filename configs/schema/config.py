"""The configuration as frozen pydantic models. A key that is not here is an error, never ignored.

`run`, `price`, `drift`, `metrics`, `out`, `publish` and the `path`s say where, when and how fast, not what: the
fingerprint leaves them out.
"""

import re

from pydantic import Field, field_validator, model_validator

from configs.schema.domain import Domain
from configs.schema.generator import Generator
from configs.schema.operation import Drift, Metrics, Price, Run
from configs.schema.screening import Screen
from configs.schema.section import Name, Section
from configs.schema.task import Task


class Generate(Section):
    shard_rows: int = Field(default=64, ge=1)
    # times a prompt is sent in all while its answer does not fit the schema; digests call it by its first name, `tries`
    max_attempts: int = Field(default=2, ge=1, le=5, serialization_alias="tries")
    max_tokens: int | None = Field(default=None, ge=1)  # new tokens at most, where a task would allow more


class Dedup(Section):
    """MinHash over character 5-grams of the answer; `bands` × `rows` hashes, likely above (1/bands)^(1/rows).

    `semantic`: rows whose embeddings have this cosine are duplicates too, unless numbers, names or negations differ.
    """

    bands: int = Field(default=16, ge=1, le=64)
    rows: int = Field(default=8, ge=1, le=32)
    ngram: int = Field(default=5, ge=2, le=20)
    semantic: float | None = Field(default=None, gt=0.5, le=1)


class Lora(Section):
    parameter_share: float = Field(default=0.01, gt=0, le=0.2)  # trainable / total; the rank follows from it
    max_rank: int = Field(default=64, ge=1)
    learning_rate: float = Field(default=5e-4, gt=0)
    epochs: int = Field(default=2, ge=1)
    max_tokens: int = Field(default=40_000, ge=1)  # training stops after so many tokens
    max_length: int = Field(default=512, ge=32)
    batch_rows: int = Field(default=8, ge=1)


class Adapt(Section):
    """The second round: an adapter a domain, trained on the first round's accepted rows."""

    enabled: bool = True
    share: float = Field(default=0.33, gt=0, lt=1)  # of the day's passages, kept for the second round
    held_out: float = Field(default=0.2, gt=0, lt=1)
    min_rows: int = Field(default=24, ge=4)  # fewer accepted rows: no adapter is trained
    lora: Lora = Lora()


class Shards(Section):
    target_bytes: int = Field(default=128_000_000, ge=1_000)
    compression_level: int = Field(default=3, ge=1, le=19)


class Config(Section):
    name: Name
    out: str
    publish: str | None = None  # s3://BUCKET/PREFIX, gs://… or az://…: finished dates are copied there
    seed: int = 17
    domains: dict[Name, Domain] = Field(min_length=1)
    tasks: dict[Name, Task] = Field(min_length=1)
    generator: Generator
    generate: Generate = Generate()
    screen: Screen = Field(default_factory=lambda: Screen.model_validate({}))
    dedup: Dedup = Dedup()
    drift: Drift = Drift()
    adapt: Adapt = Adapt()
    shards: Shards = Shards()
    price: Price = Price()
    run: Run = Run()
    metrics: Metrics = Metrics()

    @field_validator("out")
    @classmethod
    def _local(cls, value: str) -> str:
        if re.match(r"^[a-z0-9]+://", value) and not value.startswith("file://"):
            raise ValueError(f"{value!r}: only a path works; work on a disk, and `publish` to the URL what is finished")
        return value.removeprefix("file://")

    @field_validator("publish")
    @classmethod
    def _bucket(cls, value: str | None) -> str | None:
        if value is not None and not re.match(r"^(s3|gs|gcs|az|abfs)://[^/?#]+(/[^?#]*)?$", value):
            raise ValueError(
                f"{value!r}: not a bucket; write s3://BUCKET/PREFIX, gs://… or az://… and nothing after it"
            )
        return value

    @model_validator(mode="after")
    def _joined(self) -> "Config":
        for name, domain in self.domains.items():
            for task in domain.tasks:
                if task not in self.tasks:
                    raise ValueError(
                        f"domains.{name}.tasks: no task {task!r}; there are {', '.join(sorted(self.tasks))}"
                    )
            for language in domain.languages:
                if not any(language in self.tasks[task].languages for task in domain.tasks):
                    raise ValueError(f"domains.{name}.languages: none of its tasks speaks {language}")
        embeds = next((spec.name for spec in self.screen.filters if spec.name in ("domain", "quality")), None)
        if embeds and self.screen.encoder is None:
            raise ValueError(f"screen.encoder: missing, although screen.filters names {embeds}")
        if self.dedup.semantic is not None and self.screen.encoder is None:
            raise ValueError(
                "screen.encoder: missing, although dedup.semantic compares embeddings; add it, or take that out"
            )
        if self.generator.backend in ("auto", "vllm") and self.adapt.enabled:
            rank, served = self.adapt.lora.max_rank, self.generator.vllm.max_lora_rank
            if rank > served:
                raise ValueError(f"adapt.lora.max_rank: {rank}, but generator.vllm.max_lora_rank serves only {served}")
        return self

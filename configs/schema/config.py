"""The whole configuration. An unknown key is an error.

Rows do not depend on `run`, `price`, `drift`, `metrics`, `out`, `publish` and paths: fingerprints leave them out.
"""

import os
import re
from typing import Any

from pydantic import Field, field_validator, model_validator

from configs.schema.domain import Domain
from configs.schema.evolve import Evolve
from configs.schema.generator import Generator
from configs.schema.lora import Lora
from configs.schema.operation import Drift, Metrics, Price, Publish, Run, bucket_url
from configs.schema.screening import Screen
from configs.schema.section import Name, Section
from configs.schema.task import Task


class Generate(Section):
    """How prompts are sent to the generator."""

    added_later = frozenset({"samples", "samples_share", "temperature_spread", "likelihood"})

    shard_rows: int = Field(default=64, ge=1, description="Rows of one shard: the unit of work and of resuming.")
    max_attempts: int = Field(
        default=2,
        ge=1,
        le=5,
        serialization_alias="tries",  # digests call it by its first name
        description="How often a prompt is sent at most, while its answer does not fit the task's answer schema.",
    )
    max_tokens: int | None = Field(
        default=None, ge=1, description="Most new tokens of an answer, where the task allows more. Unset: the task's."
    )
    samples: int = Field(
        default=1, ge=1, le=64, description="Answers to each prompt. The best that passes the filters is kept."
    )
    samples_share: float = Field(
        default=1.0, gt=0, le=1, description="Share of the passages that get `samples` answers; the others get one."
    )
    temperature_spread: float = Field(
        default=0.4,
        ge=0,
        le=2,
        description="How much hotter than the first the last of several samples is drawn. Those between are in steps.",
    )
    likelihood: bool = Field(
        default=False,
        description="Whether the generator also scores each answer by its likelihood, for the filters gain and "
        "grounded. It reads each passage some more times. Not with services.",
    )

    @property
    def answers_per_passage(self) -> float:
        """How many answers a passage gets on average."""
        return 1 + (self.samples - 1) * self.samples_share


class Dedup(Section):
    """Near-duplicates are found by MinHash over character n-grams of the answer, and by embeddings if asked for.

    Two answers become candidates with high probability if their similarity is above (1/bands)^(1/rows).
    """

    bands: int = Field(default=16, ge=1, le=64, description="Bands of the MinHash signature. More bands find more.")
    rows: int = Field(default=8, ge=1, le=32, description="Hashes of a band. More rows find only closer pairs.")
    ngram: int = Field(default=5, ge=2, le=20, description="Characters of an n-gram.")
    semantic: float | None = Field(
        default=None,
        gt=0.5,
        le=1,
        description="Rows whose embeddings have at least this cosine are duplicates too, unless numbers, names or "
        "negations differ. Needs screen.encoder. Unset: embeddings are not compared.",
    )


class Adapt(Section):
    """The second round: one adapter for each domain, trained on the accepted rows of the first round."""

    enabled: bool = Field(default=True, description="Whether there is a second round.")
    share: float = Field(
        default=0.33, gt=0, lt=1, description="Share of the date's passages that is kept for the second round."
    )
    held_out: float = Field(
        default=0.2, gt=0, lt=1, description="Share of the accepted rows that measures the adapter and trains nothing."
    )
    min_rows: int = Field(
        default=24, ge=4, description="With fewer accepted rows in a domain no adapter is trained for it."
    )
    lora: Lora = Field(default=Lora(), description="How the adapters are trained.")


class Shards(Section):
    """The published Parquet files."""

    target_bytes: int = Field(default=128_000_000, ge=1_000, description="Size to aim for, in bytes.")
    compression_level: int = Field(default=3, ge=1, le=19, description="Level of Zstandard compression.")


class Config(Section):
    """The configuration of a data set: what `gristmill run` makes each day."""

    name: Name = Field(description="Name of the data set.")
    out: str = Field(description="Folder of the data set, on a local or mounted disk.")
    publish: Publish | None = Field(
        default=None,
        description="Where finished dates are copied to: a URL, or a section with the URL and a condition. "
        "Unset: nowhere.",
    )
    seed: int = Field(default=17, description="Seed of every random draw.")
    domains: dict[Name, Domain] = Field(
        min_length=1,
        description="Domains by name. A list of names takes each from domains/NAME.yaml beside the config or shipped.",
    )
    tasks: dict[Name, Task] = Field(
        min_length=1,
        description="Tasks by name. One that a domain names and that is not here is read from tasks/NAME.yaml.",
    )
    generator: Generator = Field(description="The model that answers the prompts.")
    generate: Generate = Field(default=Generate(), description="How prompts are sent to the generator.")
    screen: Screen = Field(
        default_factory=lambda: Screen.model_validate({}), description="The filters that drop or mask candidates."
    )
    dedup: Dedup = Field(default=Dedup(), description="How near-duplicates are found.")
    drift: Drift = Field(default=Drift(), description="When a date is reported as unlike the reference date.")
    evolve: Evolve | None = Field(
        default=None, description="How `gristmill evolve` makes better generators. Unset: the generator stays as it is."
    )
    adapt: Adapt = Field(default=Adapt(), description="The second round, with adapters trained on the first one.")
    shards: Shards = Field(default=Shards(), description="The published Parquet files.")
    price: Price = Field(default=Price(), description="Prices, for the cost that reports show.")
    run: Run = Field(default=Run(), description="Workers, time limits and retries.")
    metrics: Metrics = Field(default=Metrics(), description="Where Prometheus finds the figures of a run.")

    @field_validator("out")
    @classmethod
    def _local(cls, value: str) -> str:
        if re.match(r"^[a-z0-9]+://", value) and not value.startswith("file://"):
            raise ValueError(f"{value!r}: only a path works; set `out` to a folder, and `publish` to the URL")
        return os.path.expanduser(value.removeprefix("file://"))

    @field_validator("publish", mode="before")
    @classmethod
    def _bucket(cls, value: Any) -> Any:
        return {"to": bucket_url(value)} if isinstance(value, str) else value

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
                    raise ValueError(f"domains.{name}.languages: none of its tasks has prompts in {language}")
                if not any(language in self.tasks[task].languages for task in domain.drawn_tasks):
                    raise ValueError(
                        f"domains.{name}.task_weights: no task with prompts in {language} has a weight above 0"
                    )
        if self.dedup.semantic is not None and self.screen.encoder is None:
            raise ValueError(
                "screen.encoder: missing, although dedup.semantic compares embeddings; add it, or remove dedup.semantic"
            )
        if self.evolve is not None and self.adapt.enabled:
            raise ValueError(
                "adapt.enabled: with evolve a champion serves each date from its first row on, so there is no second "
                "round; set adapt.enabled: false, or remove evolve"
            )
        for task, variants in (self.evolve.prompts if self.evolve else {}).items():
            for name in (task, *variants):
                if name not in self.tasks:
                    raise ValueError(f"evolve.prompts: no task {name!r}; there are {', '.join(sorted(self.tasks))}")
        for backend, options in self.generator.possible_options().items():
            rank, served = self.adapt.lora.max_rank, getattr(options, "max_lora_rank", None)
            if self.adapt.enabled and served is not None and rank > served:
                raise ValueError(
                    f"adapt.lora.max_rank: {rank}, but generator.{backend}.max_lora_rank is {served}: lower the one or "
                    "raise the other"
                )
        return self

    def fitting_tasks(self, domain: str, parameters: int) -> tuple[str, ...]:
        """The domain's tasks that a model with so many parameters (0: unknown) can do; all of them if it can do none.

        Tasks whose weight is 0 are left out. In each language that the domain has, at least one task is left.
        """
        tasks = self.domains[domain].drawn_tasks
        fitting = [name for name in tasks if not 0 < parameters < self.tasks[name].needs_parameters]
        for language in self.domains[domain].languages:
            if not any(language in self.tasks[name].languages for name in fitting):
                return tasks
        return tuple(fitting)

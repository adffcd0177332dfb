"""The configuration as frozen pydantic models. A key that is not here is an error, never ignored.

`run`, `price`, `drift`, `out` and the `path`s say where, when and how fast, not what: the fingerprint leaves them out.
"""

import re
from datetime import date
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

Language = Literal["en", "zh", "es"]
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")]


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class Sampling(Section):
    """How tokens are drawn. `top_k` 0 and `top_p` 1 switch the cut off; `temperature` 0 is greedy."""

    temperature: float = Field(default=0.7, ge=0, le=2)
    top_p: float = Field(default=0.95, gt=0, le=1)
    top_k: int = Field(default=50, ge=0, le=1000)
    repetition_penalty: float = Field(default=1.0, ge=0.5, le=2)
    max_tokens: int = Field(default=160, ge=1, le=32_768)


class Message(Section):
    role: Literal["system", "user", "assistant"]
    content: str


class Task(Section):
    """What is generated: a Jinja prompt over the passage, and the shape of the answer.

    `format`: `text` is one field named `text`; `labelled` reads `Label: …` lines; `json` is one JSON object.
    Templates see `passage`, `title`, `language`, `style`, and `fields` (the parsed answer) once there is one.
    """

    name: Name
    description: str
    languages: tuple[Language, ...]
    prompt: dict[Language, str]
    system: dict[Language, str] = {}
    styles: dict[Language, tuple[str, ...]] = {}
    format: Literal["text", "labelled", "json"] = "text"
    labels: dict[Language, dict[str, str]] = {}  # labelled: language -> field -> the label in the answer
    answer: dict[str, Any]  # JSON schema of the parsed answer
    messages: dict[Language, tuple[Message, ...]]  # the conversation that the row holds
    rejected: str | None = None  # template of the worse answer of a preference pair
    sampling: Sampling = Sampling()
    needs_parameters: int = 0  # models with fewer are known to be too weak: `plan` warns

    @model_validator(mode="after")
    def _complete(self) -> "Task":
        for language in self.languages:
            for key in ("prompt", "messages"):
                if language not in getattr(self, key):
                    raise ValueError(f"{key}.{language}: missing, although languages names {language}")
            if self.format == "labelled" and language not in self.labels:
                raise ValueError(f"labels.{language}: missing, although format is labelled")
        return self


class Source(Section):
    """Where seeds come from: a packaged corpus by name, or the user's own documents by path or URL."""

    corpus: str | None = None
    path: str | None = None
    text_field: str = "text"
    title_field: str | None = None
    language: Language | None = None  # a user's file: default en
    licence: str | None = None  # a user's file: required
    weight: float = Field(default=1.0, gt=0)

    @model_validator(mode="after")
    def _one(self) -> "Source":
        if (self.corpus is None) == (self.path is None):
            raise ValueError("give either corpus or path")
        if self.path is not None and not self.licence:
            raise ValueError("licence: missing; name the documents' licence (an SPDX id, or 'proprietary')")
        if self.corpus is not None and (self.licence or self.language or self.title_field):
            raise ValueError("licence, language and title_field are fixed by the corpus; they go with path")
        return self


class Passages(Section):
    """How documents are cut: whole paragraphs and sentences, between these lengths in characters."""

    min_chars: int = Field(default=200, ge=1)
    max_chars: int = Field(default=1200, ge=50)
    max_document_bytes: int = Field(default=20_000_000, ge=1)

    @model_validator(mode="after")
    def _order(self) -> "Passages":
        if self.min_chars > self.max_chars:
            raise ValueError("min_chars is above max_chars")
        return self


class Domain(Section):
    seeds: tuple[Source, ...] = Field(min_length=1)
    tasks: tuple[Name, ...] = Field(min_length=1)
    languages: tuple[Language, ...] = ("en",)
    per_day: int = Field(default=100, ge=1)  # passages a day, both rounds together
    passages: Passages = Passages()


class VllmOptions(Section):
    """A fleet of engines, each a process of its own (docs/throughput.md)."""

    engines_per_gpu: Literal["auto"] | Annotated[int, Field(ge=1, le=16)] = "auto"  # by model size and measured rates
    max_num_seqs: int = Field(default=256, ge=1)  # sequences at once, of one engine
    max_num_batched_tokens: int | None = Field(default=None, ge=64)  # tokens a step; None: vLLM's own
    tensor_parallel_size: int = Field(default=1, ge=1)
    gpu_memory_utilization: float = Field(default=0.9, gt=0, le=1)
    kv_cache_gib: float = Field(default=2.0, gt=0)  # the CPU build's KV cache
    enforce_eager: bool | None = None  # None: on the CPU build only
    enable_prefix_caching: bool = True
    kv_cache_dtype: Literal["auto", "fp8"] = "auto"
    per_request_seeds: bool = True  # rows can be drawn again; a draw a row costs time in each step
    max_lora_rank: int = Field(default=64, ge=1)
    start_timeout_s: float = Field(default=900, gt=0)  # weights, compilation and graphs
    step_timeout_s: float = Field(default=300, gt=0)  # no step for so long although prompts are open: started again
    restarts: int = Field(default=5, ge=0)  # of one engine in a row without an answer; then the others go on without it

    @model_validator(mode="after")
    def _whole_gpus(self) -> "VllmOptions":
        if self.tensor_parallel_size > 1 and self.engines_per_gpu not in ("auto", 1):
            raise ValueError(
                f"engines_per_gpu: {self.engines_per_gpu} with tensor_parallel_size {self.tensor_parallel_size}; an "
                "engine over several GPUs has them to itself: set one of the two to 1"
            )
        return self


class OpenAIOptions(Section):
    base_url: str = "https://api.openai.com/v1"
    api_key_env: str = "OPENAI_API_KEY"
    max_concurrency: int = Field(default=16, ge=1)
    requests_per_minute: float = Field(default=0, ge=0)  # 0: unlimited
    timeout_s: float = Field(default=120, gt=0)
    retries: int = Field(default=6, ge=0)


class EchoOptions(Section):
    defect_rate: float = Field(default=0.2, ge=0, le=1)  # the share of answers made bad on purpose


class Generator(Section):
    """Who turns prompts into text. `model`: a packaged model, a folder, a .gguf file or a hub name."""

    backend: Literal["auto", "echo", "transformers", "vllm", "openai"] = "auto"
    model: str
    sha256: str | None = None  # pin of the weights; a mismatch is an error
    dtype: Literal["auto", "bfloat16", "float32"] = "auto"
    max_model_len: int = Field(default=2048, ge=64)
    batch_size: int = Field(default=32, ge=1)  # transformers
    threads: int = Field(default=0, ge=0)  # 0: the cores, divided by the worker processes
    vllm: VllmOptions = VllmOptions()
    openai: OpenAIOptions = OpenAIOptions()
    echo: EchoOptions = EchoOptions()


class Generate(Section):
    shard_rows: int = Field(default=64, ge=1)
    tries: int = Field(default=2, ge=1, le=5)  # asks again where an answer does not fit its schema, so often in all


class FilterSpec(Section):
    """One filter of the screen by name; its other keys are the filter's own fields."""

    model_config = ConfigDict(frozen=True, extra="allow")
    name: str

    @property
    def options(self) -> dict[str, Any]:
        return dict(self.model_extra or {})


class Encoder(Section):
    model: str = "multilingual-e5-small"
    sha256: str | None = None
    adapter: str = (
        "shipped"  # the fine-tuning that ships for the model, if one does; none; a folder of filter train --tune
    )
    dtype: Literal["auto", "bfloat16", "float32"] = "auto"
    max_length: int = Field(default=256, ge=16, le=512)
    batch_tokens: int | None = Field(default=None, ge=512)  # with padding; by default what suits the device


CASCADE = """
secrets privacy safety length truncation refusal rules repetition prompt_echo language support citations doses
contamination domain quality
""".split()  # noqa: SIM905 - reads as a list


class Screen(Section):
    """Filters in order, cheapest first, those that mask before those that quote; `gristmill filter list` has each."""

    filters: tuple[FilterSpec, ...] = Field(default=tuple(FilterSpec(name=name) for name in CASCADE), min_length=1)
    encoder: Encoder | None = None

    @model_validator(mode="before")
    @classmethod
    def _whole(cls, data: Any) -> Any:
        """Where no filters are named, the default ones have the default encoder."""
        if isinstance(data, dict) and "filters" not in data:
            return {"encoder": {}} | data
        return data

    @field_validator("filters")
    @classmethod
    def _once(cls, value: tuple[FilterSpec, ...]) -> tuple[FilterSpec, ...]:
        names = [spec.name for spec in value]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"named twice: {', '.join(twice)}")
        return value


class Dedup(Section):
    """MinHash over character 5-grams of the answer; `bands` × `rows` hashes, likely above (1/bands)^(1/rows)."""

    bands: int = Field(default=16, ge=1, le=64)
    rows: int = Field(default=8, ge=1, le=32)
    ngram: int = Field(default=5, ge=2, le=20)


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


class Price(Section):
    machine_hour: float = Field(default=0.0, ge=0)  # of all machines of the run together
    prompt_million: float = Field(default=0.0, ge=0)  # a service's price per million tokens
    output_million: float = Field(default=0.0, ge=0)
    currency: str = "USD"


class Drift(Section):
    """When a date is unlike the reference date, beyond what chance explains (pipeline/drift.py)."""

    reference: date | None = None  # the data set's oldest date
    max_psi: float = Field(default=0.2, gt=0)  # population stability index of lengths and scores
    max_keep_change: float = Field(default=0.1, gt=0, le=1)  # of the keep rate, absolute
    max_diversity_loss: float = Field(default=0.1, gt=0, le=1)  # relative, of compression ratio and distinct 3-grams
    fail: bool = False  # alarms end the run with exit code 6; the date is published all the same


class Run(Section):
    workers: int = Field(default=1, ge=1)  # processes
    in_flight: int = Field(
        default=2, ge=1
    )  # shards at once in this process; each of several workers, or of a pool, takes one
    runner: str = "FnApiRunner"
    pool: str | None = None  # host:port of a Beam worker pool
    attempts: int = Field(default=3, ge=1)  # then a shard is quarantined
    max_quarantined: float = Field(default=0.25, ge=0, le=1)  # of a stage's rows; above it the run fails
    stall_timeout_s: float = Field(default=1800, gt=0)  # no shard committed for so long: the driver is started again
    grace_s: float = Field(default=120, ge=0)  # after a signal or the deadline: what shards at work have to finish
    accelerator: str | None = None  # resource hint of the stages that run the generator


class Config(Section):
    name: Name
    out: str
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

    @field_validator("out")
    @classmethod
    def _local(cls, value: str) -> str:
        if re.match(r"^[a-z0-9]+://", value) and not value.startswith("file://"):
            raise ValueError(f"{value!r}: only a path works yet; mount the bucket, or write locally and copy")
        return value.removeprefix("file://")

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
        if self.generator.backend in ("auto", "vllm") and self.adapt.enabled:
            rank, served = self.adapt.lora.max_rank, self.generator.vllm.max_lora_rank
            if rank > served:
                raise ValueError(f"adapt.lora.max_rank: {rank}, but generator.vllm.max_lora_rank serves only {served}")
        return self

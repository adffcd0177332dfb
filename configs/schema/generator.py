"""The section `generator`: which model turns prompts into text, by which backend, with which options.

A new backend adds its name to `BackendName`, its class of options, and a field of that name to `Generator`.
"""

from typing import Annotated, Any, ClassVar, Literal, Self, get_args

from pydantic import Field, field_validator, model_validator

from configs.schema.section import Section

BackendName = Literal["echo", "transformers", "vllm", "openai"]
BACKENDS: tuple[str, ...] = get_args(BackendName)


class BackendOptions(Section):
    """The options of one backend: the section `generator.<backend>`."""

    changes_rows: ClassVar[frozenset[str]] = frozenset()  # the options that rows depend on: part of fingerprints
    in_every_fingerprint: ClassVar[bool] = False  # else only in those of runs with this backend

    def row_identity(self) -> Any:
        """What goes into the fingerprints of generated shards; None where rows depend on none of the options."""
        return self.model_dump(mode="json", by_alias=True, include=set(self.changes_rows)) or None

    def for_process(self, processes: int, *, adapters: bool) -> Self:
        """The options for one of `processes` worker processes; `adapters`: whether the run trains and uses adapters."""
        return self


class VllmOptions(BackendOptions):
    """vLLM: a fleet of engines, each in a process of its own (docs/gpus.md)."""

    engines_per_gpu: Literal["auto"] | Annotated[int, Field(ge=1, le=16)] = Field(
        default="auto", description="Engines that share a GPU. auto: by model size and measured rates."
    )
    mps: bool = Field(
        default=False,
        description="Use CUDA's Multi-Process Service, so that engines that share a GPU run on it at the same time. "
        "If one of them crashes, the others may crash too.",
    )
    max_num_seqs: int = Field(default=256, ge=1, description="Sequences that one engine works on at once.")
    max_num_batched_tokens: int | None = Field(default=None, ge=64, description="Tokens of a step. Unset: vLLM's own.")
    tensor_parallel_size: int = Field(default=1, ge=1, description="GPUs that one engine spreads the model over.")
    gpu_memory_utilization: float = Field(
        default=0.9, gt=0, le=1, description="Share of a GPU's memory that its engines take together."
    )
    kv_cache_gib: float | None = Field(
        default=None,
        gt=0,
        description="KV cache of an engine, in GiB. Unset: 2 on the CPU build; on a GPU what `gpu_memory_utilization` "
        "leaves. Set it where programs share the GPU: while one starts or ends, vLLM cannot measure what is free.",
    )
    enforce_eager: bool | None = Field(
        default=None, description="Run without compilation and CUDA graphs. Unset: on the CPU build only."
    )
    enable_prefix_caching: bool = Field(default=True, description="Compute a prefix that prompts share only once.")
    kv_cache_dtype: Literal["auto", "fp8"] = Field(default="auto", description="Type of keys and values in the cache.")
    attention_backend: str | None = Field(
        default=None, pattern=r"^[A-Z0-9_]+$", description="vLLM's name of an attention backend. Unset: its own choice."
    )
    decode_kernel: bool = Field(
        default=True, description="Where vLLM uses FLASH_ATTN, use our attention kernel for decoding."
    )
    refill: float | None = Field(
        default=None,
        ge=0,
        le=0.5,
        description="Share of the sequences that must have ended before new ones are started together. "
        "Unset: 1/8 if engines share a GPU, else none.",
    )
    per_request_seeds: bool = Field(
        default=True,
        description="Each row has a seed of its own and can be drawn again. If false, FlashInfer may draw.",
    )
    max_lora_rank: int = Field(default=64, ge=1, description="Largest rank of an adapter that can be served.")
    start_timeout_s: float = Field(
        default=900, gt=0, description="Seconds an engine may take to load weights, compile and record graphs."
    )
    step_timeout_s: float = Field(
        default=300,
        gt=0,
        description="An engine with open prompts that takes no step for so many seconds is restarted.",
    )
    restarts: int = Field(
        default=5,
        ge=0,
        description="Restarts of an engine in a row without an answer; after that the others go on without it.",
    )

    @model_validator(mode="after")
    def _whole_gpus(self) -> "VllmOptions":
        if self.tensor_parallel_size > 1 and self.engines_per_gpu not in ("auto", 1):
            raise ValueError(
                f"engines_per_gpu: {self.engines_per_gpu} with tensor_parallel_size {self.tensor_parallel_size}; an "
                "engine over several GPUs has them to itself: set one of the two to 1"
            )
        return self

    def for_process(self, processes: int, *, adapters: bool) -> Self:
        """Without adapters `max_lora_rank` is 0: an engine that serves none is faster."""
        return self if adapters else self.model_copy(update={"max_lora_rank": 0})


class OpenAIOptions(BackendOptions):
    """A service with OpenAI's chat completions API."""

    added_later = frozenset({"body", "complete_reasons"})
    changes_rows: ClassVar[frozenset[str]] = frozenset({"base_url", "body", "complete_reasons"})
    in_every_fingerprint: ClassVar[bool] = True  # as in data sets that exist

    base_url: str = Field(default="https://api.openai.com/v1", description="Address of the API, without /chat/…")
    api_key_env: str = Field(
        default="OPENAI_API_KEY", description="Environment variable that holds the key; the key itself is never stored."
    )
    max_concurrency: int = Field(default=16, ge=1, description="Requests at once.")
    requests_per_minute: float = Field(default=0, ge=0, description="Most requests in a minute. 0: no limit.")
    timeout_s: float = Field(default=120, gt=0, description="Seconds to wait for an answer.")
    retries: int = Field(default=6, ge=0, description="How often a failed request is sent again.")
    body: dict[str, Any] = Field(
        default_factory=dict,
        description="Fields of each request, beside the usual ones or instead of them, such as reasoning_effort: low. "
        "null leaves a field out that the service refuses.",
    )
    complete_reasons: tuple[str, ...] = Field(
        default=(),
        description="Values of finish_reason that stand for a whole answer, beside those that are known (stop, eos, "
        "end_turn …). An empty text stands for none at all.",
    )

    @field_validator("body")
    @classmethod
    def _only_options(cls, body: dict[str, Any]) -> dict[str, Any]:
        for name in ("model", "messages", "stream", "n"):
            if name in body:
                fix = "set generator.model" if name == "model" else "leave it out"
                raise ValueError(f"{name}: it cannot be set here; {fix}")
        return body

    def row_identity(self) -> Any:
        """The address alone, so that fingerprints of existing shards stay; where later options are set, these too."""
        values = super().row_identity()
        return self.base_url if set(values) == {"base_url"} else values

    def for_process(self, processes: int, *, adapters: bool) -> Self:
        """`requests_per_minute` is a limit of the whole run: each process takes its share."""
        return self.model_copy(update={"requests_per_minute": self.requests_per_minute / processes})


class EchoOptions(BackendOptions):
    """The test backend, which answers with sentences of the passage and needs no model."""

    changes_rows: ClassVar[frozenset[str]] = frozenset({"defect_rate"})
    in_every_fingerprint: ClassVar[bool] = True  # as in data sets that exist

    defect_rate: float = Field(default=0.2, ge=0, le=1, description="Share of answers that are bad on purpose.")

    def row_identity(self) -> None:
        """None: `Generator.shard_identity` includes the defect rate for every backend."""
        return None


class Generator(Section):
    """The model that answers the prompts, and the engine that runs it."""

    added_later = frozenset({"chat_template_kwargs"})

    backend: Literal["auto", BackendName] = Field(
        default="auto", description="Engine. auto: vllm if it is installed, else transformers."
    )
    model: str = Field(description="A packaged model, a folder, a .gguf file, a hub name, or a service's model.")
    sha256: str | None = Field(default=None, description="Expected hash of the weights; a different one is an error.")
    dtype: Literal["auto", "bfloat16", "float32"] = Field(
        default="auto", description="Type of the weights. auto: bfloat16 where the device is fast with it."
    )
    max_model_len: int = Field(default=2048, ge=64, description="Most tokens of a prompt and its answer together.")
    chat_template_kwargs: dict[str, Any] = Field(
        default_factory=dict,
        description="Variables of a local model's chat template, such as enable_thinking: false.",
    )
    batch_size: int = Field(default=32, ge=1, description="Prompts at once (transformers).")
    threads: int = Field(default=0, ge=0, description="CPU threads. 0: all cores, divided by the worker processes.")
    vllm: VllmOptions = Field(default=VllmOptions(), description="Options of the backend vllm.")
    openai: OpenAIOptions = Field(default=OpenAIOptions(), description="Options of the backend openai.")
    echo: EchoOptions = Field(default=EchoOptions(), description="Options of the backend echo.")

    def options(self) -> dict[str, BackendOptions]:
        """The options of all backends that have some, by the backend's name."""
        return {name: value for name, value in self if isinstance(value, BackendOptions)}

    def possible_options(self) -> dict[str, BackendOptions]:
        """The options of the chosen backend; with `auto`, which may become any, of all."""
        return {name: value for name, value in self.options().items() if self.backend in ("auto", name)}

    def identity(self) -> dict[str, Any]:
        """What a run's fingerprint depends on: not where weights are, how fast it is or with which secret."""
        options = self.options()
        body = self.model_dump(mode="json", by_alias=True, exclude={"model", "threads", *options})
        for name, value in options.items():
            if value.changes_rows and (value.in_every_fingerprint or name == self.backend):
                body[name] = value.model_dump(mode="json", by_alias=True, include=set(value.changes_rows))
        return body

    def shard_identity(self) -> dict[str, Any]:
        """What a generated shard's fingerprint depends on, beside the model's hash. The names are in data sets that
        exist: `service` is what the chosen backend's options add."""
        options = self.options().get(self.backend)
        shared = {"dtype", "max_model_len", "chat_template_kwargs", "batch_size", "echo"}
        return {
            "generator": self.model_dump(mode="json", by_alias=True, include=shared),
            "service": options and options.row_identity(),
        }

    def for_process(self, processes: int, *, adapters: bool) -> Self:
        """The section for one of `processes` worker processes; `adapters`: whether the run trains and uses adapters."""
        options = self.options().items()
        return self.model_copy(
            update={name: value.for_process(processes, adapters=adapters) for name, value in options}
        )

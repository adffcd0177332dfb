"""Who turns prompts into text, and the options of each backend."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from configs.schema.section import Section


class VllmOptions(Section):
    """A fleet of engines, each a process of its own (docs/throughput.md)."""

    engines_per_gpu: Literal["auto"] | Annotated[int, Field(ge=1, le=16)] = "auto"  # by model size and measured rates
    mps: bool = False  # engines that share a GPU run on it beside each other; one's crash may end the others'
    max_num_seqs: int = Field(default=256, ge=1)  # sequences at once, of one engine
    max_num_batched_tokens: int | None = Field(default=None, ge=64)  # tokens a step; None: vLLM's own
    tensor_parallel_size: int = Field(default=1, ge=1)
    gpu_memory_utilization: float = Field(default=0.9, gt=0, le=1)
    kv_cache_gib: float = Field(default=2.0, gt=0)  # the CPU build's KV cache
    enforce_eager: bool | None = None  # None: on the CPU build only
    enable_prefix_caching: bool = True
    kv_cache_dtype: Literal["auto", "fp8"] = "auto"
    attention_backend: str | None = Field(default=None, pattern=r"^[A-Z0-9_]+$")  # vLLM's name of one; None: its choice
    decode_kernel: bool = True  # where that is FLASH_ATTN: our attention for sequences that write
    refill: float | None = Field(default=None, ge=0, le=0.5)  # sequences replaced at once; None: 1/8 if engines share
    per_request_seeds: bool = True  # rows can be drawn again; off, FlashInfer may draw
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

"""What a training run is asked for. Every key changes what happens, or is refused."""

from typing import Any, Literal

from pydantic import ConfigDict, Field, model_validator

from configs.schema import Name, Section


class Data(Section):
    """`tokenizer`: a tokenizer.json or its folder; or one of `vocabulary` tokens is learnt from the shards."""

    tokenizer: str | None = None
    vocabulary: int | None = Field(default=None, ge=300, le=262_144)
    eos: str | None = None  # the token that ends a document, where the tokenizer's folder does not say
    held_out: float = Field(default=0.02, gt=0, lt=1)  # share of the seeds whose rows are never trained on

    @model_validator(mode="after")
    def _one(self) -> "Data":
        if (self.tokenizer is None) == (self.vocabulary is None):
            raise ValueError("give either tokenizer (a path) or vocabulary (a size to learn)")
        if self.tokenizer is None and self.eos is not None:
            raise ValueError("eos belongs to a given tokenizer; a learnt one has its own")
        return self


class ModelSize(Section):
    """A preset of `configs/catalogue/sizes.yaml`; other keys are fields of the model's configuration and override
    it."""

    model_config = ConfigDict(frozen=True, extra="allow")
    preset: Literal["tiny", "small", "nano"]

    @property
    def changes(self) -> dict[str, Any]:
        return dict(self.model_extra or {})


class BatchSize(Section):
    length: int = Field(ge=8)  # tokens of a sequence
    sequences: int = Field(ge=1)  # of an optimizer step, over all ranks
    micro: int = Field(ge=1)  # sequences of one forward pass of one rank


class Optimizer(Section):
    """`muon`: Muon for the layers' matrices, AdamW for embeddings, norms and gates, at `learning_rate` each its own."""

    name: Literal["adamw", "muon"] = "adamw"
    learning_rate: float = Field(gt=0)
    matrix_learning_rate: float | None = Field(default=None, gt=0)  # Muon's
    weight_decay: float = Field(default=0.1, ge=0)
    betas: tuple[float, float] = (0.9, 0.95)
    clip: float = Field(default=1.0, gt=0)  # largest norm of the gradient

    @model_validator(mode="after")
    def _matrix(self) -> "Optimizer":
        if (self.name == "muon") != (self.matrix_learning_rate is not None):
            raise ValueError("matrix_learning_rate is Muon's: give it with name: muon, and only there")
        return self


class Schedule(Section):
    """Warm-up, then a cosine to `floor`, or (`wsd`) a constant rate and a linear decay over the last `decay` share."""

    kind: Literal["cosine", "wsd"] = "cosine"
    warmup: int = Field(default=100, ge=0)  # steps
    decay: float | None = Field(default=None, gt=0, le=1)
    floor: float = Field(default=0.1, ge=0, le=1)  # of the learning rate

    @model_validator(mode="after")
    def _decay(self) -> "Schedule":
        if (self.kind == "wsd") != (self.decay is not None):
            raise ValueError("decay is the wsd schedule's: give it with kind: wsd, and only there")
        return self


class Checkpoints(Section):
    every: int = Field(ge=1)  # steps
    keep: int = Field(default=2, ge=1)  # the newest


class HeldOut(Section):
    every: int = Field(ge=1)  # steps
    batches: int = Field(default=64, ge=1)  # at most so many a time


class Training(Section):
    name: Name
    out: str  # the run's folder
    seed: int = Field(default=17, ge=0)
    steps: int = Field(ge=1)
    data: Data
    model: ModelSize
    batch: BatchSize
    optimizer: Optimizer
    schedule: Schedule = Schedule()
    precision: Literal["auto", "bfloat16", "float32"] = "auto"  # auto: bfloat16 on a GPU
    compile: bool = False
    threads: int = Field(default=0, ge=0)  # 0: all cores, divided by the ranks on this machine
    log_every: int = Field(default=10, ge=1)  # steps
    held_out: HeldOut
    checkpoints: Checkpoints

    @model_validator(mode="after")
    def _joined(self) -> "Training":
        if self.batch.sequences % self.batch.micro:
            raise ValueError("batch.sequences: must be a multiple of batch.micro")
        if self.schedule.warmup >= self.steps:
            raise ValueError("schedule.warmup: must be below steps")
        return self

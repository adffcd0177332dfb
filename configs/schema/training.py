"""The configuration of a language model's training (`gristmill train`)."""

from typing import Any, Literal

from pydantic import ConfigDict, Field, model_validator

from configs.schema import Name, Section


class Data(Section):
    """How the shards become tokens. Give either tokenizer or vocabulary."""

    tokenizer: str | None = Field(default=None, description="A tokenizer.json, or the folder that holds it.")
    vocabulary: int | None = Field(
        default=None, ge=300, le=262_144, description="Learn a tokenizer of so many tokens from the shards."
    )
    eos: str | None = Field(
        default=None, description="Token that ends a document, where the tokenizer's folder does not name it."
    )
    held_out: float = Field(
        default=0.02, gt=0, lt=1, description="Share of the documents whose rows are never trained on, only evaluated."
    )

    @model_validator(mode="after")
    def _one(self) -> "Data":
        if (self.tokenizer is None) == (self.vocabulary is None):
            raise ValueError("give either tokenizer (a path) or vocabulary (a size to learn)")
        if self.tokenizer is None and self.eos is not None:
            raise ValueError("eos belongs to a tokenizer given by path; one that is learnt has its own")
        return self


class ModelSize(Section):
    """A size of `configs/catalogue/sizes.yaml`. Other keys override fields of the model's configuration."""

    model_config = ConfigDict(frozen=True, extra="allow")
    preset: Literal["tiny", "small", "nano"] = Field(description="Size of the model.")

    @property
    def changes(self) -> dict[str, Any]:
        return dict(self.model_extra or {})


class BatchSize(Section):
    """How many tokens an optimizer step reads."""

    length: int = Field(ge=8, description="Tokens of a sequence.")
    sequences: int = Field(ge=1, description="Sequences of an optimizer step, over all ranks.")
    micro: int = Field(ge=1, description="Sequences of one forward pass of one rank.")


class Optimizer(Section):
    """The optimizer and its rates."""

    name: Literal["adamw", "muon"] = Field(
        default="adamw", description="muon: Muon for the layers' matrices, AdamW for embeddings, norms and gates."
    )
    learning_rate: float = Field(gt=0, description="Peak learning rate of AdamW.")
    matrix_learning_rate: float | None = Field(
        default=None, gt=0, description="Peak learning rate of Muon. Required with name: muon, refused without."
    )
    weight_decay: float = Field(default=0.1, ge=0, description="Decoupled weight decay.")
    betas: tuple[float, float] = Field(default=(0.9, 0.95), description="AdamW's decay rates of the two moments.")
    clip: float = Field(default=1.0, gt=0, description="Largest norm of the gradient; a larger one is scaled down.")

    @model_validator(mode="after")
    def _matrix(self) -> "Optimizer":
        if (self.name == "muon") != (self.matrix_learning_rate is not None):
            raise ValueError("matrix_learning_rate is Muon's: give it with name: muon, and only there")
        return self


class Schedule(Section):
    """How the learning rate changes from step to step, after a linear warm-up."""

    kind: Literal["cosine", "wsd"] = Field(
        default="cosine", description="cosine: down to the floor; wsd: constant, then a linear decay."
    )
    warmup: int = Field(default=100, ge=0, description="Steps of the warm-up.")
    decay: float | None = Field(default=None, gt=0, le=1, description="wsd: share of the steps that decay.")
    floor: float = Field(default=0.1, ge=0, le=1, description="Last learning rate, as a share of the peak.")

    @model_validator(mode="after")
    def _decay(self) -> "Schedule":
        if (self.kind == "wsd") != (self.decay is not None):
            raise ValueError("decay is the wsd schedule's: give it with kind: wsd, and only there")
        return self


class Checkpoints(Section):
    """When the state of the training is written."""

    every: int = Field(ge=1, description="Steps between two checkpoints.")
    keep: int = Field(default=2, ge=1, description="How many of the newest checkpoints are kept.")


class HeldOut(Section):
    """When the model is evaluated on held-out rows."""

    every: int = Field(ge=1, description="Steps between two evaluations.")
    batches: int = Field(default=64, ge=1, description="Most batches of an evaluation.")


class Training(Section):
    """The configuration of a language model's training: what `gristmill train` does."""

    name: Name = Field(description="Name of the run.")
    out: str = Field(description="Folder of the run.")
    seed: int = Field(default=17, ge=0, description="Seed of every random draw.")
    steps: int = Field(ge=1, description="Optimizer steps.")
    start_from: str | None = Field(
        default=None,
        description="Folder of a model or a checkpoint whose weights and tokenizer the training starts with.",
    )
    data: Data = Field(description="How the shards become tokens.")
    model: ModelSize = Field(description="Size of the model.")
    batch: BatchSize = Field(description="How many tokens an optimizer step reads.")
    optimizer: Optimizer = Field(description="The optimizer and its rates.")
    schedule: Schedule = Field(default=Schedule(), description="How the learning rate changes.")
    precision: Literal["auto", "bfloat16", "float32"] = Field(
        default="auto", description="Type that the model computes in. auto: bfloat16 on a GPU, else float32."
    )
    compile: bool = Field(default=False, description="Compile the model with torch.compile.")
    threads: int = Field(
        default=0, ge=0, description="CPU threads. 0: all cores, divided by the ranks on this machine."
    )
    log_every: int = Field(default=10, ge=1, description="Steps between two lines of progress.")
    held_out: HeldOut = Field(description="When the model is evaluated on held-out rows.")
    checkpoints: Checkpoints = Field(description="When the state of the training is written.")

    @model_validator(mode="after")
    def _joined(self) -> "Training":
        if self.batch.sequences % self.batch.micro:
            raise ValueError("batch.sequences: must be a multiple of batch.micro")
        if self.schedule.warmup >= self.steps:
            raise ValueError("schedule.warmup: must be below steps")
        return self

"""The section `evolve`: how one date's rows make a better generator for the next, and when one is taken."""

from typing import Literal

from pydantic import Field, model_validator

from configs.schema.lora import Lora
from configs.schema.screening import FilterSpec
from configs.schema.section import Name, Section

CandidateKind = Literal["sft", "dpo", "tasks", "prompt"]


class Gate(Section):
    """The limits that a challenger has to keep. Utility is bits per byte saved on real held-out text, as a share."""

    alpha: float = Field(
        default=0.025,
        gt=0,
        lt=0.5,
        description="How often a challenger that is no better may pass the first test. The vault spends the same over "
        "all its openings: 6 alpha / (pi t)^2 at the t-th.",
    )
    min_gain_at_equal_tokens: float = Field(
        default=-0.005, ge=-1, le=1, description="Lowest bound of the utility at equal bytes of rows that passes."
    )
    max_rightness_loss: float = Field(
        default=0.0, ge=0, le=1, description="How far the share of answers that the verifier holds right may fall."
    )
    max_diversity_loss: float = Field(
        default=0.05, gt=0, le=1, description="Largest loss of compression ratio or distinct 3-grams to the champion."
    )
    max_diversity_loss_to_base: float = Field(default=0.10, gt=0, le=1, description="As above, to the base model.")
    min_coverage: float = Field(
        default=0.95, gt=0, le=1, description="Effective number of passages with accepted rows, to the champion's."
    )
    max_source_share: float = Field(
        default=2.0, ge=1, description="Largest share of a source among accepted rows, to its share of the passages."
    )
    max_copying: float = Field(
        default=0.05, ge=0, le=1, description="How far the median share of copied words may rise."
    )
    max_length_change: float = Field(default=0.15, gt=0, description="Change of the mean length of accepted answers.")
    max_surprise_change: float = Field(
        default=0.15,
        gt=0,
        description="Change of the 10th, 50th and 90th percentile of the bits per byte of accepted answers.",
    )
    max_hidden_gap: float = Field(
        default=0.05,
        ge=0,
        le=1,
        description="How far the share of accepted rows that pass the hidden filters may fall.",
    )


class Evolve(Section):
    """Candidates are trained on accepted and rejected answers of all dates and compared on passages set aside."""

    candidates: tuple[CandidateKind, ...] = Field(
        default=("sft", "dpo"),
        min_length=1,
        description="What is tried, one a date in turn. sft: accepted answers. dpo: accepted against rejected answers "
        "of a passage. tasks: other shares of the tasks. prompt: other prompts, see prompts.",
    )
    prompts: dict[Name, tuple[Name, ...]] = Field(
        default_factory=dict,
        description="For the candidate prompt: by task, other tasks whose prompts may take its place.",
    )
    measured_share: float = Field(
        default=0.2,
        gt=0,
        lt=1,
        description="Share of the documents that nothing is trained on: candidates are measured with them. While a "
        "champion has an adapter it can be lowered, not raised: it has learnt the documents that would be added.",
    )
    probes: int = Field(default=400, ge=8, description="Passages of a domain that each generator writes about.")
    held_out: int = Field(default=150, ge=4, description="Real passages of a domain whose bits per byte are measured.")
    core: int = Field(default=300, ge=0, description="Further real passages that every student is trained on.")
    draws: int = Field(default=24, ge=2, description="Students of each generator and budget.")
    min_rows: int = Field(default=64, ge=4, description="With fewer accepted rows in a domain nothing is trained.")
    rows_per_passage: int = Field(default=2, ge=1, description="Most accepted answers to a passage in training.")
    real_share: float = Field(
        default=0.3, ge=0, lt=1, description="Share of real text among the examples of training, at least."
    )
    hidden: tuple[FilterSpec, ...] = Field(
        default=(),
        description="Filters that candidates are measured with and that no run uses. Unset: support with "
        "min_share 0.5, and grounded.",
    )
    keep_days: int | None = Field(
        default=90, ge=1, description="Days that the answers of a date are kept for training. null: for ever."
    )
    max_cost_share: float | None = Field(
        default=0.2,
        gt=0,
        description="A date is not judged until the dates since the last judged one have generated for so long that "
        "judging takes at most this share of it. While a new champion is on trial every date is. null: always.",
    )
    rejudge_dates: int = Field(
        default=3, ge=0, description="Dates for which a new champion is compared with the one before it."
    )
    lora: Lora = Field(default=Lora(), description="How adapters are trained.")
    gate: Gate = Field(default=Gate(), description="The limits that a challenger has to keep.")

    @model_validator(mode="after")
    def _has_prompts(self) -> "Evolve":
        if "prompt" in self.candidates and not self.prompts:
            raise ValueError("prompts: missing, although candidates has prompt; name tasks to try, or remove prompt")
        return self

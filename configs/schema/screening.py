"""Which filters a candidate passes, in which order, and the encoder that some of them read."""

from typing import Any, Literal

from pydantic import ConfigDict, Field, field_validator, model_validator

from configs.schema.section import Section


class FilterSpec(Section):
    """One filter of the screen by name; its other keys are the filter's own fields."""

    model_config = ConfigDict(frozen=True, extra="allow")
    name: str = Field(description="Name of a filter (gristmill filter list), or package.module:Class of your own.")

    @property
    def options(self) -> dict[str, Any]:
        return dict(self.model_extra or {})


class Encoder(Section):
    """The model that embeds texts, for the filters domain and quality and for dedup.semantic."""

    model: str = Field(default="multilingual-e5-small", description="A packaged encoder, a folder or a hub name.")
    sha256: str | None = Field(default=None, description="Expected hash of the weights; a different one is an error.")
    adapter: str = Field(
        default="shipped",
        description="Fine-tuning of the encoder. shipped: ours, if there is one for the model; none; or a folder "
        "that gristmill filter train --tune wrote.",
    )
    dtype: Literal["auto", "bfloat16", "float32"] = Field(
        default="auto", description="Type of the weights. auto: bfloat16 where the device is fast with it."
    )
    max_length: int = Field(default=256, ge=16, le=512, description="Tokens of a text; longer texts are cut.")
    batch_tokens: int | None = Field(
        default=None, ge=512, description="Tokens of a batch, padding included. Unset: what suits the device."
    )


CASCADE = """
secrets privacy safety length truncation refusal rules repetition prompt_echo gain contrast language
support citations doses contamination domain
""".split()  # noqa: SIM905 - reads as a list


class Screen(Section):
    """Filters in order: cheapest first, those that mask before those that quote. `gristmill filter list` shows all."""

    added_later = frozenset({"prefer"})

    filters: tuple[FilterSpec, ...] = Field(
        default=tuple(FilterSpec(name=name) for name in CASCADE),
        min_length=1,
        description="Filters in the order in which they are applied.",
    )
    prefer: tuple[str, ...] = Field(
        default=("grounded", "gain", "plausibility"),
        description="Scores by which the best of several samples is chosen: the first that a sample has decides.",
    )
    encoder: Encoder | None = Field(
        default=None, description="The model that embeds texts. Unset: none, unless filters is unset too."
    )

    @model_validator(mode="before")
    @classmethod
    def _default_encoder(cls, data: Any) -> Any:
        """Without filters, the default ones are used, with the default encoder."""
        if isinstance(data, dict) and "filters" not in data:
            return {"encoder": {}} | data
        return data

    @field_validator("filters")
    @classmethod
    def _named_once(cls, value: tuple[FilterSpec, ...]) -> tuple[FilterSpec, ...]:
        names = [spec.name for spec in value]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"named twice: {', '.join(twice)}")
        return value

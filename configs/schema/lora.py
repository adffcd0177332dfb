"""How LoRA adapters are trained: shared by `adapt` and `evolve`."""

from pydantic import Field

from configs.schema.section import Section


class Lora(Section):
    """How adapters are trained."""

    parameter_share: float = Field(
        default=0.01, gt=0, le=0.2, description="Trainable parameters / all parameters. The rank follows from it."
    )
    max_rank: int = Field(default=64, ge=1, description="Largest rank of an adapter.")
    learning_rate: float = Field(default=5e-4, gt=0, description="Learning rate of AdamW.")
    epochs: int = Field(default=2, ge=1, description="Passes over the accepted rows.")
    max_tokens: int = Field(default=40_000, ge=1, description="Training stops after this many tokens.")
    max_length: int = Field(default=512, ge=32, description="Tokens of a row; longer rows are cut.")
    batch_rows: int = Field(default=8, ge=1, description="Rows of an optimizer step.")

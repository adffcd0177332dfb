"""What is generated: a task's prompts and the shape of its answer, and how tokens are drawn."""

from typing import Any, Literal

from pydantic import Field, model_validator

from configs.schema.section import Language, Name, Section


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
    system: dict[Language, str] = Field(default_factory=dict)
    styles: dict[Language, tuple[str, ...]] = Field(default_factory=dict)
    format: Literal["text", "labelled", "json"] = "text"
    # labelled: language -> field -> the label in the answer
    labels: dict[Language, dict[str, str]] = Field(default_factory=dict)
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

"""What is generated: a task's prompts and the shape of its answer, and how tokens are drawn."""

from typing import Any, Literal

from pydantic import Field, model_validator

from configs.schema.section import Language, Name, Section


class Sampling(Section):
    """How tokens are drawn. `top_k` 0 and `top_p` 1 switch the cut off; `temperature` 0 is greedy."""

    temperature: float = Field(default=0.7, ge=0, le=2, description="0 always takes the likeliest token.")
    top_p: float = Field(
        default=0.95, gt=0, le=1, description="Draw from the likeliest tokens that hold this probability. 1: from all."
    )
    top_k: int = Field(default=50, ge=0, le=1000, description="Draw from so many likeliest tokens. 0: from all.")
    repetition_penalty: float = Field(
        default=1.0, ge=0.5, le=2, description="Above 1, tokens that are there already become less likely."
    )
    max_tokens: int = Field(default=160, ge=1, le=32_768, description="Most new tokens of an answer.")


class Message(Section):
    """One turn of a conversation."""

    role: Literal["system", "user", "assistant"] = Field(description="Who speaks.")
    content: str = Field(description="Jinja template of the text.")


# `needs_parameters` of shipped tasks, and what it was when data sets were first made.
_NEEDS = 1_000_000_000
_NEEDED = {
    "explain": 0,
    "summary": 0,
    "question-answer": 400_000_000,
    "case-analysis": 400_000_000,
    "dialogue": 400_000_000,
    "extraction": 400_000_000,
    "preference": 400_000_000,
}


class Task(Section):
    """What is generated: a Jinja prompt over the passage, and the shape of the answer.

    Templates see `passage`, `title`, `language`, `style`, and `fields` (the parsed answer) once there is one. With
    another `target` they also see `sentence` and `swap`, which is true for half of the passages; with an edit also the
    words `old`, and in the row `fields.new` and `fields.text`, the wrong sentence; with a definition `term` and
    `meaning`.
    """

    added_later = frozenset({"target", "writes"})

    name: Name = Field(description="Name of the task; the file's name or the key if left out.")
    description: str = Field(description="What the task is, in a sentence.")
    languages: tuple[Language, ...] = Field(description="Languages that the task has templates for.")
    prompt: dict[Language, str] = Field(description="Template of the prompt, by language.")
    system: dict[Language, str] = Field(default_factory=dict, description="System message, by language.")
    target: Literal["passage", "sentence", "edit", "definition"] = Field(
        default="passage",
        description="What a row is about. passage; sentence: one of it that says something by itself; edit: the same "
        "with one place to be changed, so that it gets wrong; definition: what the passage says that a term means.",
    )
    writes: Literal["answer", "extract", "question", "distractor", "nothing"] = Field(
        default="answer",
        description="What the model's text is in the row. answer: prose; extract: parts of the passage, as data; "
        "question: one to an answer that is real text; distractor: a wrong alternative to real text; nothing: the "
        "question is a template's, the answer real text, and the model only scores how well they fit. Filters judge "
        "each by its own rules.",
    )
    styles: dict[Language, tuple[str, ...]] = Field(
        default_factory=dict, description="Styles by language; each prompt gets one of them as style."
    )
    format: Literal["text", "sentence", "labelled", "json"] = Field(
        default="text",
        description="How an answer is read. text: one field named text; sentence: the same, only the first sentence; "
        "labelled: lines Label: …; json: one object.",
    )
    labels: dict[Language, dict[str, str]] = Field(
        default_factory=dict, description="labelled: the label of each field in the answer, by language."
    )
    answer: dict[str, Any] = Field(description="JSON Schema of the parsed answer.")
    messages: dict[Language, tuple[Message, ...]] = Field(
        description="Templates of the conversation that the row holds, by language."
    )
    rejected: str | None = Field(default=None, description="Template of the worse answer of a preference pair.")
    sampling: Sampling = Field(default=Sampling(), description="How tokens are drawn.")
    needs_parameters: int = Field(
        default=0, description="Models with fewer parameters are known to be too weak and do not get the task."
    )

    @model_validator(mode="after")
    def _complete(self) -> "Task":
        for language in self.languages:
            for key in ("prompt", "messages"):
                if language not in getattr(self, key):
                    raise ValueError(f"{key}.{language}: missing, although languages names {language}")
            if self.format == "labelled" and language not in self.labels:
                raise ValueError(f"labels.{language}: missing, although format is labelled")
        if (self.target == "definition") != (self.writes == "nothing"):
            raise ValueError("target: definition and writes: nothing go together; set both, or none")
        return self

    def hashed_as(self) -> dict[str, Any]:
        """A shipped task keeps the digest that it had before its `needs_parameters` was measured."""
        is_shipped = self.needs_parameters == _NEEDS and self.name in _NEEDED
        return {"needs_parameters": _NEEDED[self.name]} if is_shipped else {}

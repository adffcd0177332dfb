"""The rubric of an audit: what a reader is asked about a row, and the key of each answer."""

from typing import Literal

from pydantic import Field, model_validator

from configs.schema.section import Section

COMMAND_KEYS = "sq"  # of the terminal form: skip, quit


class RubricAnswer(Section):
    """One answer to a question."""

    key: str = Field(pattern="^[a-z0-9]$", description="The key that gives this answer.")
    value: int = Field(ge=0, le=5, description="The value that a label stores.")
    text: str = Field(min_length=1, description="What the answer means.")


class RubricQuestion(Section):
    """One question about a row."""

    name: Literal["faithful", "complete", "useful"] = Field(description="The label's field.")
    question: str = Field(min_length=1, description="What the reader is asked.")
    hint: str = Field(default="", description="What helps to decide.")
    answers: tuple[RubricAnswer, ...] = Field(min_length=2, description="The answers to choose from.")


class RubricFault(Section):
    """One kind of fault."""

    key: str = Field(pattern="^[a-z0-9]$", description="The key that names this fault.")
    name: str = Field(pattern="^[a-z_]+$", description="The value that a label stores.")
    text: str = Field(min_length=1, description="What the fault is.")


class AuditRubric(Section):
    """The questions and faults of an audit."""

    about: str = Field(min_length=1, description="How to read.")
    right: str = Field(min_length=1, description="When a row counts as right.")
    written: dict[Literal["question", "distractor", "nothing"], str] = Field(
        default_factory=dict, description="What to judge where the model wrote something else than the answer."
    )
    questions: tuple[RubricQuestion, ...] = Field(description="The questions, in the order in which they are asked.")
    faults: tuple[RubricFault, ...] = Field(min_length=1, description="The kinds of fault; `none` is one of them.")

    @model_validator(mode="after")
    def _unambiguous(self) -> "AuditRubric":
        if sorted(question.name for question in self.questions) != ["complete", "faithful", "useful"]:
            raise ValueError("questions: ask for faithful, complete and useful, each once")
        if "none" not in self.fault_names:
            raise ValueError("faults: `none` is missing")
        keys = [answer.key for question in self.questions for answer in question.answers]
        keys += [fault.key for fault in self.faults]
        twice = sorted({key for key in keys if keys.count(key) > 1} | {key for key in keys if key in COMMAND_KEYS})
        if twice:
            raise ValueError(f"keys used twice, or by the terminal form itself: {', '.join(twice)}; choose others")
        return self

    @property
    def fault_names(self) -> list[str]:
        """The kinds of fault, in the order of the file."""
        return [fault.name for fault in self.faults]

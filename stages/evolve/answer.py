"""What the loop knows of the generator's answers: those of past dates to learn from, and those to measured passages."""

from dataclasses import dataclass, fields

import pyarrow as pa

PLANTED = PLANTED_GOOD, PLANTED_BAD = "planted good", "planted bad"  # "generators" of answers of known worth


@dataclass(frozen=True, slots=True)
class CollectedAnswer:
    """One of several answers to one prompt of a run, accepted or rejected. Personal data is masked in it."""

    id: str  # of the candidate
    seed_id: str
    document_id: str
    domain: str
    language: str
    source: str
    task: str
    prompt: str  # JSON: the messages sent to the generator, and the answer's given beginning as the last one
    answer: str  # what the generator wrote, raw
    accepted: bool  # every filter kept it; another sample of the passage may have been published in its place
    # of the rejection; of an accepted answer that dedup dropped (right, but not new) the kind of duplicate; else ""
    reason: str
    score: float  # by which samples of a passage are compared (screen.prefer); 0 where there is none
    output_tokens: int
    adapter: str | None
    date: str


@dataclass(frozen=True, slots=True)
class ProbeAnswer:
    """What one generator wrote about a measured passage, as the filters judged it."""

    generator: str  # base | champion | previous | challenger
    domain: str
    seed_id: str
    document_id: str
    source: str
    task: str
    text: str  # the row's text without the passage: what a student learns from it
    answer: str  # the generator's own text
    accepted: bool
    reason: str  # of the rejection; "" for accepted answers
    copied: float | None  # share of the answer's word n-grams that are in the passage (filter prompt_echo), 0 to 1
    rightness: float | None  # the verifier's score (filter grounded); None where it judged nothing
    hidden: bool | None  # whether the hidden filters keep it; None for rejected answers
    tokens: int  # of prompt and answer: what it cost


def arrow_schema(kind: type) -> pa.Schema:
    """The Arrow schema of one of the two records."""
    types = {"str": pa.string(), "bool": pa.bool_(), "float": pa.float64(), "int": pa.int64()}
    return pa.schema(
        [
            (field.name, types[getattr(field.type, "__name__", str(field.type)).split(" | ")[0]])
            for field in fields(kind)
        ]
    )

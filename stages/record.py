"""The rows that flow between stages, and their Arrow schemas.

Seed -> Candidate -> Row: a seed is a passage of a real document, a candidate is what a generator wrote about it, a row
is a candidate that passed every filter and is published.
"""

import hashlib
import re
from dataclasses import dataclass, field, fields

import pyarrow as pa

MESSAGE = pa.struct([("role", pa.string()), ("content", pa.string())])
_PASSAGE_NUMBER = re.compile(r" #\d+$")  # the second and later passages of a document have one in their location
SCORE = pa.struct([("filter", pa.string()), ("score", pa.float32())])


def content_id(*parts: str) -> str:
    """The first 128 bits of SHA-256 over the parts, as 32 hex digits. ("ab", "c") and ("a", "bc") have two ids."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(8, "big"))
        digest.update(data)
    return digest.hexdigest()[:32]


def uniform(*parts: str) -> float:
    """A number in [0, 1) by a hash of the parts.

    The first part names what is drawn: passages are chosen by a hash too, and the two must not be the same.
    """
    return int(content_id(*parts)[:8], 16) / 2**32


@dataclass(frozen=True, slots=True)
class Seed:
    """A passage of a real document. `id` is a hash of domain, language and text."""

    id: str
    text: str
    title: str
    source: str  # the corpus' name, or the user's file
    location: str  # the place in the source: article, line, record id
    licence: str  # SPDX identifier where there is one
    language: str  # ISO 639-1
    domain: str

    @classmethod
    def create(
        cls, text: str, *, title: str, source: str, location: str, licence: str, language: str, domain: str
    ) -> "Seed":
        """A seed with its id."""
        return cls(content_id(domain, language, text), text, title, source, location, licence, language, domain)

    @property
    def document_id(self) -> str:
        """A hash of the source and of the document's place in it: the same for all passages of a document."""
        return content_id(self.source, _PASSAGE_NUMBER.sub("", self.location))


@dataclass(frozen=True, slots=True)
class Candidate:
    """What a generator wrote about one seed, with everything that is needed to generate it again."""

    id: str
    text: str
    messages: list[dict[str, str]]  # [{"role": …, "content": …}]
    rejected: str | None  # the worse answer of a preference task
    task: str
    domain: str
    language: str
    seed_id: str
    document_id: str  # of the document that the passage is from: what is held out is held out by document
    source: str
    licence: str
    passage: str  # the seed's text: filters compare the answer with it
    instruction: str  # the rendered prompt without the passage: filters look for copies of it in answers
    prompt: str  # JSON: the messages sent to the generator, and the answer's given beginning as the last one
    answer: str  # the raw completion
    writes: str  # what the generator's text is in the row: answer | extract | question | distractor | nothing
    written: str  # the generator's text where it is no prose answer; else ""
    target: str  # the sentence, or the meaning of a term, that the row is about, if it is about one
    finish_reason: str  # stop | length
    prompt_hash: str
    generator: str
    generator_sha256: str
    adapter: str | None  # "law@<sha256 of the adapter>"
    sampling: str  # JSON
    seed: int
    prompt_tokens: int
    output_tokens: int
    parents: list[str]
    depth: int  # 1: by the base model; one more than that of the rows that its adapter was trained on
    scores: list[dict[str, str | float]] = field(default_factory=list)
    sketch: bytes | None = None  # of the answer's embedding, for dedup

    def score(self, name: str) -> float | None:
        """The score that a filter or the generator's likelihood gave; None without one."""
        return next((float(score["score"]) for score in self.scores if score["filter"] == name), None)

    @property
    def reply(self) -> str:
        """The generator's text as the row shows it: the assistant's turns, without prompt and passage; or the question
        or the distractor that it wrote, or the texts in its data, a line each."""
        if self.written:
            return self.written
        turns = [message["content"] for message in self.messages if message["role"] == "assistant"]
        return "\n".join(turns) if turns else self.text


SEED = pa.schema([(f.name, pa.string()) for f in fields(Seed)])

CANDIDATE = pa.schema(
    [
        ("id", pa.string()),
        ("text", pa.string()),
        ("messages", pa.list_(MESSAGE)),
        ("rejected", pa.string()),
        ("task", pa.string()),
        ("domain", pa.string()),
        ("language", pa.string()),
        ("seed_id", pa.string()),
        ("document_id", pa.string()),
        ("source", pa.string()),
        ("licence", pa.string()),
        ("passage", pa.string()),
        ("instruction", pa.string()),
        ("prompt", pa.string()),
        ("answer", pa.string()),
        ("writes", pa.string()),
        ("written", pa.string()),
        ("target", pa.string()),
        ("finish_reason", pa.string()),
        ("prompt_hash", pa.string()),
        ("generator", pa.string()),
        ("generator_sha256", pa.string()),
        ("adapter", pa.string()),
        ("sampling", pa.string()),
        ("seed", pa.int64()),
        ("prompt_tokens", pa.int32()),
        ("output_tokens", pa.int32()),
        ("parents", pa.list_(pa.string())),
        ("depth", pa.int8()),
        ("scores", pa.list_(SCORE)),
        ("sketch", pa.binary()),
    ]
)

_INTERNAL = {"passage", "instruction", "prompt", "answer", "writes", "written", "target", "finish_reason", "sketch"}
ROW = pa.schema(
    [column for column in CANDIDATE if column.name not in _INTERNAL]
    + [pa.field("run_id", pa.string()), pa.field("date", pa.date32())]
)

REJECT = pa.schema(
    [
        ("id", pa.string()),
        ("seed_id", pa.string()),
        ("domain", pa.string()),
        ("stage", pa.string()),
        ("reason", pa.string()),
        ("detail", pa.string()),
        ("text", pa.string()),
        ("task", pa.string()),
        ("prompt", pa.string()),  # as `Candidate.prompt`, and the raw answer: pairs with the accepted row of a seed
        ("answer", pa.string()),
    ]
)

FILTER_ERROR = "filter_error:"  # and the filter's name: the reason of candidates on which a filter failed
SAMPLE_SCORE = pa.schema([("id", pa.string()), ("score", pa.float64())])


def reject_row(row: Candidate, stage: str, reason: str, detail: str) -> dict[str, str]:
    """A row of REJECT for a candidate that a stage does not keep, without prompt and answer."""
    return {
        "task": row.task,
        "id": row.id,
        "seed_id": row.seed_id,
        "domain": row.domain,
        "stage": stage,
        "reason": reason,
        "detail": detail,
        "text": row.text,
    }


def schema_id(schema: pa.Schema) -> str:
    """A short hash of names, types and nullability. Files with the same id can be read as one table."""
    return hashlib.sha256(schema.to_string(show_field_metadata=False).encode()).hexdigest()[:12]

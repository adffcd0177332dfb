"""The collected answers of all dates by passage, without their texts, and which of them a training uses."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from stages.evolve.roles import Measured
from stages.record import content_id, uniform
from stages.storage.inputs import read_input
from stages.storage.records import FileRef

MAX_PASSAGES = 200_000  # in memory: about 200 MB with four answers each
MIN_LENGTH_RATIO = 0.8  # of the answers of a pair: else the shorter or the longer answer would be learnt
# Reasons for which an answer is the worse one of a pair: it is wrong, or repeats itself. From truncated answers, for
# example, a generator would learn to be brief.
_TAUGHT = ("unsupported", "ungrounded", "wrong_", "implausible_dose", "repeated_", "repetition", "frequent_ngram")
_COLUMNS = ["seed_id", "document_id", "prompt", "answer", "accepted", "reason", "score"]


@dataclass(frozen=True, slots=True)
class KnownAnswer:
    """One answer to a passage."""

    key: str  # `answer_key`
    prompt: str  # a hash of the prompt
    accepted: bool
    taught: bool  # rejected for a reason for which pairs are made
    score: float
    length: int  # of the answer in characters
    chars: int  # of prompt and answer


@dataclass(frozen=True, slots=True)
class KnownPassage:
    """A passage and its answers by key."""

    seed_id: str
    document_id: str
    answers: dict[str, KnownAnswer] = field(default_factory=dict)

    @property
    def is_mixed(self) -> bool:
        """Whether there are accepted and rejected answers: then the passage is neither too easy nor too hard."""
        return len({answer.accepted for answer in self.answers.values()}) == 2

    @property
    def order(self) -> tuple[bool, str]:
        """The sort key by which passages are taken: mixed ones first, then by a hash."""
        return not self.is_mixed, content_id("training", self.seed_id)

    def accepted(self, limit: int) -> list[tuple[KnownAnswer, ...]]:
        """At most `limit` accepted answers, the best-scored first."""
        return [(answer,) for answer in self._by_score() if answer.accepted][:limit]

    def pairs(self, limit: int) -> list[tuple[KnownAnswer, ...]]:
        """At most `limit` pairs of an accepted and a rejected answer to one prompt. The accepted one has the best score
        of those that are about as long as the rejected one. Each rejected answer is in one pair."""
        pairs = []
        for rejected in sorted((answer for answer in self.answers.values() if answer.taught), key=lambda row: row.key):
            chosen = next((answer for answer in self._by_score() if _comparable(answer, rejected)), None)
            if chosen is not None:
                pairs.append((chosen, rejected))
        return pairs[:limit]

    def _by_score(self) -> list[KnownAnswer]:
        return sorted(self.answers.values(), key=lambda answer: (-answer.score, answer.key))


@dataclass(slots=True)
class KnownPassages:
    """The passages that may be trained on."""

    passages: list[KnownPassage]
    answers: int = 0  # that were read
    measured: int = 0  # answers about what candidates are measured with


def read_known(root: str, files: Iterable[FileRef], domain: str, measured: Measured) -> KnownPassages:
    """Reads the domain's answers of all dates. Of more than MAX_PASSAGES passages it keeps those whose hash is lowest.

    Empty answers, where a task needed nothing of the generator, are left out.
    """
    known = KnownPassages([])
    passages: dict[str, KnownPassage] = {}
    limit = 1.0  # of the hash of a passage
    for row in read_answers(root, files, domain, _COLUMNS):
        known.answers += 1
        if measured.includes(row["document_id"], row["seed_id"]):
            known.measured += 1
            continue
        seed_id = row["seed_id"]
        if not row["answer"].strip() or _place(seed_id) >= limit:
            continue
        passage = passages.setdefault(seed_id, KnownPassage(seed_id, row["document_id"]))
        answer = _known_answer(row)
        equal = passage.answers.get(answer.key, answer)  # two samples with one text are one answer
        passage.answers[answer.key] = max(answer, equal, key=lambda row: (row.accepted, row.taught, row.score))
        while len(passages) > MAX_PASSAGES:
            limit /= 2
            passages = {seed: passage for seed, passage in passages.items() if _place(seed) < limit}
    known.passages = sorted(passages.values(), key=lambda passage: passage.order)
    return known


def read_answers(root: str, files: Iterable[FileRef], domain: str, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The rows of a domain's collected answers, file by file."""
    for ref in files:
        for batch in read_input(root, ref, ["domain", *columns]):
            yield from (row for row in batch.to_pylist() if row["domain"] == domain)


def answer_key(row: Mapping[str, Any]) -> str:
    """A hash of passage, prompt and answer."""
    return content_id(row["seed_id"], row["prompt"], row["answer"])


def _known_answer(row: Mapping[str, Any]) -> KnownAnswer:
    return KnownAnswer(
        answer_key(row),
        content_id(row["prompt"]),
        row["accepted"],
        not row["accepted"] and row["reason"].startswith(_TAUGHT),
        row["score"],
        len(row["answer"]),
        len(row["prompt"]) + len(row["answer"]),
    )


def _comparable(chosen: KnownAnswer, rejected: KnownAnswer) -> bool:
    shorter, longer = sorted((chosen.length, rejected.length))
    return chosen.accepted and chosen.prompt == rejected.prompt and shorter >= MIN_LENGTH_RATIO * longer


def _place(seed_id: str) -> float:
    return uniform("training", seed_id)

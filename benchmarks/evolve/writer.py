"""A writer in place of a generator: sentences of its passage in other words, between clauses from elsewhere.

What its rows teach depends on `knowledge`, the share of the clauses that are real; the others are their words in random
order. The clauses are of documents that nothing is measured on, so they are new to the students, and true.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from benchmarks.evolve.texts import Texts
from filters.grounding.support import Support
from filters.prompt_echo import PromptEcho
from filters.repetition import Repetition
from stages.evolve.answer import ProbeAnswer
from stages.ports import Filter
from stages.record import Seed
from stages.sources.passages import split_sentences
from tests.factories.shards import candidate

SCREEN: dict[str, Filter] = {"prompt_echo": PromptEcho(), "repetition": Repetition(), "support": Support(min_share=0.3)}
HIDDEN = 0.4  # the hidden filter: support again, with this limit
CUT = "…"
CLAUSES = 2  # after each sentence
RIGHT = 0.45  # from this share of supported words on an answer counts as right: the verifier's stand-in


@dataclass(frozen=True)
class Writer:
    """`reworded`: share of a sentence's words that are replaced. `refused`: answers that end in the middle.

    `known`, `insight`: by passage clauses that it knows besides, and the share of its clauses that are of these.
    `clauses`, `vocabulary`: what it has instead of the texts' own, if anything.
    """

    texts: Texts
    seed: str
    knowledge: float = 0.5
    reworded: float = 0.2
    refused: float = 0.2
    sentences: int = 2
    insight: float = 0.0
    known: Mapping[str, Sequence[str]] = field(default_factory=dict)
    clauses: Sequence[str] = ()
    vocabulary: Sequence[str] = ()

    def answer(self, passage: Seed) -> str:
        """One answer; the same writer always gives the same one."""
        choice = random.Random(f"{self.seed} {passage.id}")
        own = split_sentences(passage.text)
        places = sorted(choice.sample(range(len(own)), min(self.sentences, len(own))))
        known = list(self.known.get(passage.id, ()))
        parts = []
        for place in places:
            parts.append(self._reworded(own[place], choice))
            parts += [self._clause(choice, known) for _ in range(CLAUSES)]
        text = " ".join(parts)
        return text[: len(text) // 2] + CUT if choice.random() < self.refused else text

    def _clause(self, choice: random.Random, known: list[str]) -> str:
        if known and choice.random() < self.insight:
            return known.pop()
        clause = choice.choice(self.clauses or self.texts.clauses)
        return clause if choice.random() < self.knowledge else _shuffled(clause, choice)

    def _reworded(self, sentence: str, choice: random.Random) -> str:
        return " ".join(
            choice.choice(self.vocabulary or self.texts.vocabulary) if choice.random() < self.reworded else word
            for word in sentence.split()
        )


def _shuffled(text: str, choice: random.Random) -> str:
    words = text.split()
    choice.shuffle(words)
    return " ".join(words)


def write(writer: Writer, generator: str, passages: Sequence[Seed]) -> list[ProbeAnswer]:
    """What the writer says of each passage, judged."""
    return judged(generator, [(passage, writer.answer(passage)) for passage in passages])


def judged(generator: str, written: Sequence[tuple[Seed, str]]) -> list[ProbeAnswer]:
    """Answers to passages as the filters see them. Those that end in CUT are cut off, and the verifier has no score."""
    rows = [
        replace(candidate(str(place), text), passage=seed.text, language=seed.language, domain=seed.domain)
        for place, (seed, text) in enumerate(written)
    ]
    verdicts = {name: judge(rows) for name, judge in SCREEN.items()}
    answers = []
    for place, (seed, text) in enumerate(written):
        reasons = [reason for verdict in verdicts.values() if (reason := verdict[place].reason)]
        reason = "truncated" if text.endswith(CUT) else reasons[0] if reasons else ""
        support = verdicts["support"][place].score
        answers.append(
            ProbeAnswer(
                generator=generator,
                domain=seed.domain,
                seed_id=seed.id,
                document_id=seed.document_id,
                source=seed.source,
                task="explain",
                text=text,
                answer=text,
                accepted=not reason,
                reason=reason,
                copied=verdicts["prompt_echo"][place].score,
                rightness=None if support is None or text.endswith(CUT) else support - RIGHT,
                hidden=None if reason else support is not None and support >= HIDDEN,
                tokens=(len(seed.text) + len(text)) // 4 + 60,
            )
        )
    return answers

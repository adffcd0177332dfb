"""Quadruples: two passages and two claims, each claim supported by one of the passages and not by the other.

All training data have this form, so that neither a claim nor a passage alone says anything: each is in as many good
pairs as bad ones. A model that reads claims only is at chance by construction.
"""

import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from filters.heads.grounded.edits import Edit, edits
from filters.heads.grounded.statements import Passage, Statement, coverage
from filters.heads.grounded.wording import framed

EASY_KINDS = ("removed", "addition", "neighbour", "vague", "generator", "answers")
MAX_COVERAGE = 0.75  # of a claim's words in the passage that shall not support it
SHARED = 0.3  # the share of quadruples whose claims begin with a sentence that both passages support
EDITS_PER_STATEMENT = 2
_SPLITS = {
    "spliced_subject": re.compile(r"\s(?=(?:shall|may|must|will|can|is|are|was|were|has|have|had|did|does)\s)"),
    "spliced_clause": re.compile(
        r"\s(?=(?:because|if|when|after|before|unless|where|while|so that|in order to|to|that|by|for|with|in|on)\s)"
    ),
}
_PHRASE = re.compile(
    r"\b(?:the|a|an)\s+((?:[a-z-]{4,}\s+){0,2}[a-z-]{5,})(?=\s+(?:of|in|to|and|for|is|are|was|shall|may|that|with|by)|[,.;])"
)
_VAGUE = (
    "This text is about the {}.",
    "The text discusses the {}.",
    "The passage describes the {}.",
    "The text gives information about the {}.",
    "The main subject of the text is the {}.",
)


@dataclass(frozen=True, slots=True)
class Quadruple:
    """Passage 0 supports claim 0 and not claim 1; passage 1 the other way round.

    `sure`: False where the claims are a generator's own answers: each passage supports its own better than the other
    does, but perhaps not well. `answers`: a generator's, one about each passage; as a rule they are worse than the
    passage's claim and better than the other passage's. So again a reader of claims alone is at chance.
    """

    passages: tuple[str, str]
    claims: tuple[str, str]
    kind: str
    source: str
    document: str
    human: bool = False
    sure: bool = True
    answers: tuple[str, str] | tuple[()] = ()

    @property
    def easy(self) -> bool:
        """Whether passages or claims are other texts, not edits of one text."""
        return self.kind in EASY_KINDS


def removed(one: Statement, another: Statement) -> Quadruple | None:
    """The evidence of one of two statements about a passage is removed from it, then that of the other."""
    mine, theirs = set(one.evidence), set(another.evidence)
    passages = one.passage.without(theirs - mine), one.passage.without(mine - theirs)
    if one.passage != another.passage or not mine - theirs or not theirs - mine:
        return None
    if any(not passage.sentences for passage in passages):
        return None
    return _distinct(passages, (one.claim, another.claim), "removed", one.human and another.human)


def neighbours(one: Statement, another: Statement) -> Quadruple | None:
    """Statements about two passages, of the same document for example."""
    if set(one.passage.sentences) & set(another.passage.sentences):
        return None
    return _distinct(
        (one.passage, another.passage), (one.claim, another.claim), "neighbour", one.human and another.human
    )


def edited(statement: Statement, rng: random.Random) -> Iterator[Quadruple]:
    """A fact is changed in the claim, in the passage, in both."""
    passage = statement.passage
    evidence = passage.glue.join(passage.sentences[number] for number in statement.evidence)
    for count, edit in enumerate(edits(statement.claim, evidence, passage.text, rng)):
        if count == EDITS_PER_STATEMENT:
            return
        changed = _edited_passage(passage, statement.evidence, edit)
        claim = edit.apply(statement.claim)
        if changed.text != passage.text and claim not in passage.text and statement.claim not in changed.text:
            yield Quadruple(
                (passage.text, changed.text),
                (statement.claim, claim),
                edit.kind,
                passage.source,
                passage.document,
                statement.human,
            )


def _edited_passage(passage: Passage, evidence: Sequence[int], edit: Edit) -> Passage:
    chosen = set(range(len(passage.sentences))) if edit.everywhere else set(evidence)
    parts = (edit.apply(text) if number in chosen else text for number, text in enumerate(passage.sentences))
    return replace(passage, sentences=tuple(parts))


def spliced(passage: Passage, rng: random.Random) -> Iterator[Quadruple]:
    """The second halves of two sentences trade places: who does what, and what follows from what."""
    for kind, pattern in _SPLITS.items():
        halves: list[tuple[int, str, str]] = []
        for number, sentence in enumerate(passage.sentences):
            cuts = [m for m in pattern.finditer(sentence) if 12 <= m.start() <= len(sentence) - 15]
            if cuts and passage.glue == " " and len(sentence) < 320 and sentence[:1].isupper():
                cut = rng.choice(cuts) if kind == "spliced_clause" else cuts[0]
                halves.append((number, sentence[: cut.start()], sentence[cut.end() :]))
        if len(halves) < 2:
            continue
        (m, a, b), (n, c, d) = sorted(rng.sample(halves, 2))
        if b == d or a == c:
            continue
        parts = list(passage.sentences)
        parts[m], parts[n] = f"{a} {d}", f"{c} {b}"
        changed = replace(passage, sentences=tuple(parts))
        state = rng.getstate()
        true = framed(passage.sentences[m], rng)
        rng.setstate(state)
        yield Quadruple(
            (passage.text, changed.text), (true, framed(parts[m], rng)), kind, passage.source, passage.document
        )


def vague(one: Passage, another: Passage, rng: random.Random) -> Quadruple | None:
    """Claims that only say what two passages are about."""
    phrases = [sorted(set(_PHRASE.findall(passage.text))) for passage in (one, another)]
    mine = [phrase for phrase in phrases[0] if phrase.split()[-1] not in another.text]
    theirs = [phrase for phrase in phrases[1] if phrase.split()[-1] not in one.text]
    if not mine or not theirs:
        return None
    frame = rng.choice(_VAGUE)
    claims = frame.format(rng.choice(mine)), frame.format(rng.choice(theirs))
    return Quadruple((one.text, another.text), claims, "vague", one.source, one.document)


def with_shared_start(quadruple: Quadruple, shared: Statement) -> Quadruple:
    """Both claims after a sentence that both passages support; the quadruple as it is where they do not."""
    evidence = [shared.passage.sentences[number] for number in shared.evidence]
    if not all(sentence in text for sentence in evidence for text in quadruple.passages):
        return quadruple
    if shared.claim in quadruple.claims:
        return quadruple
    first, second = (f"{shared.claim} {claim}" for claim in quadruple.claims)
    return replace(quadruple, claims=(first, second), kind="addition")


def _distinct(passages: tuple[Passage, Passage], claims: tuple[str, str], kind: str, human: bool) -> Quadruple | None:
    """A quadruple, unless a passage has most of the words of the claim that it shall not support."""
    texts = passages[0].text, passages[1].text
    if coverage(claims[0], passages[1]) > MAX_COVERAGE or coverage(claims[1], passages[0]) > MAX_COVERAGE:
        return None
    return Quadruple(texts, claims, kind, passages[0].source, passages[0].document, human)

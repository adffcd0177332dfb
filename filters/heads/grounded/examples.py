"""All quadruples of a config's sources, in a fixed order that depends on the seed alone."""

import random
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, pairwise

from filters.heads.grounded.quadruples import (
    SHARED,
    Quadruple,
    edited,
    neighbours,
    removed,
    spliced,
    vague,
    with_shared_start,
)
from filters.heads.grounded.statements import (
    Passage,
    Statement,
    Summary,
    evidence_of,
    human_statements,
    left_out_sentences,
    own_statements,
    passage_of,
    plain,
)
from stages.record import Seed
from stages.sources.passages import split_sentences

MIN_ANSWER_CHARS = 30  # of a generator's sentence
REMOVED_PER_PASSAGE = 3
# the largest source would be most of the data otherwise
MAX_PER_SOURCE_AND_KIND = 2200
MAX_EDITS_PER_SOURCE_AND_KIND = 62  # more of them teach to compare words: docs/lab/grounded.md


@dataclass(frozen=True, slots=True)
class Answer:
    """What a generator wrote about a passage."""

    passage: str
    text: str
    source: str


def training_quadruples(
    seeds: Sequence[Seed],
    summaries: Sequence[Summary],
    answers: Sequence[Answer],
    seed: int,
    left_out: Sequence[str] = (),
) -> list[Quadruple]:
    """Quadruples of all kinds, shuffled. Equal arguments give equal lists.

    Args:
        seeds: passages of the config's sources; those of one source and title are neighbours in the order given.
        summaries: what people wrote about documents.
        answers: a generator's answers, of which nobody said whether they are right.
        left_out: passages of which no sentence may be in the data: those that people labelled.
    """
    banned = left_out_sentences(left_out)
    by_document: dict[tuple[str, str], list[Passage]] = defaultdict(list)
    for item in seeds:
        passage = passage_of(item.text, item.source, f"{item.source} {item.title or item.location}")
        if not any(plain(sentence) in banned for sentence in passage.sentences):
            by_document[item.source, item.title or item.location].append(passage)
    quadruples: list[Quadruple] = []
    for (source, document), passages in sorted(by_document.items()):
        quadruples += _of_document(passages, random.Random(f"{seed} {source} {document}"))
    by_window: dict[Passage, list[Statement]] = defaultdict(list)
    for statement in human_statements(summaries, banned):
        by_window[statement.passage].append(statement)
    quadruples += _of_people(by_window, random.Random(f"{seed} people"))
    quadruples += _of_generator(answers, banned, random.Random(f"{seed} answers"))
    random.Random(f"{seed} order").shuffle(quadruples)
    counts: Counter[tuple[str, str, bool]] = Counter()
    chosen = []
    for quadruple in quadruples:
        group = quadruple.source, quadruple.kind, quadruple.human
        counts[group] += 1
        if counts[group] <= (MAX_PER_SOURCE_AND_KIND if quadruple.easy else MAX_EDITS_PER_SOURCE_AND_KIND):
            chosen.append(quadruple)
    return chosen


def _of_document(passages: Sequence[Passage], rng: random.Random) -> Iterator[Quadruple]:
    statements = [own_statements(passage, rng) for passage in passages]
    for passage, own in zip(passages, statements, strict=True):
        yield from _of_passage(own, rng)
        yield from spliced(passage, rng)
    for (one, left), (another, right) in pairwise(zip(passages, statements, strict=True)):
        if left and right:
            quadruple = neighbours(rng.choice(left), rng.choice(right))
            if quadruple:
                yield quadruple
        if (quadruple := vague(one, another, rng)) is not None:
            yield quadruple


def _of_passage(statements: Sequence[Statement], rng: random.Random) -> Iterator[Quadruple]:
    """Evidence removed, a shared beginning, edits: of the statements about one passage."""
    pairs = list(combinations(statements, 2))
    rng.shuffle(pairs)
    for one, another in pairs[:REMOVED_PER_PASSAGE]:
        quadruple = removed(one, another)
        if quadruple is None:
            continue
        rest = [statement for statement in statements if statement not in (one, another)]
        if rest and rng.random() < SHARED:
            quadruple = with_shared_start(quadruple, rng.choice(rest))
        yield quadruple
    for statement in statements:
        yield from edited(statement, rng)


def _of_people(by_window: dict[Passage, list[Statement]], rng: random.Random) -> Iterator[Quadruple]:
    by_document: dict[str, list[Statement]] = defaultdict(list)
    for statements in by_window.values():
        for statement in statements:
            by_document[statement.passage.document].append(statement)
            yield from edited(statement, rng)
    for statements in by_document.values():
        # most summaries' sentences have a stretch of their own: both stretches together are the passage then
        for one, another in combinations(statements, 2):
            one, another = _on_one_passage(one, another)
            quadruple = removed(one, another) or neighbours(one, another)
            if quadruple is not None:
                rest = [statement for statement in statements if statement.claim not in quadruple.claims]
                if rest and rng.random() < SHARED:
                    quadruple = with_shared_start(quadruple, rng.choice(rest))
                yield quadruple
    documents = sorted(by_document)
    for document in documents:
        source = by_document[document][0].passage.source
        others = [name for name in documents if name != document and name.startswith(f"{source} ")]
        if others:
            one, another = rng.choice(by_document[document]), rng.choice(by_document[rng.choice(others)])
            quadruple = neighbours(one, another)
            if quadruple is not None:
                yield quadruple


def _on_one_passage(one: Statement, another: Statement) -> tuple[Statement, Statement]:
    """Both statements on the passage of the first, if it has the second one's evidence too; else as they are."""
    places = {sentence: number for number, sentence in enumerate(one.passage.sentences)}
    wanted = [another.passage.sentences[number] for number in another.evidence]
    if not all(sentence in places for sentence in wanted):
        return one, another
    evidence = tuple(sorted(places[sentence] for sentence in wanted))
    return one, Statement(another.claim, one.passage, evidence, another.human)


def _of_generator(answers: Sequence[Answer], banned: frozenset[str], rng: random.Random) -> Iterator[Quadruple]:
    """Sentences of answers to two passages of one source, and with evidence removed: see `Quadruple.sure`."""
    by_source: dict[str, list[tuple[Passage, list[str]]]] = defaultdict(list)
    for answer in answers:
        passage = passage_of(answer.passage, answer.source, answer.source)
        claims = [part for part in split_sentences(answer.text) if len(part) >= MIN_ANSWER_CHARS]
        if claims and not any(plain(sentence) in banned for sentence in passage.sentences):
            by_source[answer.source].append((passage, claims))
    for _, items in sorted(by_source.items()):
        for passage, claims in items:
            statements = [Statement(claim, passage, evidence_of(claim, passage), human=False) for claim in claims]
            for one, another in pairwise(statements):
                quadruple = removed(one, another)
                if quadruple is not None:
                    yield replace(quadruple, kind="generator", sure=False)
        order = list(items)
        rng.shuffle(order)
        for (one, left), (another, right) in zip(order, order[1:] + order[:1], strict=True):
            if one.text != another.text:
                yield from _against_answers(one, left, another, right, rng)


def _against_answers(
    one: Passage, left: list[str], another: Passage, right: list[str], rng: random.Random
) -> Iterator[Quadruple]:
    """Answers about two passages, between statements about them where there are any."""
    true = own_statements(one, rng), own_statements(another, rng)
    for answers in zip(left, right, strict=False):
        if true[0] and true[1] and answers[0] != answers[1]:
            quadruple = neighbours(rng.choice(true[0]), rng.choice(true[1]))
            if quadruple is not None:
                yield replace(quadruple, kind="answers", answers=answers)
                continue
        if answers[0] != answers[1]:
            yield Quadruple((one.text, another.text), answers, "generator", one.source, one.document, sure=False)

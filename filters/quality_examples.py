"""The quality head's examples: real pages, corruptions of them as long as they are, and texts with labels."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from filters.corruptions import CORRUPTIONS, Page, equalise, sentences
from filters.labels import Label
from filters.quality import prepared
from filters.words import CHARACTERS
from stages.record import Seed

BAD_PER_PAGE = 2
GOOD = 3.0  # a label's score from which a text counts as good, as FineWeb-Edu has it (2406.17557, section 4)
CORRUPTION = "corruption"
LEAST = 40  # characters; shorter texts are too little to judge by


@dataclass(frozen=True, slots=True)
class Example:
    text: str
    good: int  # 1 | 0
    kind: str  # a corruption's name; "" for a real page and a labelled text
    source: str
    domain: str
    language: str
    page: int
    by: str = CORRUPTION  # who says so
    score: float | None = None  # a label's, 0 to 5


def examples(seeds: Sequence[Seed], seed: int, per_source: int) -> list[Example]:
    """Good and bad texts a page, of equal length by construction; pages drawn by source, corruptions in turn."""
    chosen: list[Seed] = []
    for source in sorted({item.source for item in seeds}):
        of = sorted((item for item in seeds if item.source == source), key=lambda item: item.id)
        chosen += random.Random(f"{seed} {source}").sample(of, min(per_source, len(of)))
    kinds = list(CORRUPTIONS)
    made: list[Example] = []
    for number, item in enumerate(chosen):
        rng = random.Random(f"{seed} {item.id}")
        others = [other for other in chosen if other.language == item.language and other.title != item.title]
        page = Page(_opening(item, rng), _opening(rng.choice(others or chosen), rng), item.language)
        made += _of_page(page, item, number, kinds, rng)
    return made


def labelled(labels: Sequence[Label]) -> list[Example]:
    """Texts that a judge or people scored; those without a score are left out."""
    return [
        Example(
            text=prepared(label.text, label.language),
            good=int(label.score >= GOOD),
            kind="",
            source=label.by,
            domain=label.domain,
            language=label.language,
            page=-1 - number,
            by=label.by,
            score=label.score,
        )
        for number, label in enumerate(labels)
        if label.score is not None
    ]


def _of_page(page: Page, item: Seed, number: int, kinds: list[str], rng: random.Random) -> Iterator[Example]:
    texts = [("", prepared(page.text, item.language))]
    for offset in range(BAD_PER_PAGE):
        kind = kinds[(number * BAD_PER_PAGE + offset) % len(kinds)]
        texts.append((kind, prepared(CORRUPTIONS[kind](page, rng), item.language)))
    # All as long as the shortest, so that length tells nothing; a corruption that changed nothing teaches nothing.
    length = min(len(text) for _, text in texts)
    cut = [(kind, equalise(text, length)) for kind, text in texts]
    if length > LEAST * CHARACTERS.get(item.language, 1.0):
        for kind, text in cut:
            if kind == "" or text != cut[0][1]:
                yield Example(text, int(kind == ""), kind, item.source, item.domain, item.language, number)


def _opening(item: Seed, rng: random.Random) -> str:
    """Some whole sentences from the page, as many as an answer has."""
    wanted = rng.randint(120, 480) * CHARACTERS.get(item.language, 1.0)
    parts = sentences(item.text)
    start = rng.randrange(max(1, len(parts) // 2))
    made = ""
    for part in parts[start:]:
        made += ("" if item.language == "zh" or not made else " ") + part
        if len(made) >= wanted:
            break
    return made

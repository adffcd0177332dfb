"""The quality head's examples: real pages, corruptions of them of the same length, and texts with labels."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from filters.heads.corruptions import CORRUPTIONS, Page, equalise, sentences
from filters.heads.features import prepared
from filters.heads.labels import Label
from filters.text.words import CHARACTERS
from stages.record import Seed

BAD_PER_PAGE = 2
TUNING_BAD_PER_PAGE = 3  # corruptions of a page in one epoch of tuning
HARD_KINDS = ("shuffled_sentences", "spliced", "fragments")  # corruptions that tuning sees twice as often
TUNING_PAGES_PER_PAGE = 1.5  # pages that tuning draws from a source, for each page that is evaluated
GOOD_SCORE = 3.0  # a label's score from which on a text is good, as in FineWeb-Edu (arXiv 2406.17557, section 4)
CORRUPTION = "corruption"
MIN_CHARS = 40  # shorter texts are too little to judge by


@dataclass(frozen=True, slots=True)
class Example:
    """A good or bad text.

    Attributes:
        text: as the encoder reads it (`features.prepared`).
        good: 1 or 0.
        kind: the corruption's name; "" for a real page and a labelled text.
        page: the number of the page that the text comes from; negative for labelled texts.
        by: who says that it is good or bad: `corruption`, `human` or `judge:<model>`.
        score: a label's score, 0 to 5.
    """

    text: str
    good: int
    kind: str
    source: str
    domain: str
    language: str
    page: int
    by: str = CORRUPTION
    score: float | None = None


def draw_pages(seeds: Sequence[Seed], seed: int, per_source: int) -> tuple[list[Seed], list[Seed]]:
    """Draws pages of each source: those that `page_examples` corrupts, and further ones for tuning only."""
    chosen: list[Seed] = []
    further: list[Seed] = []
    for source in sorted({item.source for item in seeds}):
        pages = sorted((item for item in seeds if item.source == source), key=lambda item: item.id)
        drawn = random.Random(f"{seed} {source}").sample(pages, min(per_source, len(pages)))
        drawn_ids = {item.id for item in drawn}
        rest = [item for item in pages if item.id not in drawn_ids]
        chosen += drawn
        more = min(round((TUNING_PAGES_PER_PAGE - 1) * per_source), len(rest))
        further += random.Random(f"{seed} {source} more").sample(rest, more)
    return chosen, further


def page_examples(seeds: Sequence[Seed], seed: int, per_source: int) -> list[Example]:
    """A good text and its corruptions for each page drawn, all of the same length; corruptions take turns."""
    chosen, _ = draw_pages(seeds, seed, per_source)
    kinds = list(CORRUPTIONS)
    rows: list[Example] = []
    for number, item in enumerate(chosen):
        rng = random.Random(f"{seed} {item.id}")
        others = [another for another in chosen if another.language == item.language and another.title != item.title]
        page = Page(_opening(item, rng), _opening(rng.choice(others or chosen), rng), item.language)
        turn = [kinds[(number * BAD_PER_PAGE + offset) % len(kinds)] for offset in range(BAD_PER_PAGE)]
        rows += _examples_of_page(page, item, number, turn, rng)
    return rows


def labelled_examples(labels: Sequence[Label]) -> list[Example]:
    """Examples of texts that a judge or people scored; texts without a score are left out."""
    return [
        Example(
            text=prepared(label.text, label.language),
            good=int(label.score >= GOOD_SCORE),
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


def epoch_examples(
    pages: Sequence[Seed], chosen: Sequence[int], kinds: Sequence[str], seed: int, epoch: int
) -> list[Example]:
    """The examples of one epoch of tuning: openings and corruptions of pages that no other epoch has.

    Args:
        pages: all pages; those that are not chosen are not read.
        chosen: places in `pages`.
        kinds: the corruptions to use, which take turns.

    Equal arguments give equal examples.
    """
    weighted_kinds = [*kinds, *(kind for kind in kinds if kind in HARD_KINDS)]
    pages_by_language: dict[str, list[Seed]] = {}
    for number in chosen:
        pages_by_language.setdefault(pages[number].language, []).append(pages[number])
    rows: list[Example] = []
    for number in chosen:
        item = pages[number]
        turn = random.Random(f"{seed} {item.id} turn").sample(weighted_kinds, len(weighted_kinds))
        rng = random.Random(f"{seed} {item.id} {epoch}")
        first = epoch * TUNING_BAD_PER_PAGE
        turn = [turn[(first + offset) % len(turn)] for offset in range(min(TUNING_BAD_PER_PAGE, len(turn)))]
        opening = _opening(item, rng)
        page = Page(opening, _opening(_other_title(item, pages_by_language[item.language], rng), rng), item.language)
        rows += _examples_of_page(page, item, number, turn, rng)
    return rows


def _other_title(item: Seed, pages: Sequence[Seed], rng: random.Random) -> Seed:
    """A page of another title, if one is among eight drawn."""
    drawn = [rng.choice(pages) for _ in range(8)]
    return next((page for page in drawn if page.title != item.title), drawn[0])


def _examples_of_page(
    page: Page, item: Seed, number: int, kinds: Sequence[str], rng: random.Random
) -> Iterator[Example]:
    texts = [("", prepared(page.text, item.language))]
    texts += [(kind, prepared(CORRUPTIONS[kind](page, rng), item.language)) for kind in kinds]
    # All are as long as the shortest, so that length says nothing; a corruption that changed nothing teaches nothing.
    length = min(len(text) for _, text in texts)
    cut = [(kind, equalise(text, length)) for kind, text in texts]
    if length > MIN_CHARS * CHARACTERS.get(item.language, 1.0):
        for kind, text in cut:
            if kind == "" or text != cut[0][1]:
                yield Example(text, int(kind == ""), kind, item.source, item.domain, item.language, number)


def _opening(item: Seed, rng: random.Random) -> str:
    """Some consecutive sentences of the page's first half, about as long as an answer."""
    length = rng.randint(120, 480) * CHARACTERS.get(item.language, 1.0)
    parts = sentences(item.text)
    start = rng.randrange(max(1, len(parts) // 2))
    opening = ""
    for part in parts[start:]:
        opening += ("" if item.language == "zh" or not opening else " ") + part
        if len(opening) >= length:
            break
    return opening

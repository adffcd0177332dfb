"""The quality head's examples: real pages, corruptions of them as long as they are, and texts with labels."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from filters.heads.corruptions import CORRUPTIONS, Page, equalise, sentences
from filters.heads.labels import Label
from filters.quality import prepared
from filters.text.words import CHARACTERS
from stages.record import Seed

BAD_PER_PAGE = 2
FRESH_PER_PAGE = 3  # corruptions of a page in an epoch of tuning
WEAK = ("shuffled_sentences", "spliced", "fragments")  # corruptions that tuning sees twice as often
MORE = 1.5  # pages that tuning draws from a source, to one that is judged
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


def draw(seeds: Sequence[Seed], seed: int, per_source: int) -> tuple[list[Seed], list[Seed]]:
    """Pages of each source: those that `examples` are made of, and further ones, for tuning alone."""
    chosen: list[Seed] = []
    further: list[Seed] = []
    for source in sorted({item.source for item in seeds}):
        of = sorted((item for item in seeds if item.source == source), key=lambda item: item.id)
        taken = random.Random(f"{seed} {source}").sample(of, min(per_source, len(of)))
        known = {item.id for item in taken}
        rest = [item for item in of if item.id not in known]
        chosen += taken
        further += random.Random(f"{seed} {source} more").sample(rest, min(round((MORE - 1) * per_source), len(rest)))
    return chosen, further


def examples(seeds: Sequence[Seed], seed: int, per_source: int) -> list[Example]:
    """Good and bad texts a page, of equal length by construction; pages drawn by source, corruptions in turn."""
    chosen, _ = draw(seeds, seed, per_source)
    kinds = list(CORRUPTIONS)
    made: list[Example] = []
    for number, item in enumerate(chosen):
        rng = random.Random(f"{seed} {item.id}")
        others = [other for other in chosen if other.language == item.language and other.title != item.title]
        page = Page(_opening(item, rng), _opening(rng.choice(others or chosen), rng), item.language)
        turn = [kinds[(number * BAD_PER_PAGE + offset) % len(kinds)] for offset in range(BAD_PER_PAGE)]
        made += _of_page(page, item, number, turn, rng)
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


def fresh(pages: Sequence[Seed], chosen: Sequence[int], kinds: Sequence[str], seed: int, epoch: int) -> list[Example]:
    """Other openings and corruptions of the chosen pages than any other epoch's; the same for the same arguments.

    `chosen`: places in `pages`. Nothing is read but those, and of `kinds` alone, each in its turn.
    """
    often = [*kinds, *(kind for kind in kinds if kind in WEAK)]
    of_language: dict[str, list[Seed]] = {}
    for number in chosen:
        of_language.setdefault(pages[number].language, []).append(pages[number])
    made: list[Example] = []
    for number in chosen:
        item = pages[number]
        turn = random.Random(f"{seed} {item.id} turn").sample(often, len(often))
        rng = random.Random(f"{seed} {item.id} {epoch}")
        first = epoch * FRESH_PER_PAGE
        turn = [turn[(first + offset) % len(turn)] for offset in range(min(FRESH_PER_PAGE, len(turn)))]
        page = Page(_opening(item, rng), _opening(_other(item, of_language[item.language], rng), rng), item.language)
        made += _of_page(page, item, number, turn, rng)
    return made


def _other(item: Seed, of: Sequence[Seed], rng: random.Random) -> Seed:
    """A page of another title, if some draws find one."""
    drawn = [rng.choice(of) for _ in range(8)]
    return next((other for other in drawn if other.title != item.title), drawn[0])


def _of_page(page: Page, item: Seed, number: int, kinds: Sequence[str], rng: random.Random) -> Iterator[Example]:
    texts = [("", prepared(page.text, item.language))]
    texts += [(kind, prepared(CORRUPTIONS[kind](page, rng), item.language)) for kind in kinds]
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

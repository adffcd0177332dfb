"""Does attribution name the groups that help and those that do not? Real passages, groups whose worth is planted.

    python -m benchmarks.evolve attribute [--draws 20] [--ranks 3]

Groups are real passages of packaged corpora. Two questions, each asked anew with other documents in every draw, with as
many students for each group as `gristmill attribute` has (ranks with fewer too):

- planted: of 8 groups of like passages one has its letters in random order. Is it the last? Asked again with its words
  in random order, of which a student that sees six bytes at a time knows little: how far that is found is a limit.
- ranks: 12 groups, by source and by the share of passages whose words are in random order. Are they in the order that
  leaving one group out gives, as the mean of `LEAVE_OUT_DRAWS` draws of rows?
"""

import argparse
import random
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.figures import Figures, processor
from pipeline.evolve.attribution import STUDENTS_PER_GROUP
from pipeline.evolve.group_effects import draw_rows, group_effects
from pipeline.evolve.groups import MAX_BYTES_EACH
from pipeline.evolve.real_text import CORE_BYTES
from stages.evolve.student_pool import StudentPool
from stages.sources.corpora import read_corpus
from stages.sources.passages import cut

CORPORA = {
    "law": ("eu-acts", "indian-constitution", "multilexsum"),
    "medicine": ("pubmedqa", "hpo", "mts-dialog", "aci-bench"),
}
HELD_OUT_BYTES = 120_000
GROUPS = 8  # of the planted test
PLANTED_BYTES_EACH = MAX_BYTES_EACH
GRADED_BYTES_EACH = 8_000  # of each of the 12 groups
LEAVE_OUT_DRAWS = 40
FEW_STUDENTS_PER_GROUP = 4
_PASSAGE_CHARS = (300, 1200)
_PASSAGES_PER_DOCUMENT = 4
Documents = dict[str, list[list[str]]]  # by source, passages by document


def documents_of(domain: str) -> Documents:
    """The passages of the domain's corpora, at most 3,000 documents of each."""
    sources: Documents = {}
    for name in CORPORA[domain]:
        documents = []
        for document in read_corpus(name):
            passages = list(cut(document.text, *_PASSAGE_CHARS))[:_PASSAGES_PER_DOCUMENT]
            if passages:
                documents.append(passages)
            if len(documents) == 3_000:
                break
        sources[name] = documents
    return sources


def shuffled(text: str, unit: str, chance: random.Random) -> str:
    """The text with its letters or words in random order."""
    parts = text.split() if unit == "words" else list(text)
    chance.shuffle(parts)
    return (" " if unit == "words" else "").join(parts)


def documents_with(documents: list[list[str]], size: int) -> list[list[str]]:
    """Takes documents from the end of the list until their passages have `size` bytes."""
    chosen: list[list[str]] = []
    while bytes_of(chosen) < size:
        chosen.append(documents.pop())
    return chosen


def taken(documents: list[list[str]], size: int) -> list[str]:
    """The passages of such documents."""
    return [text for document in documents_with(documents, size) for text in document]


def bytes_of(documents: list[list[str]]) -> int:
    """The bytes of all passages."""
    return sum(len(text.encode()) for document in documents for text in document)


def mixed(sources: Documents, chance: random.Random) -> list[list[str]]:
    """All documents in random order."""
    documents = [document for each in sources.values() for document in each]
    chance.shuffle(documents)
    return documents


def planted_place(sources: Documents, unit: str, seed: int) -> int:
    """The place of a group with shuffled letters or words among GROUPS by its effect: 1 is the last."""
    chance = random.Random(seed)
    documents = mixed(sources, chance)
    held_out = documents_with(documents, HELD_OUT_BYTES)
    core = taken(documents, CORE_BYTES)
    groups = [taken(documents, 2 * PLANTED_BYTES_EACH) for _ in range(GROUPS)]
    planted = chance.randrange(GROUPS)
    groups[planted] = [shuffled(text, unit, chance) for text in groups[planted]]
    effects = group_effects(
        groups, core, held_out, bytes_each=PLANTED_BYTES_EACH, students=STUDENTS_PER_GROUP * GROUPS, seed=seed
    )
    return int((effects.values <= effects.values[planted]).sum())


def graded_groups(sources: Documents, chance: random.Random) -> tuple[list[list[str]], list[list[str]], list[str]]:
    """12 groups by source and by share of shuffled passages, held-out documents and core."""
    rich = [name for name, documents in sources.items() if bytes_of(documents) > 40 * GRADED_BYTES_EACH]
    shares = np.linspace(0, 1, 12 // len(rich))
    left = {name: chance.sample(sources[name], len(sources[name])) for name in rich}
    held_out = [document for name in rich for document in documents_with(left[name], HELD_OUT_BYTES // len(rich))]
    core = [text for name in rich for text in taken(left[name], CORE_BYTES // len(rich))]
    groups = []
    for name in rich:
        for share in shares:
            texts = taken(left[name], 2 * GRADED_BYTES_EACH)
            groups.append([shuffled(text, "words", chance) if chance.random() < share else text for text in texts])
    return groups, held_out, core


def left_out(groups: Sequence[Sequence[str]], core: Sequence[str], held_out: Any, seed: int) -> np.ndarray:
    """What each group saves, by students of all groups and of all but one: bits per byte [groups]."""
    chance = np.random.default_rng(seed)
    texts = ["\n\n".join(core), *(text for group in groups for text in group)]
    sizes = np.array([len(text.encode()) for text in texts])
    bounds = np.cumsum([1, *map(len, groups)])
    chosen = np.zeros((LEAVE_OUT_DRAWS * (len(groups) + 1), len(texts)), np.int32)
    chosen[:, 0] = 1
    for draw in range(LEAVE_OUT_DRAWS):
        first = draw * (len(groups) + 1)
        for group in range(len(groups)):
            rows = np.arange(bounds[group], bounds[group + 1])
            learnt = draw_rows(rows, sizes[rows], GRADED_BYTES_EACH, chance)
            students = np.array([first + each for each in range(len(groups) + 1) if each != group])
            chosen[students[:, None], np.asarray(learnt)] = 1
    flat = [text for document in held_out for text in document]
    per_byte = StudentPool(texts, flat).bits(chosen).sum(1) / sum(len(text.encode()) for text in flat)
    per_byte = per_byte.reshape(LEAVE_OUT_DRAWS, len(groups) + 1).mean(0)
    return per_byte[:-1] - per_byte[-1]


def main(argv: Sequence[str]) -> int:
    """Asks both questions in both domains. Returns the exit code."""
    from scipy.stats import spearmanr

    parser = argparse.ArgumentParser(prog="python -m benchmarks.evolve attribute", description=__doc__)
    parser.add_argument("--draws", type=int, default=20, help="of the planted group, in each domain")
    parser.add_argument("--ranks", type=int, default=3, help="comparisons with leaving one group out, in each domain")
    arguments = parser.parse_args(argv)
    command = f"python -m benchmarks.evolve attribute --draws {arguments.draws} --ranks {arguments.ranks}"
    figures = Figures("evolve", command, processor())
    seconds: list[float] = []
    places: dict[str, list[int]] = defaultdict(list)
    for domain in CORPORA:
        sources = documents_of(domain)
        for unit, draws in (("letters", arguments.draws), ("words", -(-arguments.draws // 2))):
            for draw in range(draws):
                started = time.monotonic()
                places[unit].append(planted_place(sources, unit, draw))
                seconds.append(time.monotonic() - started)
            if not draws:
                continue
            own = places[unit][-draws:]
            print(domain, unit, own, flush=True)
            figures.put(
                f"attribute: group of shuffled {unit} is the last of {GROUPS}, {domain}, {draws} draws", last(own)
            )
        correlations: dict[int, list[float]] = defaultdict(list)
        for draw in range(arguments.ranks):
            groups, held_out, core = graded_groups(sources, random.Random(draw))
            truth = left_out(groups, core, held_out, draw)
            for each in (FEW_STUDENTS_PER_GROUP, STUDENTS_PER_GROUP):
                effects = group_effects(
                    groups, core, held_out, bytes_each=GRADED_BYTES_EACH, students=each * len(groups), seed=draw
                )
                correlations[each].append(float(np.asarray(spearmanr(effects.values, truth))[0]))
        for each, values in correlations.items():
            name = (
                f"attribute: Spearman with leave-one-group-out, {each} students a group, {domain}, {len(values)} draws"
            )
            aim = 0.8 if each == STUDENTS_PER_GROUP else None
            figures.put(f"{name}, mean", float(np.mean(values)), aim)
            figures.put(f"{name}, least", min(values))
    if not arguments.draws:
        return 0
    name = f"attribute: group of shuffled letters is the last of {GROUPS}, {len(places['letters'])} draws"
    figures.put(name, last(places["letters"]), 0.95)
    name = f"attribute: seconds for {GROUPS} groups and {STUDENTS_PER_GROUP * GROUPS} students"
    figures.put(name, float(np.median(seconds)), None, "lower")
    return 0


def last(places: Sequence[int]) -> float:
    """The share of draws in which the group was the last."""
    return sum(place == 1 for place in places) / max(len(places), 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

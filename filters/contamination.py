"""Drops rows that contain text of an evaluation set, found by the word n-grams that both have.

GPT-3 (Brown et al. 2020, arXiv 2005.14165, App. C) counts one shared n-gram of 8 to 13 words as a collision; datatrove
drops a document for one 12-gram. Here one n-gram is not enough: names of courts, statements of purpose and the opening
formulas of case histories are runs of 8 words and more that all texts of a field share.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from configs.catalogue import corpora
from filters.text.ngrams import Evaluation, EvaluationIndex, grams_of
from stages.ports import KEEP, Verdict
from stages.record import Candidate


@dataclass(frozen=True)
class Contamination:
    """Reason: contaminated; the detail names the set, and whether the answer by itself contains the text.

    A row is contaminated if `least` different n-grams of it are in evaluation items: a run of `ngram` + `least` - 1
    words has so many, 15 words by default. If an item has fewer n-grams than `least`, all of them are enough; each
    counts for more. Items shorter than `ngram` words are not searched for: everyday language contains them too. A
    Chinese character counts as half a word, in items and rows.

    All of a row is searched: its turns, the rejected answer, and the passage that the answer was written from. Text
    that comes from the passage counts as well, since a model trained on the row has seen the item. So does text that
    the source and the item both quote, such as a statute.

    `sets` names corpora declared with `held_out: true`; by default all. `files` are your own evaluation files, in any
    format that seeds can have, with the texts in `text_field`.
    """

    ngram: Annotated[int, Field(ge=4, le=50)] = 8
    least: Annotated[int, Field(ge=1, le=1000)] = 8
    sets: tuple[str, ...] | None = None
    files: tuple[str, ...] = ()
    text_field: str = "text"
    _index: EvaluationIndex = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_index", EvaluationIndex.open(self.evaluation()))

    @staticmethod
    def data(options: Mapping[str, Any], encoder: str) -> str:
        """The hash of the evaluation sets, for the run's fingerprint. Builds their index if it is not cached."""
        return Contamination(**options).identity

    @property
    def identity(self) -> str:
        """Hex digest of the evaluation sets' content."""
        return self._index.identity

    def evaluation(self) -> Evaluation:
        """The evaluation items to search for. Without `sets`, all that are declared."""
        declared = tuple(name for name, corpus in corpora().items() if corpus.held_out)
        return Evaluation(declared if self.sets is None else self.sets, self.files, self.text_field, self.ngram)

    def __call__(self, batch: Sequence[Candidate]) -> list[Verdict]:
        parts = [(number, text) for number, row in enumerate(batch) for text in _parts(row)]
        grams, owner = grams_of([text for _, text in parts], self.ngram)
        places = self._index.find(grams)
        # row -> part of the row -> places in the index
        hits: dict[int, dict[int, set[int]]] = defaultdict(lambda: defaultdict(set))
        for gram in np.flatnonzero(places >= 0).tolist():
            part = int(owner[gram])
            hits[parts[part][0]][part].add(int(places[gram]))
        verdicts = [KEEP] * len(batch)
        for number, by_part in hits.items():
            verdicts[number] = self._judge(batch[number].reply, [(parts[part][1], by_part[part]) for part in by_part])
        return verdicts

    def _judge(self, answer: str, hits: list[tuple[str, set[int]]]) -> Verdict:
        """`hits`: texts of a row and the places of their n-grams in the index."""
        shared = np.array(sorted(set().union(*(places for _, places in hits))))
        total = self._weigh(shared)
        if total < 1:
            return KEEP
        name = self._index.names[np.bincount(self._index.set_number[shared], weights=self._weights(shared)).argmax()]
        in_answer = [places for text, places in hits if text == answer]
        where = "its answer" if in_answer and self._weigh(np.array(sorted(in_answer[0]))) >= 1 else "the row"
        return Verdict("contaminated", float(len(shared)), f"{len(shared)} word {self.ngram}-grams of {where}: {name}")

    def _weights(self, shared: np.ndarray) -> np.ndarray:
        return 1 / np.minimum(self._index.size[shared], self.least)

    def _weigh(self, shared: np.ndarray) -> float:
        return float(self._weights(shared).sum()) + 1e-9


def _parts(row: Candidate) -> list[str]:
    """The texts of a row. Those contained in another are left out, except the answer, which is judged by itself too."""
    answer = row.reply
    whole = "\n".join(message["content"] for message in row.messages) or row.text
    kept = [answer]
    for text in (whole, row.text, row.passage, row.rejected or ""):
        if text and not any(text in longer for longer in kept):
            kept.append(text)
    return kept

"""Drops rows that hold text of an evaluation set, by word n-grams that both have.

What others do: GPT-3 (Brown et al. 2020, arXiv 2005.14165, App. C) takes one n-gram of 8 to 13 words in common as a
collision; datatrove drops a document at one 12-gram. Here one n-gram is not enough: courts' names, statements of aim
and the opening formulas of case histories are runs of 8 words and more that all texts of a field share.
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
    """Reason: contaminated; the detail names the set, and whether the answer by itself has the text.

    A row is contaminated when `least` different n-grams of it stand in evaluation items, which a run of
    `ngram` + `least` - 1 words gives, 15 by default. Of an item that has fewer n-grams than that, all of them: its
    n-grams count as much the more. Items shorter than `ngram` words cannot be told from common speech and are not
    looked for. A Chinese character is half a word, in items and rows.

    All of a row counts: its turns, the rejected answer, and its passage, which the answer is made from. That a passage
    has the text excuses nothing: whoever is trained on the row has seen the item. It makes no difference either
    whether a source quotes the item or both quote a third, as a statute: the words are in the test.

    `sets`: names of corpora declared with `held_out: true`, by default all. `files`: the user's own evaluation files,
    in any format that seeds are read from, with their texts in `text_field`.
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
        """What is read besides the options: the evaluation sets. Their index is made where it is not cached."""
        return Contamination(**options).identity

    @property
    def identity(self) -> str:
        """Hex digest of the evaluation sets' content."""
        return self._index.identity

    def evaluation(self) -> Evaluation:
        """What is looked for. Without `sets`, all that are declared."""
        declared = tuple(name for name, corpus in corpora().items() if corpus.held_out)
        return Evaluation(declared if self.sets is None else self.sets, self.files, self.text_field, self.ngram)

    def __call__(self, batch: Sequence[Candidate]) -> list[Verdict]:
        parts = [(number, text) for number, row in enumerate(batch) for text in _parts(row)]
        grams, owner = grams_of([text for _, text in parts], self.ngram)
        places = self._index.find(grams)
        found: dict[int, dict[int, set[int]]] = defaultdict(lambda: defaultdict(set))
        for hit in np.flatnonzero(places >= 0).tolist():
            part = int(owner[hit])
            found[parts[part][0]][part].add(int(places[hit]))
        verdicts = [KEEP] * len(batch)
        for number, by_part in found.items():
            verdicts[number] = self._judge(batch[number].reply, [(parts[part][1], by_part[part]) for part in by_part])
        return verdicts

    def _judge(self, answer: str, found: list[tuple[str, set[int]]]) -> Verdict:
        shared = np.array(sorted(set().union(*(places for _, places in found))))
        total = self._weigh(shared)
        if total < 1:
            return KEEP
        name = self._index.names[np.bincount(self._index.of[shared], weights=self._weights(shared)).argmax()]
        alone = [places for text, places in found if text == answer]
        where = "its answer" if alone and self._weigh(np.array(sorted(alone[0]))) >= 1 else "the row"
        return Verdict("contaminated", float(len(shared)), f"{len(shared)} word {self.ngram}-grams of {where}: {name}")

    def _weights(self, shared: np.ndarray) -> np.ndarray:
        return 1 / np.minimum(self._index.size[shared], self.least)

    def _weigh(self, shared: np.ndarray) -> float:
        return float(self._weights(shared).sum()) + 1e-9


def _parts(row: Candidate) -> list[str]:
    """The texts of a row, none of which stands in another but the answer, which is judged by itself too."""
    answer = row.reply
    whole = "\n".join(message["content"] for message in row.messages) or row.text
    kept = [answer]
    for text in (whole, row.text, row.passage, row.rejected or ""):
        if text and not any(text in other for other in kept):
            kept.append(text)
    return kept

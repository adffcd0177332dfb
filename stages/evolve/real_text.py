"""Real text to train on beside a generator's own: the beginning of a passage is the prompt, its rest the answer.

A generator that learns its own answers alone forgets how people write, round after round; a share of human text keeps
it (Gerstgrasser et al. 2024).
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from stages.evolve.roles import Measured, is_held_out
from stages.record import Seed, content_id
from stages.sources.passages import split_sentences
from stages.storage.inputs import read_input
from stages.storage.records import FileRef

_INSTRUCTIONS = {  # with a title, and without
    "en": ('Continue this text from "{}":', "Continue this text:"),
    "es": ("Continúa este texto de «{}»:", "Continúa este texto:"),
    "zh": ("请续写《{}》中的这段文字：", "请续写这段文字："),
}


@dataclass(frozen=True, slots=True)
class RealExample:
    """A passage in two parts."""

    seed_id: str
    document_id: str
    prompt: str
    answer: str


class RealTexts:
    """The passages of committed files of Seed that may be trained on.

    `redact(text, language)` masks personal data and secrets. `read` and `measured` count passages: all, and those that
    are left out since candidates are measured with them.
    """

    def __init__(
        self, root: str, files: Iterable[FileRef], measured: Measured, redact: Callable[[str, str], str]
    ) -> None:
        self._root, self._files, self._measured, self._redact = root, list(files), measured, redact
        self.read = self.measured = 0

    def choose(self, train: int, held_out: int) -> tuple[list[RealExample], list[RealExample]]:
        """At most so many examples to train on and to hold out: those with the lowest hashes, in their order."""
        sides = _Lowest(train), _Lowest(held_out)
        for seed in self._seeds():
            side = sides[is_held_out(seed.document_id)]
            order = content_id("real", seed.id)
            if side.takes(order) and continuation(seed.text, seed.title, seed.language):
                side.add(order, seed)
        first, second = ([self._example(seed) for seed in side.seeds()] for side in sides)
        return first, second

    def _seeds(self) -> Iterator[Seed]:
        for ref in self._files:
            for batch in read_input(self._root, ref):
                for row in batch.to_pylist():
                    seed = Seed(**row)
                    self.read += 1
                    if self._measured.includes(seed.document_id, seed.id):
                        self.measured += 1
                    else:
                        yield seed

    def _example(self, seed: Seed) -> RealExample:
        parts = continuation(seed.text, seed.title, seed.language)
        assert parts is not None
        prompt, answer = (self._redact(part, seed.language) for part in parts)
        return RealExample(seed.id, seed.document_id, prompt, answer)


class _Lowest:
    """The seeds with the lowest orders, at most `limit`. A seed that comes twice is one."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._seeds: dict[str, Seed] = {}
        self._highest: str | None = None  # once there are `limit`

    def takes(self, order: str) -> bool:
        """Whether a seed of this order would be among them."""
        return self._limit > 0 and order not in self._seeds and (self._highest is None or order < self._highest)

    def add(self, order: str, seed: Seed) -> None:
        """Adds a seed that `takes` accepts."""
        self._seeds[order] = seed
        if len(self._seeds) > self._limit:
            del self._seeds[self._highest or max(self._seeds)]
        if len(self._seeds) == self._limit:
            self._highest = max(self._seeds)

    def seeds(self) -> list[Seed]:
        """In order."""
        return [self._seeds[order] for order in sorted(self._seeds)]


def continuation(passage: str, title: str, language: str) -> tuple[str, str] | None:
    """The prompt and the answer; None for a passage of one sentence."""
    place = _middle(passage)
    if place is None:
        return None
    with_title, without = _INSTRUCTIONS.get(language, _INSTRUCTIONS["en"])
    instruction = with_title.format(title) if title else without
    return f"{instruction}\n\n{passage[:place].rstrip()}", passage[place:]


def _middle(passage: str) -> int | None:
    """Where the sentence begins that is nearest to the middle; None if there is but one."""
    starts, end = [], 0
    for sentence in split_sentences(passage):
        start = passage.find(sentence, end)
        if start >= 0:  # -1 where its whitespace was normalised
            starts.append(start)
            end = start + len(sentence)
    return min(filter(None, starts), key=lambda start: abs(start - len(passage) / 2), default=None)

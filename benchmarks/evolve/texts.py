"""Real passages of a domain by what the loop uses them for, and those that one date measures on."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from configs.catalogue import corpora
from configs.schema.evolve import Evolve
from stages.evolve.roles import role_of
from stages.record import Seed, content_id
from stages.sources.corpora import read_corpus
from stages.sources.passages import cut, split_sentences

CORPORA = {
    "law": ("eu-acts", "indian-constitution", "multilexsum"),
    "medicine": ("pubmedqa", "hpo", "mts-dialog", "aci-bench"),
}
MEASURED_SHARE = 0.6  # of the documents: dates then differ in their passages
OPTIONS = Evolve(probes=200, draws=12)  # half of the defaults: a verdict takes half of the time, and is less sure
_DIGITS = re.compile(r"\d+")
_MIN_CHARS, _MAX_CHARS = 300, 1200  # of a passage


@dataclass(frozen=True)
class Texts:
    """All passages of a domain by role."""

    domain: str
    by_role: dict[str, list[Seed]]

    @cached_property
    def clauses(self) -> list[str]:
        """Sentences that a writer may know besides its passage: of documents that nothing is measured on."""
        return clauses_of(self.by_role["train"])

    @cached_property
    def vocabulary(self) -> list[str]:
        """Words as often as they occur there."""
        return [word for clause in self.clauses[:2000] for word in clause.split()]

    def of_date(self, date: str) -> dict[str, list[Seed]]:
        """The probe, core, held-out and vault passages of a date."""
        held_out = OPTIONS.held_out
        limits = {"probe": OPTIONS.probes, "core": OPTIONS.core, "held-out": held_out, "vault": held_out}
        return {
            role: sorted(self.by_role[role], key=lambda seed: content_id(date, seed.id))[:limit]
            for role, limit in limits.items()
        }


def clauses_of(passages: Iterable[Seed]) -> list[str]:
    """Sentences of middling length, without digits and capitals, which filters would look for in another passage."""
    sentences = [sentence for seed in passages for sentence in split_sentences(seed.text)]
    return [_DIGITS.sub("", text).lower() for text in sentences if 40 < len(text) < 200]


def read(domain: str) -> Texts:
    """The domain's packaged corpora in passages."""
    by_role: dict[str, list[Seed]] = {}
    for name in CORPORA[domain]:
        for document in read_corpus(name):
            for number, text in enumerate(cut(document.text, _MIN_CHARS, _MAX_CHARS)):
                if len(text) < _MIN_CHARS:
                    continue
                location = document.location + (f" #{number + 1}" if number else "")
                seed = Seed.create(
                    text, title="", source=name, location=location, licence=corpora()[name].licence, language="en",
                    domain=domain,
                )  # fmt: skip
                by_role.setdefault(role_of(seed.document_id, MEASURED_SHARE), []).append(seed)
    return Texts(domain, by_role)

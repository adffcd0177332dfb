"""Drops answers that cite law which the passage does not cite, or that cite it in an impossible form.

Language models are known to invent citations: Dahl et al. 2024 (Large Legal Fictions, arXiv 2401.01301) measure it for
cases, and Magesh et al. 2024 (arXiv 2405.20362) distinguish citations that are wrong from citations that do not support
the claim. This filter checks both as far as that is possible without a register of law: does the reference have a form
that exists, and does the passage name the same provision, act or decision?
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from filters.text.plain import plain
from filters.text.references import Reference, References, bare_parts
from filters.text.words import reply
from stages.ports import KEEP, Verdict
from stages.record import Candidate


@dataclass(frozen=True)
class Citations:
    """Reasons: malformed_citation, unsupported_citation.

    A provision (article, section, chapter, annex, rule, …) is supported if the passage or the prompt names it with the
    same kind of unit and number, by itself, in a list or within a range; 5 bis, 5 ter and 5a are other numbers than 5,
    and Spanish ordinals are numbers (disposición adicional tercera). Its parts are supported if they are named with it
    or if they are numbers of the passage's own paragraphs and points: `Article 5(1)(a)` is supported by "Article 5"
    above "1. … (a) …", and not by "Article 5(1) and Article 6(2)(a)". Chinese 款 have no numbers in the text and are
    not checked. EU acts and Spanish laws are compared by their number and their kind (regulation, directive, decision;
    ley, real decreto, decreto, orden); federal rules of the US by their number and, where both texts name it, their
    code (Fed. R. Civ. P. 12 is Rule 12, and not Fed. R. Crim. P. 12); US codes by title and section; cases by their
    number, or by the names on both sides of "v."; Chinese acts by their title, without 中华人民共和国.

    `malformed: false` checks support only.
    """

    malformed: bool = True

    judges = frozenset({"answer", "extract", "question"})

    def __call__(self, batch: Sequence[Candidate]) -> list[Verdict]:
        return [self._judge(candidate) for candidate in batch]

    def _judge(self, candidate: Candidate) -> Verdict:
        claimed = References.read(reply(candidate))
        if not claimed.items and not claimed.malformed:
            return KEEP
        prompts = [message["content"] for message in candidate.messages if message["role"] != "assistant"]
        source = _Source("\n".join([candidate.passage, candidate.instruction, *prompts]))
        if self.malformed and (new := [written for written in claimed.malformed if written not in source.malformed]):
            return Verdict("malformed_citation", None, new[0][:80])
        if unknown := [claim.written for claim in claimed.items if not source.supports(claim)]:
            return Verdict("unsupported_citation", None, f"not in the passage: {'; '.join(unknown)[:120]}")
        return KEEP


class _Source:
    """The references of the passage and the prompt."""

    def __init__(self, text: str) -> None:
        self.text = plain(text)
        read = References.read(text, spans=True)
        references, self.malformed = read.items, read.malformed
        self._known = {(reference.kind, reference.number) for reference in references}
        self._instruments = {
            (reference.kind, reference.number, reference.instrument) for reference in references if reference.instrument
        }
        self._parts = bare_parts(text)  # of provisions that are not named
        self._parts_of: dict[tuple[str, str], set[str]] = {}
        for reference in references:
            self._parts_of.setdefault((reference.kind, reference.number), set()).update(reference.parts)
            if not reference.kind:
                self._parts |= {reference.number, *reference.parts}
            main, dot, part = reference.number.partition(".")
            if dot:  # artículo 9.2 names artículo 9, apartado 2
                self._known.add((reference.kind, main))
                self._parts_of.setdefault((reference.kind, main), set()).update((part, *reference.parts))
        self._all_parts = self._parts.union(*self._parts_of.values())
        self._words = set(re.findall(r"[\w'’-]+", text))

    def supports(self, claim: Reference) -> bool:
        if claim.kind == "name":
            return claim.number in self.text
        if claim.kind == "parties":
            return all(name in self._words for name in claim.number.split())
        own_parts = self._parts_of.get((claim.kind, claim.number), set())
        known_parts = own_parts if claim.kind else self._all_parts
        if not all(part in self._parts or part in known_parts for part in claim.parts):
            return False
        if claim.kind == "":
            return claim.number in self._all_parts
        if claim.instrument:
            named = (claim.kind, claim.number)
            known = {instrument for *reference, instrument in self._instruments if (*reference,) == named}
            if known and claim.instrument not in known:
                return False
        main, dot, part = claim.number.partition(".")  # artículo 5.1 is 5(1)
        return (claim.kind, claim.number) in self._known or bool(
            dot and (claim.kind, main) in self._known and part in self._parts
        )

"""Masks or drops personal data in answers: addresses, and numbers that belong to one person."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

from filters.text.personal import Found, Kind, find
from stages.ports import KEEP, Verdict
from stages.record import Candidate

ALL_KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True)
class Privacy:
    """Reason: privacy, with `action: drop` or for the kinds in `drop`; else findings are masked: `[EMAIL]`, `[PHONE]`.

    `kinds`: email, phone, ip (public addresses only), card (Luhn and issuer), iban, record (a patient's number, by the
    label beside it: MRN, historia clínica, 病历号), passport (by its label), and national numbers by their own rules:
    ssn (US), dni (Spain, also NIE), curp (Mexico), resident_id (China), nhs and nino (UK), aadhaar (India).

    All turns of `messages`, `text` and `rejected` are searched and masked; the rest of them stays byte for byte as it
    was. `found` has one entry for each finding in the conversation (in `text` if there is none) and in `rejected`. The
    detail of a drop names the kinds, and its row is masked, so that no reject contains what was found. Place this
    filter before those that quote the answer in their details.

    Articles, case and docket numbers, ECLI, statutes, dates, codes (ICD, HPO, EC), doses and values are not personal
    data. Not found: names and postal addresses of persons (rows are written by a model), dates of birth, numbers in
    words, and national numbers of other countries. A number that looks like any other code, such as the twelve bare
    digits of an Aadhaar, needs a label.
    """

    action: Literal["mask", "drop"] = "mask"
    kinds: tuple[Kind, ...] = ALL_KINDS
    drop: tuple[Kind, ...] = ()

    def __call__(self, batch: Sequence[Candidate]) -> list[Verdict]:
        return [self._judge(candidate) for candidate in batch]

    def _judge(self, row: Candidate) -> Verdict:
        kinds = frozenset(self.kinds)
        text, in_text = mask(row.text, row.language, kinds)
        turns = [mask(message["content"], row.language, kinds) for message in row.messages]
        rejected, in_rejected = mask(row.rejected or "", row.language, kinds)
        in_turns = [kind for _, kinds_of in turns for kind in kinds_of]
        kinds_found = [*(in_turns if row.messages else in_text), *in_rejected]
        if not kinds_found and not in_text:
            return KEEP
        messages = [message | {"content": turn} for message, (turn, _) in zip(row.messages, turns, strict=True)]
        masked = replace(
            row,
            text=text,
            messages=messages,
            rejected=rejected if row.rejected is not None else row.rejected,
            written=mask(row.written, row.language, kinds)[0],
        )
        names = tuple(kinds_found or in_text)
        if self.action == "drop" or set(names) & set(self.drop):
            return Verdict("privacy", None, ", ".join(sorted(set(names))), masked, names)
        return Verdict(row=masked, findings=names)

    def redact(self, text: str, language: str) -> str:
        """The text with each finding replaced by its kind, such as `[EMAIL]`."""
        return mask(text, language, frozenset(self.kinds))[0]


def mask(text: str, language: str, kinds: frozenset[str] = frozenset(ALL_KINDS)) -> tuple[str, list[Kind]]:
    """The text with its findings masked, and their kinds in order. Masking a masked text changes nothing."""
    masked, findings = _masked(text, language, kinds)
    return masked, [kind for _, _, kind in findings]


def mask_spans(text: str, language: str, kinds: frozenset[str] = frozenset(ALL_KINDS)) -> list[Found]:
    """Start, end and kind of what `mask` replaces, in order of their starts."""
    return sorted(_masked(text, language, kinds)[1])


def _masked(text: str, language: str, kinds: frozenset[str]) -> tuple[str, list[Found]]:
    masked: list[Found] = []
    places: list[int] = []  # of the characters of the text so far, in the text as it was given
    # Masking a finding may reveal another one beside it. Each round removes digits or an @, so the loop ends.
    while findings := find(text, language, kinds):
        places = places or list(range(len(text) + 1))
        masked.extend((places[start], places[end], kind) for start, end, kind in findings)
        for start, end, kind in reversed(findings):
            name = f"[{kind.upper()}]"
            text = f"{text[:start]}{name}{text[end:]}"
            places[start:end] = [places[start]] * len(name)
    return text, masked

"""Masks or drops personal data that stands in an answer: addresses, and numbers that belong to one person."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

from filters.text.personal import Kind, find
from stages.ports import KEEP, Verdict
from stages.record import Candidate

ALL: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True)
class Privacy:
    """Reason: privacy, with `action: drop` or for the kinds in `drop`; else findings are masked: `[EMAIL]`, `[PHONE]`.

    `kinds`: email, phone, ip (public addresses alone), card (Luhn and issuer), iban, record (a patient's number, by the
    label beside it: MRN, historia clínica, 病历号), passport (by its label), and the national numbers by their own
    rules: ssn (US), dni (Spain, NIE too), curp (Mexico), resident_id (China), nhs and nino (UK), aadhaar (India).

    Every turn of `messages`, `text` and `rejected` are searched and masked, and stay byte for byte what they were
    elsewhere. `found` has one entry a finding of the conversation (of `text` where there is none) and of `rejected`.
    A drop's detail names the kinds, and its row is masked, so that no reject holds what was found. Put this filter
    before those that quote the answer in their details.

    Articles, case and docket numbers, ECLI, statutes, dates, codes (ICD, HPO, EC), doses and values are no personal
    data. Not seen: names and postal addresses of persons (the rows are a model's), dates of birth, numbers spelled out
    in words, and national numbers of other countries. A number that only its owner could tell from a code, such as the
    twelve bare digits of an Aadhaar, needs a label.
    """

    action: Literal["mask", "drop"] = "mask"
    kinds: tuple[Kind, ...] = ALL
    drop: tuple[Kind, ...] = ()

    def __call__(self, batch: Sequence[Candidate]) -> list[Verdict]:
        return [self._judge(candidate) for candidate in batch]

    def _judge(self, row: Candidate) -> Verdict:
        kinds = frozenset(self.kinds)
        text, in_text = mask(row.text, row.language, kinds)
        turns = [mask(message["content"], row.language, kinds) for message in row.messages]
        rejected, in_rejected = mask(row.rejected or "", row.language, kinds)
        in_turns = [kind for _, kinds_of in turns for kind in kinds_of]
        found = [*(in_turns if row.messages else in_text), *in_rejected]
        if not found and not in_text:
            return KEEP
        messages = [message | {"content": turn} for message, (turn, _) in zip(row.messages, turns, strict=True)]
        masked = replace(
            row, text=text, messages=messages, rejected=rejected if row.rejected is not None else row.rejected
        )
        names = tuple(found or in_text)
        if self.action == "drop" or set(names) & set(self.drop):
            return Verdict("privacy", None, ", ".join(sorted(set(names))), masked, names)
        return Verdict(row=masked, found=names)

    def redact(self, text: str, language: str) -> str:
        """The text with each finding replaced by its kind, such as `[EMAIL]`."""
        return mask(text, language, frozenset(self.kinds))[0]


def mask(text: str, language: str, kinds: frozenset[str] = frozenset(ALL)) -> tuple[str, list[Kind]]:
    """The text with its findings masked, and their kinds in order. Masking what is masked changes nothing."""
    seen: list[Kind] = []
    # What lay under or beside a finding may be one now: each round takes digits or an @ away, so it ends.
    while found := find(text, language, kinds):
        seen.extend(kind for _, _, kind in found)
        for start, end, kind in reversed(found):
            text = f"{text[:start]}[{kind.upper()}]{text[end:]}"
    return text, seen

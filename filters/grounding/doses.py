"""Drops answers whose doses and measures are impossible, or are the passage's with another unit.

A number with the wrong unit does harm: a milligram for a microgram is a thousand times too much (ISMP, List of
Error-Prone Abbreviations, Symbols, and Dose Designations). The filter `support` checks whether a number is in the
passage at all; this one checks whether it is still the same quantity.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from filters.text.numbers.quantities import Quantity, read_quantities
from filters.text.words import reply
from stages.ports import KEEP, Verdict
from stages.record import Candidate

# The largest absolute value that texts about patients, their medicines and their blood give in each unit: body weight,
# fluid of a day, penicillin in units. A change may be negative. Generous: smaller values are checked by the passage.
_MAX_VALUE: dict[str, float] = {
    "kg": 700,
    "g": 20_000,
    "mg": 50_000,
    "mcg": 100_000,
    "ng": 1e6,
    "ml": 20_000,
    "l": 200,
    "iu": 1e8,
    "mmhg": 800,
    "kpa": 120,
    "bpm": 700,
    "°c": 150,
    "°f": 300,
    "%": 1000,
    "mmol/l": 1000,
    "μmol/l": 5000,
    "meq/l": 1000,
    "mg/dl": 15_000,
    "g/dl": 100,
    "g/l": 1000,
    "mg/kg": 5000,
    "mcg/kg": 10_000,
    "ml/kg": 500,
    "ml/min": 20_000,
    "l/min": 200,
}


@dataclass(frozen=True)
class Doses:
    """Reasons: malformed_dose, wrong_unit, wrong_decimal, implausible_dose.

    malformed_dose: a number or a unit that cannot be read (1.2.3 mg, __ mg, 5 mg/). A quantity that the passage or
    the instruction has, in the same unit or after conversion (1 g and 1000 mg, 98.6 °F and 37 °C, 12 mg/5 mL and
    2.4 mg/mL), passes. wrong_unit: the passage has the number only with units, and with none of them is it the same
    quantity. mg is not mg/kg, but "per day" and "per dose" are ignored, since "daily" says the same. wrong_decimal:
    the passage has the digits with the decimal point in another place, as in 125 mg for 0.125 mg. implausible_dose:
    larger than texts about patients say in the unit; `plausible: false` switches it off.
    """

    plausible: bool = True

    judges = frozenset({"answer", "extract", "question"})

    def __call__(self, batch: Sequence[Candidate]) -> list[Verdict]:
        return [self._judge(candidate) for candidate in batch]

    def _judge(self, candidate: Candidate) -> Verdict:
        claimed, malformed, _ = read_quantities(reply(candidate), candidate.language)
        if not claimed and not malformed:
            return KEEP
        sources = [read_quantities(text, candidate.language) for text in (candidate.passage, candidate.instruction)]
        known = [quantity for quantities, _, _ in sources for quantity in quantities]
        bare = sources[0][2] | sources[1][2]
        if new := [written for written in malformed if written not in sources[0][1] + sources[1][1]]:
            return Verdict("malformed_dose", None, new[0][:80])
        equal = [(quantity, quantity.equal_numbers(original)) for quantity in claimed for original in known]
        in_ratios = {value for quantity, numbers in equal for value in numbers[len(quantity.values) :]}
        for quantity in claimed:
            # the 5 mL of 12 mg per 5 mL are right where 2.4 mg/mL is
            if any(quantity.equals(original) for original in known) or in_ratios.intersection(quantity.values):
                continue
            if original := _same_number(quantity, known, bare):
                return Verdict("wrong_unit", None, f"{quantity.written!r}, in the passage {original.written!r}"[:120])
            most = _MAX_VALUE.get(quantity.unit, float("inf"))
            if self.plausible and min(map(abs, quantity.values)) > most:
                return Verdict("implausible_dose", None, f"{quantity.written!r}: {most:g} is much"[:120])
            if not bare.intersection(quantity.values) and (original := _other_decimal(quantity, known)):
                return Verdict(
                    "wrong_decimal", None, f"{quantity.written!r}, in the passage {original.written!r}"[:120]
                )
        return KEEP


def _same_number(quantity: Quantity, known: Sequence[Quantity], bare: set[float]) -> Quantity | None:
    """The passage's quantity with the same number, if the passage does not have that number without a unit."""
    if bare.intersection(quantity.values):
        return None
    return next((original for original in known if set(original.values) & set(quantity.values)), None)


def _other_decimal(quantity: Quantity, known: Sequence[Quantity]) -> Quantity | None:
    """The passage's quantity of the same kind with the same digits, and the decimal point in another place."""
    for original in known:
        if original.kind != quantity.kind or len(quantity.amounts) != 1 or len(original.amounts) != 1:
            continue
        (left,), (right,) = quantity.amounts, original.amounts
        if left * right > 0 and abs(shift := math.log10(left / right)) > 0.5 and abs(shift - round(shift)) < 1e-9:
            return original
    return None

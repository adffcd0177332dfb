"""Drops answers whose doses and measures cannot be, or are the passage's with another unit.

A number beside the wrong unit is the error that harms: a milligram for a microgram is a thousandfold (ISMP, List of
Error-Prone Abbreviations, Symbols, and Dose Designations). Whether a number stands in the passage at all is what
`support` asks; this filter asks whether it is still the same quantity.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from filters.text.quantities import Quantity, read_quantities
from filters.text.words import reply
from stages.ports import KEEP, Verdict
from stages.record import Candidate

# The most, below zero as above (a change may be negative), that a text about patients, their medicines and their blood
# says of a unit: weight of the body, a day's fluid, penicillin in units. Wide, since what lies inside is for the
# passage to bear out.
_MOST: dict[str, float] = {
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
    """Reasons: malformed_dose, wrong_unit, implausible_dose.

    malformed_dose: a number or a unit that cannot be read (1.2.3 mg, __ mg, 5 mg/). A quantity that the passage or the
    instruction has, in the same unit or after conversion (1 g and 1000 mg, 98.6 °F and 37 °C), passes. wrong_unit: the
    number stands there with units only, and with none does it make the same quantity; mg is not mg/kg, while a day or
    a dose below the line is left out, since "daily" says it as well. implausible_dose: outside what texts about
    patients say of the unit; `plausible: false` does not ask.
    """

    plausible: bool = True

    def __call__(self, batch: Sequence[Candidate]) -> list[Verdict]:
        return [self._judge(candidate) for candidate in batch]

    def _judge(self, candidate: Candidate) -> Verdict:
        claimed, malformed, _ = read_quantities(reply(candidate))
        if not claimed and not malformed:
            return KEEP
        known, odd, bare = read_quantities(f"{candidate.passage}\n{candidate.instruction}")
        if new := [written for written in malformed if written not in odd]:
            return Verdict("malformed_dose", None, new[0][:80])
        for quantity in claimed:
            if any(quantity.equals(other) for other in known):
                continue
            if other := _same_number(quantity, known, bare):
                return Verdict("wrong_unit", None, f"{quantity.written!r}, in the passage {other.written!r}"[:120])
            most = _MOST.get(quantity.unit, float("inf"))
            if self.plausible and min(map(abs, quantity.values)) > most:
                return Verdict("implausible_dose", None, f"{quantity.written!r}: {most:g} is much"[:120])
        return KEEP


def _same_number(quantity: Quantity, known: Sequence[Quantity], bare: set[float]) -> Quantity | None:
    """The passage's quantity of the same number, if that number stands nowhere in it by itself."""
    if bare.intersection(quantity.values):
        return None
    return next((other for other in known if set(other.values) & set(quantity.values)), None)

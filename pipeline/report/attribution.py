"""What an attribution found, in words: for `gristmill attribute` and a date's report."""

from collections.abc import Iterator

from pipeline.report.control_characters import without_control_characters
from pipeline.store.manifest import Attribution, DomainAttribution, GroupWorth


def verdict_on(worth: GroupWorth) -> str:
    """Whether a group differs from the average one beyond chance: helps, hurts or nothing."""
    return "helps" if worth.low > 0 else "hurts" if worth.high < 0 else ""


def rows_of(attribution: Attribution, measured: DomainAttribution) -> Iterator[list[str]]:
    """The cells of a table: the columns' values, rows, bytes, share of bits saved, its interval, and what it means."""
    mean = measured.bits_per_byte or 1.0
    for worth in measured.groups:
        effect, low, high = (f"{value / mean:+.2%}" for value in (worth.effect, worth.low, worth.high))
        values = [without_control_characters(worth.group[column]) for column in attribution.columns]
        yield [*values, f"{worth.rows:,}", f"{worth.bytes:,}", effect, f"{low} to {high}", verdict_on(worth)]


def caption(measured: DomainAttribution) -> str:
    """What the figures are, in two sentences."""
    return (
        f"Share of the bits of real text ({measured.bits_per_byte:.3f} a byte) that a student saves with "
        f"{measured.bytes_each:,} bytes of the group in the place of an average group's. {measured.students} students, "
        f"{measured.documents} held-out documents; {measured.real_text}."
    )

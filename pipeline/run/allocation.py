"""Chooses the passages of a date and cuts them into shards.

The sources of a domain share its `per_day` by their weights. When adapters are trained, the passages are split into two
rounds: one before the training, one after it. Where a domain has a target of text (`target_gb`), or the run a limit of
time (`run.minutes`), a round is worked through in waves until the target is met or the time is up.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from configs.schema import Config, Domain
from stages.ports import ModelCard
from stages.seeds import DomainFile
from stages.storage.records import FileRef, StageResult

FIRST_WAVE_SHARDS = 4  # per domain; small, because how much text a passage yields is not known yet
MAX_WAVE_GROWTH = 4  # a wave has at most so many times the passages of all waves before it

Key = TypeVar("Key", int, str)
Slice = tuple[FileRef, int, int]  # a file, and its rows from start (included) to stop (not included)


def choose_passages(
    config: Config, sources: Sequence[DomainFile], seeds: StageResult
) -> tuple[list[dict[str, list[Slice]]], list[str]]:
    """Chooses the date's passages.

    Args:
        config: gives each domain's `per_day` and the weights of its sources. What one source lacks, the others give.
        sources: the files of all domains.
        seeds: the result of the seeds stage, with one record for each of `sources`.

    Returns:
        For each round the slices by domain, and notes for the user about domains with too few passages.
    """
    rounds: list[dict[str, list[Slice]]] = [{}, {}] if config.adapt.enabled else [{}]
    notes = []
    for name, domain in config.domains.items():
        files = [
            (source, record.kept)
            for source, record in zip(sources, seeds.records, strict=True)
            if source.domain == name and record.kept and record.kept.rows
        ]
        parts = divide_over_files(domain, files, domain.per_day)
        total = sum(parts)
        if total < domain.per_day:
            notes += _shortage(config, name, total, sources, seeds)
        for batch in rounds:
            batch[name] = []
        owed = 0.0  # passages of the second round, with fractions: they carry over from one file to the next
        for (_, ref), part in zip(files, parts, strict=True):
            owed += part * config.adapt.share if config.adapt.enabled else 0
            first = part - min(int(owed), part)
            owed -= part - first
            for batch, start, stop in zip(rounds, (0, first), (first, part), strict=False):
                if stop > start:
                    batch[name].append((ref, start, stop))
    return rounds, notes


def _shortage(
    config: Config, name: str, total: int, sources: Sequence[DomainFile], seeds: StageResult
) -> Iterator[str]:
    """Why a domain has fewer passages than `per_day`. Where nothing in its files can be used, the date says so."""
    records = [record for source, record in zip(sources, seeds.records, strict=True) if source.domain == name]
    per_day = config.domains[name].per_day
    if any(record.rejected.get("used") for record in records):
        yield f"{name}: {total} of {per_day} passages were left unused by earlier days; add sources"
    elif total:
        yield f"{name}: the sources have {total} passages, per_day is {per_day}; add sources"


def shortage_warning(name: str, count: int, per_day: int, *, used_before: bool) -> str | None:
    """What to know before a run of a domain whose sources have `count` passages for a date; None if they are enough.

    `used_before`: whether earlier dates have used some.
    """
    where = f"domains.{name}.seeds"
    if count >= per_day:
        return None
    if not count:
        why = "earlier dates have used all passages" if used_before else "no passage of them can be used"
        fix = "add sources, or " + ("start a new data set (out)" if used_before else f"see domains.{name}.passages")
        return f"{where}: {why}: no row will be made; {fix}"
    left = f"earlier dates have left {_passages(count)}" if used_before else f"they have {_passages(count)}"
    return f"{where}: {left}, per_day is {per_day}; add sources, or lower per_day"


def _passages(count: int) -> str:
    return f"{count} passage" if count == 1 else f"{count} passages"


def tasks_left_out(config: Config, card: ModelCard) -> list[str]:
    """For each domain with tasks that ask for a larger model, a note for the user."""
    left_out = {
        name: sorted(set(domain.drawn_tasks) - set(config.fitting_tasks(name, card.parameters)))
        for name, domain in config.domains.items()
    }
    return [
        f"{name}: {', '.join(tasks)} left out: {card.name} has {card.parameters / 1e6:.0f} M parameters "
        "(see needs_parameters)"
        for name, tasks in left_out.items()
        if tasks
    ]


def divide_over_files(domain: Domain, files: Sequence[tuple[DomainFile, FileRef]], total: int) -> list[int]:
    """How many passages each file gives of `total`: sources share them by their weights, and their files by rows."""
    available: dict[int, int] = {}
    for source, ref in files:
        available[source.place] = available.get(source.place, 0) + ref.rows
    available = dict(sorted(available.items()))
    counts = [0] * len(files)
    for place, count in allocate(total, available, {place: domain.seeds[place].weight for place in available}).items():
        rows_by_file = {number: ref.rows for number, (source, ref) in enumerate(files) if source.place == place}
        parts = allocate(count, rows_by_file, {number: float(rows) for number, rows in rows_by_file.items()})
        for number, part in parts.items():
            counts[number] = part
    return counts


def allocate(total: int, available: dict[Key, int], weights: dict[Key, float]) -> dict[Key, int]:
    """Divides `total` over sources by weight.

    No source gives more than it has available; the others, which have more, make up for it. The result adds up to
    `total`, or to everything that is available if that is less.
    """
    counts = dict.fromkeys(available, 0)
    total = min(total, sum(available.values()))
    while (missing := total - sum(counts.values())) > 0:
        not_exhausted = [source for source in available if counts[source] < available[source]]
        scale = missing / sum(weights[source] for source in not_exhausted)
        before = dict(counts)
        for source in not_exhausted:
            counts[source] += min(int(weights[source] * scale), available[source] - counts[source])
        if counts == before:  # fewer are missing than there are sources: the heaviest give one each
            for source in sorted(not_exhausted, key=lambda source: -weights[source])[:missing]:
                counts[source] += 1
    return counts


@dataclass(slots=True)
class DomainYield:
    """How many passages of a domain were used so far, and how many bytes of accepted text they gave."""

    passages: int = 0
    text_bytes: float = 0.0


def next_wave(
    config: Config,
    remaining: Mapping[str, list[Slice]],
    yields: Mapping[str, DomainYield],
    target_share: float,
    busy: float,
    *,
    first: bool,
) -> tuple[dict[str, list[Slice]], dict[str, list[Slice]]]:
    """Chooses the passages of the next wave.

    A domain without a target gives all its passages in the first wave. A domain with one gives a few shards first, then
    as many passages as seem to be missing, judging by the yield so far. With `run.minutes` all domains together give no
    more than seem to fit into the time that is left.

    Args:
        config: gives each domain's target.
        remaining: the round's passages that are not used yet, by domain.
        yields: what each domain's passages gave so far.
        target_share: the share of the target and of the time to reach in this round.
        busy: seconds that the waves so far took.
        first: whether this is the first wave of the round.

    Returns:
        The passages of the wave, and those that remain after it, both by domain.
    """
    limit = _passages_in_time(config, sum(each.passages for each in yields.values()), target_share, busy)
    counts: dict[str, int] = {}
    for name, slices in remaining.items():
        counts[name] = passages(slices)
        if config.domains[name].target_gb is not None:
            counts[name] = min(
                counts[name], _missing_passages(config, config.domains[name], yields[name], target_share)
            )
        elif limit is None and not first:
            counts[name] = 0
    if limit is not None:
        counts = allocate(limit, counts, {name: float(count) for name, count in counts.items()})
    chosen: dict[str, list[Slice]] = {}
    rest: dict[str, list[Slice]] = {}
    for name, slices in remaining.items():
        chosen[name], rest[name] = split_slices(slices, counts[name])
    return chosen, rest


def _passages_in_time(config: Config, so_far: int, share: float, busy: float) -> int | None:
    """How many more passages go into a wave with `run.minutes`, in whole shards; None where there is no such limit.

    It is half of what fits into the time that is left, for a machine may slow down, but a shard where one fits.
    """
    if config.run.minutes is None:
        return None
    rows = config.generate.shard_rows
    if not so_far or not busy:  # the pace is not known yet
        return rows * max(config.run.shards_at_once, len(config.domains))
    fit = max(int((config.run.minutes * 60 * share - busy) * so_far / busy), 0)
    return max(min(fit // 2, MAX_WAVE_GROWTH * so_far), min(fit, rows)) // rows * rows


def _missing_passages(config: Config, domain: Domain, so_far: DomainYield, target_share: float) -> int:
    """How many more passages a domain with a target needs, as far as is known."""
    assert domain.target_gb is not None
    missing_bytes = domain.target_gb * 1e9 * target_share - so_far.text_bytes
    if missing_bytes <= 0:
        return 0
    if not so_far.passages:
        return FIRST_WAVE_SHARDS * config.generate.shard_rows
    limit = MAX_WAVE_GROWTH * so_far.passages
    return min(math.ceil(missing_bytes * so_far.passages / so_far.text_bytes), limit) if so_far.text_bytes else limit


def shortfalls(config: Config, yields: Mapping[str, DomainYield], left: Mapping[str, int]) -> list[str]:
    """For each domain that did not reach its target, or not all passages in time, a note for the user.

    Args:
        config: gives the targets and the time.
        yields: what the passages of each domain gave.
        left: how many passages were chosen and not used, by domain.
    """
    notes = []
    for name, domain in config.domains.items():
        used, gb = yields[name].passages, yields[name].text_bytes / 1e9
        time_was_up = config.run.minutes is not None and left[name] > 0
        if time_was_up:
            why = (
                f"{used} of {used + left[name]} passages fitted into run.minutes ({config.run.minutes:g}) on this "
                "machine; the others are left for other dates"
            )
        else:
            why = f"all {used} passages that per_day and the sources had are used; raise per_day or add sources"
        if domain.target_gb is not None and gb < domain.target_gb:
            notes.append(f"{name}: {gb:.3g} GB of text accepted of target_gb {domain.target_gb:g}: {why}")
        elif domain.target_gb is None and time_was_up:
            notes.append(f"{name}: {why}")
    return notes


def passages(slices: Iterable[Slice]) -> int:
    """How many passages slices hold."""
    return sum(stop - start for _, start, stop in slices)


def split_slices(slices: Sequence[Slice], count: int) -> tuple[list[Slice], list[Slice]]:
    """Splits off `count` passages, from each slice in proportion to its size. Returns them and the rest."""
    rows = {number: stop - start for number, (_, start, stop) in enumerate(slices)}
    counts = allocate(count, rows, {number: float(size) for number, size in rows.items()})
    chosen, rest = [], []
    for number, (ref, start, stop) in enumerate(slices):
        middle = start + counts[number]
        chosen += [(ref, start, middle)] if middle > start else []
        rest += [(ref, middle, stop)] if stop > middle else []
    return chosen, rest


def cut_into_shards(slices: Sequence[Slice], rows: int) -> list[list[Slice]]:
    """Cuts and joins slices to shards of `rows` rows; the last shard may have fewer."""
    shards: list[list[Slice]] = []
    room = 0
    for ref, start, stop in slices:
        while start < stop:
            if not room:
                shards.append([])
                room = rows
            count = min(room, stop - start)
            shards[-1].append((ref, start, start + count))
            start += count
            room -= count
    return shards

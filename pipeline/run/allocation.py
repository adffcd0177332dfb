"""Which passages a day works through: by the sources' weights, in rounds, in waves where a target of text is to be met,
cut to shards."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from configs.schema import Config, Domain
from stages.seeds import DomainFile
from stages.storage.records import FileRef, StageResult

Slice = tuple[FileRef, int, int]  # rows start to stop of a file


def choose(
    config: Config, sources: Sequence[DomainFile], read: StageResult
) -> tuple[list[dict[str, list[Slice]]], list[str]]:
    """The day's passages: each source gives its share by weight, what one lacks the others give; then two rounds."""
    rounds: list[dict[str, list[Slice]]] = [{}, {}] if config.adapt.enabled else [{}]
    notes = []
    for name, domain in config.domains.items():
        files = [
            (s, r.kept)
            for s, r in zip(sources, read.records, strict=True)
            if s.domain == name and r.kept and r.kept.rows
        ]
        have = {
            place: sum(ref.rows for s, ref in files if s.place == place)
            for place in sorted({s.place for s, _ in files})
        }
        quota = fill(domain.per_day, have, {place: domain.seeds[place].weight for place in have})
        if (found := sum(quota.values())) < domain.per_day:
            notes.append(f"{name}: {found} of {domain.per_day} passages were left unused by earlier days; add sources")
        for batch in rounds:
            batch[name] = []
        owed = 0.0  # of the second round: a file of one passage adds its share to the next file's
        for place, count in quota.items():
            mine = {i: ref.rows for i, (s, ref) in enumerate(files) if s.place == place}
            for i, part in fill(count, mine, {j: float(rows) for j, rows in mine.items()}).items():
                owed += part * config.adapt.share if config.adapt.enabled else 0
                first = part - min(int(owed), part)
                owed -= part - first
                for batch, start, stop in zip(rounds, (0, first), (first, part), strict=False):
                    if stop > start:
                        batch[name].append((files[i][1], start, stop))
    return rounds, notes


def fill(total: int, have: dict[int, int], weight: dict[int, float]) -> dict[int, int]:
    """`total` dealt by weight, none above what it has; the remainder goes to those that have more."""
    dealt = dict.fromkeys(have, 0)
    total = min(total, sum(have.values()))
    while (left := total - sum(dealt.values())) > 0:
        open_ = [key for key in have if dealt[key] < have[key]]
        scale = left / sum(weight[key] for key in open_)
        before = dict(dealt)
        for key in open_:
            dealt[key] += min(int(weight[key] * scale), have[key] - dealt[key])
        if dealt == before:  # what is left is fewer than the sources: one each, heaviest first
            for key in sorted(open_, key=lambda key: -weight[key])[:left]:
                dealt[key] += 1
    return dealt


FIRST = 4  # shards of a first wave: what they yield is not known
GROWTH = 4  # times what was asked for so far: the most that the next wave asks


@dataclass(slots=True)
class Yield:
    """What a domain was asked for and gave so far: passages, and bytes of accepted text."""

    passages: int = 0
    text_bytes: float = 0.0


def wave(
    config: Config, left: Mapping[str, list[Slice]], done: Mapping[str, Yield], share: float, *, first: bool
) -> tuple[dict[str, list[Slice]], dict[str, list[Slice]]]:
    """The passages to ask for next, and what is left then. Without a target all at once.

    With one: a few shards, then as many as the yield so far says are missing to `share` of the target.
    """
    part: dict[str, list[Slice]] = {}
    rest: dict[str, list[Slice]] = {}
    for name, slices in left.items():
        count = sum(stop - start for _, start, stop in slices)
        if config.domains[name].target_gb is not None:
            count = min(count, _missing(config, config.domains[name], done[name], share))
        elif not first:
            count = 0
        part[name], rest[name] = take(slices, count)
    return part, rest


def _missing(config: Config, domain: Domain, done: Yield, share: float) -> int:
    assert domain.target_gb is not None
    missing = domain.target_gb * 1e9 * share - done.text_bytes
    if missing <= 0:
        return 0
    if not done.passages:
        return FIRST * config.generate.shard_rows
    most = GROWTH * done.passages
    return min(math.ceil(missing * done.passages / done.text_bytes), most) if done.text_bytes else most


def take(slices: Sequence[Slice], count: int) -> tuple[list[Slice], list[Slice]]:
    """`count` passages, of each slice its share, and the rest."""
    rows = {place: stop - start for place, (_, start, stop) in enumerate(slices)}
    dealt = fill(count, rows, {place: float(many) for place, many in rows.items()})
    taken, rest = [], []
    for place, (ref, start, stop) in enumerate(slices):
        middle = start + dealt[place]
        taken += [(ref, start, middle)] if middle > start else []
        rest += [(ref, middle, stop)] if stop > middle else []
    return taken, rest


def deal(slices: Sequence[Slice], rows: int) -> list[list[Slice]]:
    """Slices cut and joined to batches of `rows`."""
    batches: list[list[Slice]] = []
    room = 0
    for ref, start, stop in slices:
        while start < stop:
            if not room:
                batches.append([])
                room = rows
            count = min(room, stop - start)
            batches[-1].append((ref, start, start + count))
            start += count
            room -= count
    return batches

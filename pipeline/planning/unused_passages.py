"""Counts the passages that a date's sources have, without those of earlier dates, as far as the date needs them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from configs.schema import Config
from filters.language import identify
from pipeline.run.allocation import shortage_warning
from pipeline.store.dataset import DataSet
from stages.seeds import DomainFile, used_ids
from stages.sources.seed_source import Dropped, read_seeds

MAX_PASSAGES_READ = 10_000  # per domain; about ten seconds


@dataclass(frozen=True, slots=True)
class Unused:
    """A domain's passages for a date: their number, `per_day` at most, and whether earlier dates have used others."""

    count: int
    used_before: bool


def unused_passages(config: Config, files: Sequence[DomainFile], data: DataSet, date: str) -> dict[str, Unused]:
    """The passages that a date would find, by domain.

    Domains of which it is not known after `MAX_PASSAGES_READ` passages are left out, and those that surely have more
    text than these. Raises InputError for a damaged file.
    """
    refs = data.other_dates(date).used
    counts: dict[str, Unused] = {}
    for name, domain in config.domains.items():
        own = [file for file in files if file.domain == name]
        if domain.per_day > MAX_PASSAGES_READ < sum(file.file.bytes for file in own) / domain.passages.max_chars:
            continue
        used = used_ids(str(data.root), refs, name)
        unused: set[str] = set()
        passages = _passage_ids(config, own)
        for passage in islice(passages, MAX_PASSAGES_READ):
            if passage is not None and passage not in used:
                unused.add(passage)
                if len(unused) == domain.per_day:
                    break
        if len(unused) == domain.per_day or next(passages, passages) is passages:
            counts[name] = Unused(len(unused), bool(used))
    return counts


def shortages(config: Config, unused: dict[str, Unused]) -> Iterator[str]:
    """Warnings for domains with fewer passages than `per_day`."""
    for name, left in unused.items():
        per_day = config.domains[name].per_day
        if warning := shortage_warning(name, left.count, per_day, used_before=left.used_before):
            yield warning


def _passage_ids(config: Config, files: Sequence[DomainFile]) -> Iterator[str | None]:
    """The ids of a domain's passages; None for each that no task can use."""
    for file in files:
        domain = config.domains[file.domain]
        source = domain.seeds[file.place]
        for seed in read_seeds(source, file.file, file.domain, domain.passages, identify):
            yield None if isinstance(seed, Dropped) else seed.id

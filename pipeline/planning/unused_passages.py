"""Counts the passages that earlier dates have left, as far as a date needs them."""

from collections.abc import Iterator, Sequence
from itertools import islice

from configs.schema import Config
from filters.language import identify
from pipeline.store.dataset import DataSet
from stages.seeds import DomainFile, used_ids
from stages.sources.seed_source import Dropped, read_seeds

MAX_PASSAGES_READ = 10_000  # per domain; about ten seconds


def unused_passages(config: Config, files: Sequence[DomainFile], data: DataSet, date: str) -> dict[str, int]:
    """How many unused passages a date would find, by domain; `per_day` where there are enough.

    Domains of which no other date has used a passage are left out, and those where it is not known after
    `MAX_PASSAGES_READ` passages. Raises InputError for a damaged file.
    """
    refs = data.other_dates(date).used
    counts: dict[str, int] = {}
    for name, domain in config.domains.items():
        if not (used := used_ids(str(data.root), refs, name)):
            continue
        unused: set[str] = set()
        passages = _passage_ids(config, [file for file in files if file.domain == name])
        for passage in islice(passages, MAX_PASSAGES_READ):
            if passage is not None and passage not in used:
                unused.add(passage)
                if len(unused) == domain.per_day:
                    break
        if len(unused) == domain.per_day or next(passages, passages) is passages:
            counts[name] = len(unused)
    return counts


def shortages(config: Config, unused: dict[str, int]) -> Iterator[str]:
    """Warnings for domains with fewer unused passages than `per_day`."""
    for name, count in unused.items():
        per_day = config.domains[name].per_day
        if not count:
            yield (
                f"domains.{name}.seeds: earlier dates have used all passages: no row will be made; add sources, or "
                "start a new data set (out)"
            )
        elif count < per_day:
            yield (
                f"domains.{name}.seeds: earlier dates have left {count} passages, per_day is {per_day}; add sources, "
                "or lower per_day"
            )


def _passage_ids(config: Config, files: Sequence[DomainFile]) -> Iterator[str | None]:
    """The ids of a domain's passages; None for each that no task can use."""
    for file in files:
        domain = config.domains[file.domain]
        source = domain.seeds[file.place]
        for seed in read_seeds(source, file.file, file.domain, domain.passages, identify):
            yield None if isinstance(seed, Dropped) else seed.id

"""Sends a few passages through generation and all filters, in memory, to show what a run would do.

It writes nothing except the cache of models and corpora. It does not look for duplicates, and trains no adapters for a
second round.
"""

import difflib
import heapq
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, zip_longest
from typing import Any

from configs.errors import ConfigError, InputError
from configs.schema import Config
from filters.language import identify
from model.backends import open_generator
from pipeline.report.verdicts import FilterVerdict, open_filters, verdicts
from pipeline.run.allocation import allocate, shortage_warning
from pipeline.run.champions import check_adapters, with_pinned_champions
from pipeline.run.date_run import DateRun
from pipeline.run.resolve import resolve_models
from pipeline.store.dataset import DataSet
from stages.generate import Generate, Generated
from stages.ports import Adapter
from stages.record import CANDIDATE, Candidate, Seed, content_id
from stages.seeds import used_ids
from stages.sources.listing import SourceFile
from stages.sources.seed_source import Dropped, read_seeds, source_listing
from stages.storage.writer import to_table

MORE_PASSAGES = 5  # times those asked for are looked at, where tasks cannot ask about some
MAX_PASSAGES_PER_FILE = 20_000  # a run reads all of a file; a preview of a huge one should not take minutes


@dataclass(frozen=True, slots=True)
class PreviewRow:
    """One answer to a passage and what the filters say about it."""

    number: int  # of the passage, from 1
    seed: Seed
    generated: Generated
    filters: list[FilterVerdict]  # empty where the answer could not be parsed
    seconds: float  # of generation and filters; the first row's are without loading models

    @property
    def dropped_by(self) -> str | None:
        """`generate`, or the first filter that drops the row; None where it is kept."""
        if self.generated.candidate is None:
            return "generate"
        return next((verdict.filter for verdict in self.filters if not verdict.keeps), None)

    @property
    def reason(self) -> str | None:
        """Why the row is dropped."""
        if self.generated.candidate is None:
            return self.generated.parsed.reason
        return next((verdict.verdict for verdict in self.filters if not verdict.keeps), None)

    def to_json(self) -> dict[str, Any]:
        """The row for machines."""
        generated = self.generated
        return {
            "number": self.number,
            "sample": generated.sample,
            "domain": self.seed.domain,
            "task": generated.task,
            "language": self.seed.language,
            "source": self.seed.source,
            "location": self.seed.location,
            "seed_id": self.seed.id,
            "passage": self.seed.text,
            "prompt": list(generated.prompt.messages),
            "answer": generated.completion.text,
            "messages": generated.candidate.messages if generated.candidate else None,
            "finish_reason": generated.completion.finish_reason,
            "kept": self.dropped_by is None,
            "dropped_by": self.dropped_by,
            "reason": self.reason,
            "detail": generated.parsed.detail,
            "filters": [verdict.to_json() for verdict in self.filters],
            "attempts": generated.attempts,
            "prompt_tokens": generated.prompt_tokens,
            "output_tokens": generated.output_tokens,
            "seconds": round(self.seconds, 3),
        }


def preview_rows(
    config: Config,
    date: str,
    count: int,
    *,
    task: str | None = None,
    domain: str | None = None,
    notice: Callable[[str], None] = lambda text: None,
) -> Iterator[PreviewRow]:
    """Yields each row as soon as it is ready.

    Args:
        config: as for a run.
        date: the date whose passages are taken: those that no other date of the data set used.
        count: how many rows.
        task: the task of all rows; without it each passage gets the task that a run would give it.
        domain: the domain of all rows; without it domains take turns.
        notice: is called with remarks for the user.

    Raises ConfigError, InputError or BackendError that say what to change.
    """
    config = _narrowed(config, task, domain)
    seeds = choose_seeds(config, date, count, notice)
    if len(seeds) < count:
        notice(f"{len(seeds)} unused passages of the {count} asked for")
    data = DataSet.open(config.out)
    models = with_pinned_champions(resolve_models(config), DateRun.open(data, date))
    check_adapters(data, date, models.champions)
    config = _narrowed(models.config, task, domain)
    for line in models.notices:
        notice(line)
    adapters = {name: variant.adapter for name, variant in models.champions.items() if variant.adapter}
    options = config.generator.for_process(1, adapters=bool(adapters))
    generator = open_generator(options, models.generator, config.generator.threads or 0)
    try:
        body = Generate(config, models.generator, lambda: generator, lambda text, language: text)
        body.load()
        filters = None
        number = 0
        for seed in _with_more(seeds, lambda: choose_seeds(config, date, MORE_PASSAGES * count, lambda text: None)):
            started = time.perf_counter()
            champion = adapters.get(seed.domain)
            adapter = champion and Adapter(champion.name, str(data.root / champion.path), champion.sha256)
            samples = list(body.answer(seed.domain, [seed], adapter))
            seconds = time.perf_counter() - started
            if not samples:
                notice(f"{seed.location}: passed over, no sentence of it says something by itself")
                continue
            number += 1
            filters = filters if filters is not None else open_filters(config)  # late: the model loads before it
            for generated in samples:
                started = time.perf_counter()
                candidate = generated.candidate
                answers = [] if candidate is None else list(verdicts(filters, _stored(candidate)))
                yield PreviewRow(number, seed, generated, answers, seconds + time.perf_counter() - started)
                seconds = 0.0
            if number == count:
                break
    finally:
        generator.close()


def _with_more(seeds: list[Seed], choose_more: Callable[[], list[Seed]]) -> Iterator[Seed]:
    """The seeds, and after them others in place of those that no task could ask about."""
    yield from seeds
    known = {seed.id for seed in seeds}
    yield from (seed for seed in choose_more() if seed.id not in known)


def choose_seeds(config: Config, date: str, count: int, notice: Callable[[str], None]) -> list[Seed]:
    """Passages that a run of this date would take, from the domains in turn. Raises InputError if there are none."""
    data = DataSet.open(config.out)
    used_files = data.other_dates(date).used
    by_domain: list[list[Seed]] = []
    passed_over: Counter[str] = Counter()
    shortages: list[str] = []
    for name, domain in config.domains.items():
        used = used_ids(str(data.root), used_files, name)
        usable: set[str] = set()
        all_read = True
        files: list[tuple[int, list[Seed]]] = []  # the source's place, and its passages in the run's order
        for place, source in enumerate(domain.seeds):
            where = f"domains.{name}.seeds[{place}]"
            listing = source_listing(source, where, config.out)
            if note := listing.note():
                notice(f"{where}: passed over {note}")
            for file in listing.files:
                passages, is_whole = _usable_seeds(config, name, place, file, used, passed_over)
                if not is_whole:
                    notice(f"{where}: {file.name}: only {MAX_PASSAGES_PER_FILE} passages were read")
                usable.update(passages)
                all_read = all_read and is_whole
                files.append((place, [passages[key] for key in heapq.nsmallest(min(count, domain.per_day), passages)]))
        by_domain.append(_by_weight(files, {place: source.weight for place, source in enumerate(domain.seeds)}, count))
        warning = shortage_warning(name, len(usable), domain.per_day, used_before=bool(used))
        if all_read and warning:
            shortages.append(warning)
    in_turn = [seed for seeds in zip_longest(*by_domain) for seed in seeds if seed is not None]
    if not in_turn:
        why = ", ".join(f"{reason} {rows}" for reason, rows in passed_over.most_common()) or "no text in them"
        hint = "add sources, or start a new data set" if passed_over["used"] else "see domains.*.passages"
        raise InputError(f"domains.{'|'.join(config.domains)}.seeds: no passage can be used ({why}); {hint}")
    for warning in shortages:
        notice(warning)
    return in_turn[:count]


def _usable_seeds(
    config: Config,
    domain_name: str,
    place: int,
    file: SourceFile,
    used: set[str],
    passed_over: Counter[str],
) -> tuple[dict[str, Seed], bool]:
    """The file's unused passages by the hash that orders them in a run, and whether all of the file was read."""
    domain = config.domains[domain_name]
    languages = {language for name in domain.drawn_tasks for language in config.tasks[name].languages}
    seeds = read_seeds(domain.seeds[place], file, domain_name, domain.passages, identify)
    usable: dict[str, Seed] = {}  # by the hash that orders them: a passage that is there twice counts once
    for seed in islice(seeds, MAX_PASSAGES_PER_FILE):
        if isinstance(seed, Dropped):
            passed_over[seed.reason] += 1
        elif seed.id in used:
            passed_over["used"] += 1
        elif seed.language not in languages:
            passed_over["no task in its language"] += 1
        else:
            usable[content_id(str(config.seed), seed.id)] = seed
    return usable, next(seeds, None) is None


def _by_weight(files: Sequence[tuple[int, list[Seed]]], weights: dict[int, float], count: int) -> list[Seed]:
    """`count` passages at most: each source gives its share by weight, and each of its files an equal one."""
    available = {place: sum(len(seeds) for p, seeds in files if p == place) for place in sorted({p for p, _ in files})}
    chosen: list[list[Seed]] = []
    for place, share in allocate(count, available, weights).items():
        sizes = {number: len(seeds) for number, (p, seeds) in enumerate(files) if p == place and seeds}
        parts = allocate(share, sizes, {number: float(size) for number, size in sizes.items()})
        chosen.append([seed for number, part in parts.items() for seed in files[number][1][:part]])
    return [seed for seeds in zip_longest(*chosen) for seed in seeds if seed is not None]


def _narrowed(config: Config, task: str | None, domain: str | None) -> Config:
    """The config with one domain and one task alone, where they are given. Raises ConfigError."""
    domains = dict(config.domains)
    if domain is not None:
        if domain not in domains:
            raise ConfigError(f"--domain: no domain {domain!r}; {_nearest(domain, domains)}")
        domains = {domain: domains[domain]}
    if task is not None:
        if task not in config.tasks:
            raise ConfigError(f"--task: no task {task!r}; {_nearest(task, config.tasks)}")
        languages = config.tasks[task].languages
        chosen = {name: options for name, options in domains.items() if set(options.languages) & set(languages)}
        if not chosen:
            raise ConfigError(
                f"--task: {task} has prompts in {', '.join(languages)}, and no document of {', '.join(domains)} "
                "is in such a language; add prompts to the task, or choose another one"
            )
        domains = {
            name: options.model_copy(update={"tasks": (task,), "task_weights": {}}) for name, options in chosen.items()
        }
    return config.model_copy(update={"domains": domains})


def _stored(candidate: Candidate) -> Candidate:
    """The candidate as the screen reads it from the file of the stage before."""
    return Candidate(**to_table([candidate], CANDIDATE).to_pylist()[0])


def _nearest(name: str, known: Sequence[str] | dict[str, Any]) -> str:
    near = difflib.get_close_matches(name, known, 1)
    return f"did you mean {near[0]!r}?" if near else f"there are {', '.join(sorted(known))}"

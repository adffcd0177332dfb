"""Attribution: which groups of a data set's rows help a small student on real text, and task weights derived from it.

What a row teaches is the generator's own text: its passage is real, and every student knows it.
"""

import math
import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from configs.errors import ConfigError, GristmillError, InputError
from configs.load import load
from configs.schema import Config
from pipeline.evolve.group_effects import MIN_STUDENTS_PER_GROUP, group_effects
from pipeline.evolve.groups import MAX_BYTES_EACH, DomainRows, read_groups
from pipeline.evolve.real_text import RealText, from_corpora, from_sources
from pipeline.pages.report import report_path, write_report
from pipeline.store.dataset import DataSet
from pipeline.store.manifest import Attribution, DomainAttribution, GroupWorth, Manifest
from stages.storage.lock import HeldError

COLUMNS = ("task", "source", "date", "language", "licence", "generator", "adapter", "depth")
STUDENTS_PER_GROUP = 16
MAX_GROUPS = 128
MAX_BYTES_IN_ALL = 1_000_000  # that students learn of all groups: bounds time and memory
MIN_BYTES_EACH = 2_000  # with less a student learns nothing that can be measured
MAX_GROWTH = 1.25  # of a task's share in a round
FLOOR = 0.05  # of a task's share


def attribute(
    data: DataSet,
    columns: Sequence[str],
    *,
    dates: Sequence[str] = (),
    domains: Sequence[str] = (),
    config: Config | None = None,
    students: int | None = None,
    bytes_each: int | None = None,
    seed: int = 0,
) -> tuple[Attribution, list[str]]:
    """Measures the groups of published rows. Returns the figures and notes for the user; nothing is written.

    Args:
        data: the data set.
        columns: of the rows, whose values make the groups; from COLUMNS.
        dates: finished dates; all if empty.
        domains: all of the rows' if empty.
        config: whose sources hold the real text; unset, that of the newest date's run folder, and where it is gone the
            packaged corpora of the domain.
        students: a domain's; STUDENTS_PER_GROUP for each group if unset.
        bytes_each: of a group that a student learns; unset, half of what the scarcest group has.
        seed: of all random choices.

    Raises ConfigError for arguments that do not fit, InputError where there is too little to measure, StoreError when a
    shard is damaged.
    """
    columns = _checked(columns)
    manifests = _manifests(data, dates)
    rows = read_groups(data, manifests, columns)
    if unknown := [name for name in domains if name not in rows]:
        raise InputError(f"--domain: no rows of {', '.join(unknown)}; there are rows of {', '.join(rows) or 'none'}")
    if not rows:
        raise InputError(f"{data.root}: no rows on these dates; name others with --date")
    config = config or _recorded_config(data, manifests)
    notes: list[str] = []
    measured = {}
    for name in domains or sorted(rows):
        measured[name] = _measure(rows[name], name, columns, config, students, bytes_each, seed, notes)
    return (
        Attribution(
            columns=list(columns),
            dates=[manifest.date for manifest in manifests],
            computed=datetime.now(UTC).isoformat(timespec="seconds"),
            domains=measured,
        ),
        notes,
    )


def save(data: DataSet, attribution: Attribution) -> list[str]:
    """Writes the figures into the manifests of their dates, and their reports again. Returns notes for the user."""
    notes = []
    for date in attribution.dates:
        try:
            lock = data.lock(date)
        except HeldError as error:
            notes.append(f"the manifests lack these figures: {error}")
            break
        try:
            data.set_attribution(date, attribution)
            if report_path(data, date).exists():
                write_report(data, date)
        except GristmillError as error:
            notes.append(f"{date}: {error}")
        finally:
            os.close(lock)
    return notes


def newest_attribution(data: DataSet, date: str) -> Attribution | None:
    """The newest attribution of the tasks among dates up to this one; None if there is none."""
    known = [manifest.attribution for manifest in data.finished() if manifest.date <= date and manifest.attribution]
    return max((each for each in known if "task" in each.columns), key=lambda each: each.computed, default=None)


def task_weights_from(
    attribution: Attribution | None, domain: str, config: Config, weights: Mapping[str, float]
) -> dict[str, float]:
    """Shares of a domain's tasks that follow their worth: exponentiated weights (Kivinen and Warmuth 1997).

    A task whose interval is above 0 gets more, one below 0 less, in proportion to the effect: the share of the
    strongest is multiplied by up to MAX_GROWTH, no share grows by more, and none falls below FLOOR (or half of an equal
    share, if there are more than ten tasks; or where it was, if it was lower). The others keep theirs among themselves.

    `weights`: those of the champion; empty: as configured. Returns shares that sum to 1; {} where no effect of a task
    is known to differ from the average.
    """
    measured = attribution and attribution.domains.get(domain)
    if attribution is None or not measured or "task" not in attribution.columns:
        return {}
    options = config.domains[domain]
    known = {task: weights.get(task, options.task_weights.get(task, 1.0)) for task in options.tasks}
    total = sum(known.values())
    effects = {task: worth for task, worth in _task_effects(measured).items() if known.get(task)}
    if not effects or not total:
        return {}
    shares = {task: weight / total for task, weight in known.items()}
    strongest = max(abs(effect) for effect in effects.values())
    low, high = 0.0, math.log(MAX_GROWTH)
    for _ in range(50):  # the largest step after which no share has grown by more than MAX_GROWTH
        step = (low + high) / 2
        moved = _moved(shares, effects, step / strongest)
        fits = all(moved[task] <= MAX_GROWTH * share + 1e-12 for task, share in shares.items())
        low, high = (step, high) if fits else (low, step)
    return _moved(shares, effects, low / strongest)


def _moved(shares: Mapping[str, float], effects: Mapping[str, float], step: float) -> dict[str, float]:
    """Shares after a step along the effects, none below its floor; they sum to 1."""
    raw = {task: share * math.exp(step * effects.get(task, 0.0)) for task, share in shares.items()}
    floors = {task: min(FLOOR, 0.5 / len(shares), share) for task, share in shares.items()}
    at_floor: set[str] = set()
    while True:
        free = 1 - sum(floors[task] for task in at_floor)
        total = sum(value for task, value in raw.items() if task not in at_floor)
        moved = {task: floors[task] if task in at_floor else free * value / total for task, value in raw.items()}
        below = {task for task in moved if task not in at_floor and moved[task] < floors[task]}
        if not below:
            return moved
        at_floor |= below


def _task_effects(measured: DomainAttribution) -> dict[str, float]:
    """By task the mean effect of its groups, of those tasks that differ from the average beyond chance."""
    by_task: dict[str, list[GroupWorth]] = defaultdict(list)
    for worth in measured.groups:
        by_task[worth.group["task"]].append(worth)
    effects = {}
    for task, groups in by_task.items():
        effect = sum(worth.effect for worth in groups) / len(groups)
        half_width = math.sqrt(sum(((worth.high - worth.low) / 2) ** 2 for worth in groups)) / len(groups)
        if abs(effect) > half_width:
            effects[task] = effect
    return effects


def _checked(columns: Sequence[str]) -> list[str]:
    known = list(dict.fromkeys(column.strip() for column in columns if column.strip()))
    if not known:
        raise ConfigError(f"--groups: missing; name columns, such as task,source; there are {', '.join(COLUMNS)}")
    if unknown := [column for column in known if column not in COLUMNS]:
        raise ConfigError(f"--groups: {', '.join(map(repr, unknown))}: no such column; there are {', '.join(COLUMNS)}")
    return known


def _manifests(data: DataSet, dates: Sequence[str]) -> list[Manifest]:
    finished = data.dates()
    if missing := [date for date in dates if date not in finished]:
        known = f"its dates are {finished[0]} to {finished[-1]}" if finished else "it has none"
        raise InputError(f"--date: {', '.join(missing)}: not finished in {data.root}; {known}")
    return data.finished(sorted(dates) or finished)


def _recorded_config(data: DataSet, manifests: Sequence[Manifest]) -> Config | None:
    paths = [data.run_folder(manifest.date) / "config.yaml" for manifest in manifests]
    newest = next((path for path in reversed(paths) if path.exists()), None)
    return load(str(newest)) if newest else None


def _measure(
    rows: DomainRows,
    domain: str,
    columns: Sequence[str],
    config: Config | None,
    students: int | None,
    bytes_each: int | None,
    seed: int,
    notes: list[str],
) -> DomainAttribution:
    least = 2 * (bytes_each or MIN_BYTES_EACH)
    groups = {key: group for key, group in sorted(rows.groups.items()) if group.bytes >= least}
    left_out = {
        " · ".join(key): f"{group.bytes:,} bytes of text, {least:,} are needed"
        for key, group in sorted(rows.groups.items())
        if key not in groups
    }
    if len(groups) < 2:
        why = f"; left out: {'; '.join(f'{name}: {reason}' for name, reason in left_out.items())}" if left_out else ""
        raise InputError(
            f"{domain}: {len(groups) or 'no'} group by {', '.join(columns)} to measure, and groups are compared with "
            f"each other{why}; add columns to --groups or dates with more rows, or lower --bytes"
        )
    if bytes_each and bytes_each > MAX_BYTES_EACH:
        raise ConfigError(f"--bytes: {bytes_each:,} are more than {MAX_BYTES_EACH:,}; give so many or fewer")
    if len(groups) > MAX_GROUPS:
        raise InputError(
            f"{domain}: {len(groups)} groups by {', '.join(columns)} are more than {MAX_GROUPS}; name fewer columns in "
            "--groups or fewer dates in --date"
        )
    count = STUDENTS_PER_GROUP * len(groups) if students is None else students
    if count < MIN_STUDENTS_PER_GROUP * len(groups):
        raise ConfigError(
            f"--draws: {count} students cannot tell {len(groups)} groups of {domain} apart; give "
            f"{MIN_STUDENTS_PER_GROUP * len(groups)} or more"
        )
    most = min(MAX_BYTES_EACH, MAX_BYTES_IN_ALL // len(groups))
    each = bytes_each or min(most, *(group.bytes // 2 for group in groups.values()))
    samples = [group.sample(2 * each) for group in groups.values()]
    real = _real_text(rows, {seed for sample in samples for _, seed, _ in sample}, domain, config, notes)
    texts = [[text for *_, text in sample] for sample in samples]
    effects = group_effects(texts, real.core, real.held_out, bytes_each=each, students=count, seed=seed)
    figures = zip(groups.items(), effects.values, effects.low, effects.high, strict=True)
    worth = [
        GroupWorth(
            group=dict(zip(columns, key, strict=True)),
            rows=group.rows,
            bytes=group.bytes,
            effect=round(float(value), 6),
            low=round(float(low), 6),
            high=round(float(high), 6),
        )
        for (key, group), value, low, high in figures
    ]
    return DomainAttribution(
        groups=sorted(worth, key=lambda each: -each.effect),
        bytes_each=each,
        students=count + count % 2,
        documents=len(real.held_out),
        bits_per_byte=round(effects.mean, 4),
        real_text=real.origin,
        left_out=left_out,
    )


def _real_text(rows: DomainRows, seeds: set[str], domain: str, config: Config | None, notes: list[str]) -> RealText:
    """Text of the sources if there is enough, else of the packaged corpora; a note says why."""
    if config is None or domain not in config.domains:
        why = "the run folders with the configuration are gone" if config is None else "the configuration lacks it"
    elif not rows.knows_documents:
        why = "some rows do not say which document they are about (they are of an earlier version)"
    else:
        try:
            return from_sources(config, domain, rows.documents, seeds)
        except InputError as error:
            why = str(error)
    try:
        real = from_corpora(domain)
    except InputError as error:
        raise InputError(f"{error} ({why})") from None
    notes.append(f"{domain}: measured on {real.origin}; {why}")
    return real

"""What `gristmill plan` says of the evolution after a date: whose turn it is in each domain, and what that takes."""

from collections.abc import Iterator
from typing import Any

from model import backends
from pipeline.evolve.attribution import newest_attribution, task_weights_from
from pipeline.evolve.candidates import next_candidate, turn_of
from pipeline.evolve.pacing import pace_of
from pipeline.run.resolve import ResolvedModels
from pipeline.store.answers import collected_answers
from pipeline.store.dataset import DataSet
from pipeline.store.registry import DomainRegistry, is_decided
from pipeline.store.registry_files import Registry
from stages.evolve.students import BUDGETS


def evolution_outlook(models: ResolvedModels, date: str) -> dict[str, Any] | None:
    """What the evolution after a date would do, as the registry is now; None without a section `evolve`.

    The candidate `tasks` may have other weights by then, and a training may find too few examples. Nothing is written.
    Raises StoreError when the registry or a manifest is damaged.
    """
    config, options = models.config, models.config.evolve
    if options is None:
        return None
    data = DataSet.open(config.out)
    registry, attribution = Registry(data.root), newest_attribution(data, date)
    trains = backends.get(models.generator.backend).open_trainer is not None
    known = collected_answers(data, date)
    domains: dict[str, dict[str, Any]] = {}
    for name in config.domains:
        if is_decided(registry.verdicts_on(name, date)):
            domains[name] = {"candidate": "", "reason": f"{date} has its verdict", "generators": [], "answers": 0}
            continue
        pointer = registry.read(name)
        if pointer.base_sha256 not in ("", models.generator.sha256):  # no adapter fits any more
            pointer = DomainRegistry(domain=name)
        weights = task_weights_from(attribution, name, config, pointer.champion.task_weights)
        turn = turn_of(registry.history(name), options)
        candidate = next_candidate(config, name, pointer, turn, weights, trains_adapters=trains)
        generators = _generators(pointer, is_candidate=not candidate.reason)
        domains[name] = {
            "candidate": candidate.kind,
            "reason": candidate.reason,
            "generators": generators,
            "answers": options.probes * len(generators),
        }
    pace = pace_of(config, data, registry, date)
    return {
        "domains": domains,
        "waits": str(pace) if pace and not pace.is_due else "",
        "probes": options.probes,
        "students_each": options.draws * len(BUDGETS),
        "dates_with_answers": len(known),
        "collected_answers": sum(ref.rows for *_, files in known for ref in files),
    }


def _generators(pointer: DomainRegistry, *, is_candidate: bool) -> list[str]:
    """Those that write about the probes: none where there is neither a candidate nor a champion on trial."""
    if not is_candidate and not pointer.rejudgements_left:
        return []
    generators = ["base model"]
    if not pointer.champion.is_base:
        generators.append("champion")
        if pointer.rejudgements_left and pointer.previous and not pointer.previous[-1].is_base:
            generators.append("previous champion")
    return [*generators, "candidate"] if is_candidate else generators


def outlook_lines(outlook: dict[str, Any]) -> Iterator[str]:
    """The same for people, a line a domain."""
    for name, domain in outlook["domains"].items():
        what = f"no candidate: {domain['reason']}" if domain["reason"] else f"tries {domain['candidate']}"
        writers = domain["generators"]
        if writers:
            first, last = ", ".join(writers[:-1]), writers[-1]
            writing = f"{first} and {last} write" if first else f"{last} writes"
            what += f"; {writing} {domain['answers']:,} answers, each has {outlook['students_each']} students"
        yield f"{name}: {what}"
    if outlook["waits"]:
        yield outlook["waits"]
    yield (
        f"{outlook['collected_answers']:,} answers of {outlook['dates_with_answers']} dates to learn from, and those "
        "of the date itself"
    )

"""What a date's evolution starts from: the champions, whose turn it is, and the answers of all dates."""

from datetime import UTC, datetime

from configs import load
from configs.errors import ConfigError
from pipeline.evolve.attribution import newest_attribution, task_weights_from
from pipeline.evolve.candidates import turn_of
from pipeline.run.resolve import ResolvedModels
from pipeline.store.answers import collected_answers
from pipeline.store.dataset import DataSet
from pipeline.store.evolve_record import DateAnswers, EvolveRecord
from pipeline.store.registry import DomainRegistry, EvolveVerdict
from pipeline.store.registry_files import Registry, rollback_command


def start(
    models: ResolvedModels, data: DataSet, registry: Registry, date: str, earlier: EvolveRecord | None
) -> EvolveRecord:
    """The record of a date's evolution that starts now, or goes on.

    Args:
        models: the configuration, which has a section `evolve`, with its models.
        data: the data set, locked.
        registry: its registry; a base model that was replaced becomes the champion in it.
        date: YYYY-MM-DD.
        earlier: the record of the last start.

    Raises StoreError when a manifest or the registry is damaged.
    """
    config = models.config
    assert config.evolve is not None
    answers = [DateAnswers(*each) for each in collected_answers(data, date)]
    pointers: dict[str, DomainRegistry] = {}
    turns: dict[str, int] = {}
    for name in config.domains:
        if earlier and earlier.generator.sha256 == models.generator.sha256 and _goes_on(registry, name, earlier):
            pointers[name], turns[name] = earlier.pointers[name], earlier.turns[name]
        else:
            pointers[name] = _pointer(registry, name, models, date)
            turns[name] = turn_of(registry.history(name), config.evolve)
    attribution = newest_attribution(data, date)
    weights = {
        name: task_weights_from(attribution, name, config, pointers[name].champion.task_weights)
        for name in config.domains
    }
    identity = [
        load.fingerprint(config, models.generator.sha256, models.encoder and models.encoder.sha256, models.filters),
        config.evolve.model_dump(mode="json"),
        {name: pointer.model_dump(mode="json") for name, pointer in pointers.items()},
        [[each.date, each.digest] for each in answers],
        weights,
    ]
    return EvolveRecord(
        date=date,
        fingerprint=load.digest(identity),
        started=datetime.now(UTC).isoformat(timespec="seconds"),
        generator=models.generator,
        encoder=models.encoder,
        filters=models.filters,
        threads=models.threads,
        pointers=pointers,
        turns=turns,
        task_weights=weights,
        answers=answers,
    )


def check_measured_share(models: ResolvedModels, registry: Registry) -> None:
    """Raises ConfigError where a champion's adapter was trained on documents that would be measured now."""
    config = models.config
    assert config.evolve is not None
    share = config.evolve.measured_share
    for name in config.domains:
        pointer = registry.read(name)
        champion, trained_with = pointer.champion, pointer.champion.measured_share
        fits = pointer.base_sha256 == models.generator.sha256  # else the base model takes the champion's place
        if champion.adapter and fits and trained_with is not None and share > trained_with:
            raise ConfigError(
                f"evolve.measured_share: {share:g} is more than {trained_with:g}, with which the champion of {name} "
                f"({champion.id}) was trained: it has learnt documents that would be measured; set it back to "
                f"{trained_with:g}, or roll the champion back: {rollback_command(name, registry.root, to_base=True)}"
            )


def _goes_on(registry: Registry, domain: str, earlier: EvolveRecord) -> bool:
    """Whether an earlier start of the date committed the newest verdicts of a domain, and nobody else any.

    It was killed between two verdicts. What it did after the pointer that it started from stays valid; from the pointer
    of now another candidate would be judged on the same date.
    """
    pointer = earlier.pointers.get(domain)
    if pointer is None:
        return False
    newer = [verdict for verdict in registry.history(domain) if verdict.number > pointer.last_verdict]
    return bool(newer) and all(verdict in registry.verdicts_on(domain, earlier.date) for verdict in newer)


def _pointer(registry: Registry, domain: str, models: ResolvedModels, date: str) -> DomainRegistry:
    """The domain's pointer. Where the base model was replaced, a verdict says so first: no adapter fits any more."""
    pointer, sha256 = registry.read(domain), models.generator.sha256
    if pointer.base_sha256 in ("", sha256):
        return pointer
    with registry.lock(f"the evolution of {date}"):
        return registry.commit(
            EvolveVerdict(
                number=pointer.last_verdict + 1,
                domain=domain,
                date=date,
                decided=datetime.now(UTC).isoformat(timespec="seconds"),
                status="kept",
                kind="base",
                reason=f"the base model is another one now ({models.generator.name}), which is the champion",
                base_sha256=sha256,
                champion=pointer.champion,
            )
        )

"""The champions of a date: the variants of the base model that write its rows, as the registry named them.

A date keeps the champions that it was started with, whatever the registry says later: they are in `run.json` and in the
manifest. `--force` keeps those of a finished date too, since it publishes a damaged date again; a date that is not
finished, or was withdrawn, gets the present ones with it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from configs.errors import ConfigError, InputError, StoreError
from configs.schema import Config, Domain
from model.weights.adapter import adapter_sha256
from pipeline.run.date_run import DateRun
from pipeline.run.resolve import ResolvedModels, check_adapters_are_scored
from pipeline.store.dataset import DataSet
from pipeline.store.registry import Variant
from pipeline.store.registry_files import Registry, rollback_command
from stages.ports import ModelCard


def with_pinned_champions(models: ResolvedModels, date_run: DateRun, *, force: bool = False) -> ResolvedModels:
    """The models with the champions of a date, and the configuration that they make of it.

    They are those that the date was started with; for another date, with `evolve`, those of the registry now.

    Raises ConfigError and StoreError as `champions_of`, and ConfigError when a task of a champion is not configured.
    """
    owner = date_run.owner
    if force and not date_run.data.manifest_path(date_run.date).exists():
        owner = None
    elif force and (owner is None or owner.generator.sha256 != models.generator.sha256 or models.config.evolve is None):
        owner = None  # asked for with another base model, or without champions
    champions = owner.champions if owner else champions_of(date_run.data, models.config, models.generator)
    config = with_champions(models.config, champions)
    if any(variant.adapter for variant in champions.values()):
        check_adapters_are_scored(config, models.generator)
    return replace(models, config=config, champions=champions)


def champions_of(data: DataSet, config: Config, card: ModelCard) -> dict[str, Variant]:
    """The present champion of each domain, which is the base model where there is no other; {} without `evolve`.

    Raises StoreError when the registry is damaged, ConfigError when a champion's adapter is of another base model.
    """
    champions: dict[str, Variant] = {}
    for name in config.domains if config.evolve else ():
        pointer = Registry(data.root).read(name)
        if pointer.champion.adapter and pointer.base_sha256 != card.sha256:
            raise ConfigError(
                f"generator.model: {card.name} ({card.sha256[:12]}) is not the model that the champion of {name} "
                f"({pointer.champion.id}) adapts ({pointer.base_sha256[:12]}); set that model again, or make "
                f"the base model champion with {rollback_command(name, data.root, to_base=True)}"
            )
        champions[name] = pointer.champion
    return champions


def with_champions(config: Config, champions: Mapping[str, Variant]) -> Config:
    """The configuration with the tasks and the weights of tasks that the champions ask with.

    Raises ConfigError when a champion asks with a task that is not configured.
    """
    domains = {
        name: _with_champion(config, name, domain, champions[name]) if name in champions else domain
        for name, domain in config.domains.items()
    }
    return config if domains == config.domains else config.model_copy(update={"domains": domains})


def _with_champion(config: Config, name: str, domain: Domain, variant: Variant) -> Domain:
    if not (variant.task_weights or variant.prompts):
        return domain
    known = {task: weight for task, weight in variant.task_weights.items() if task in domain.tasks}
    known = known if any(known.values()) else {}  # the tasks that it asked with are gone
    new_task = sum(known.values()) / len(known) if known else 1.0  # of a task that was added since: an equal share
    weights: dict[str, float] = {}
    for task in domain.tasks:
        asked = variant.prompts.get(task, task)
        if asked not in config.tasks:
            raise ConfigError(
                f"tasks: no task {asked!r}, with which the champion of {name} ({variant.id}) asks instead of {task}; "
                f"add it, or go back with {rollback_command(name, config.out)}"
            )
        weight = known.get(task, new_task) if known else domain.task_weights.get(task, 1.0)
        weights[asked] = weights.get(asked, 0.0) + weight
    is_weighted = known or domain.task_weights or len(weights) < len(domain.tasks)
    return domain.model_copy(update={"tasks": tuple(weights), "task_weights": weights if is_weighted else {}})


def check_adapters(data: DataSet, date: str, champions: Mapping[str, Variant]) -> None:
    """Raises StoreError when the adapter of a champion is gone or damaged."""
    for name, variant in champions.items():
        if variant.adapter is None:
            continue
        folder = Path(data.root, variant.adapter.path)
        try:
            state = "" if adapter_sha256(folder) == variant.adapter.sha256 else "damaged"
        except InputError:
            state = "missing or incomplete"
        if state:
            raise StoreError(
                f"{folder}: {state}; it is the adapter of {name}'s champion ({variant.id}): restore it from a copy of "
                f"the data set, or go back with {rollback_command(name, data.root)}, then "
                f"gristmill run --date {date} --force{_withdrawing(data, date)}"
            )


def _withdrawing(data: DataSet, date: str) -> str:
    finished = data.manifest_path(date).exists()
    return f" after gristmill store rollback {date}: a finished date keeps its champions" if finished else ""


def notes_on_training(data: DataSet, champions: Mapping[str, Variant]) -> Iterator[str]:
    """For each champion that was trained on answers of dates that were withdrawn or published anew since, a note."""
    for name, variant in champions.items():
        dates = []
        for date, digest in sorted(variant.trained_on.items()):
            manifest = data.manifest(date)
            if manifest is None or manifest.digest != digest:
                dates.append(date)
        if dates:
            yield (
                f"{name}: its champion {variant.id} was trained on {', '.join(dates)}, withdrawn or replaced since; "
                f"{rollback_command(name, data.root)} goes back to the champion before"
            )

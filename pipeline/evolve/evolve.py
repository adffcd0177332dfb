"""Evolves the generators of a data set after a date: starts or resumes the driver, reports the verdicts."""

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from configs import load
from configs.errors import ConfigError, StoreError
from pipeline.evolve.attribution import newest_attribution, task_weights_from
from pipeline.evolve.record import DateAnswers, EvolveRecord
from pipeline.pages.evolve import write_evolve_report
from pipeline.run import signed_urls
from pipeline.run.cleanup import forgive_failures
from pipeline.run.resolve import ResolvedModels
from pipeline.run.shutdown import Stop
from pipeline.run.supervisor import Supervisor, Watch
from pipeline.store.answers import collected_answers, remove_old_answers
from pipeline.store.dataset import DataSet
from pipeline.store.registry import BY_HAND, DomainRegistry, EvolveVerdict
from pipeline.store.registry_files import Registry
from stages.storage.atomic import write_text

FOLDER = "evolve"  # of a data set: a folder for each date
CONFIG = "config.yaml"


@dataclass(slots=True)
class EvolveResult:
    """How a date's evolution ended. `digest`: of its verdicts without their times: equal for equal decisions."""

    status: str  # done, nothing (it was done before), deferred or failed
    verdicts: list[EvolveVerdict] = field(default_factory=list)
    error: str = ""
    notes: list[str] = field(default_factory=list)

    @property
    def digest(self) -> str:
        return load.digest([verdict.model_dump(mode="json", exclude={"decided"}) for verdict in self.verdicts])


def evolve_date(
    models: ResolvedModels, date: str, *, beam_args: Sequence[str], watch: Watch, stop: Stop
) -> EvolveResult:
    """Makes a candidate for each domain, compares it with the champion, and decides.

    A date that has its verdicts is not judged again. One that was stopped or killed goes on where it was.

    Args:
        models: the configuration, which has a section `evolve`, with its models.
        date: YYYY-MM-DD, of a date that has run.
        beam_args: flags for the Beam runner.
        watch: is called with the folder a few times a second.
        stop: says whether a stop is requested.

    Raises ConfigError without a section `evolve`, StoreError when a file is damaged or the disk cannot be used, and its
    subclass HeldError while a run or another evolution works on the data set.
    """
    config = models.config
    if config.evolve is None:
        raise ConfigError("evolve: missing; add the section to the configuration (docs/evolve.md), or `evolve: {}`")
    data, registry = DataSet.open(config.out), Registry(DataSet.open(config.out).root)
    if data.manifest(date) is None:
        raise ConfigError(f"--date: {date} is not finished in {data.root}; run gristmill run --date {date} first")
    if (verdicts := verdicts_of(registry, date, list(config.domains))) is not None:
        return EvolveResult("nothing", verdicts, notes=[f"{date} has its verdicts: nothing to do"])
    handle = data.lock(f"the evolution of {date}")
    try:
        folder = data.root / FOLDER / date
        folder.mkdir(parents=True, exist_ok=True)
        record = _record(models, data, registry, date)
        earlier = EvolveRecord.read(folder)
        if earlier is None or earlier.fingerprint != record.fingerprint:
            record.write(folder)
        write_text(folder / CONFIG, load.dump(signed_urls.hidden(config)))
        forgive_failures(folder)
        result = Supervisor("pipeline.evolve.driver", folder, handle, config, beam_args, watch, stop).supervise()
        if config.evolve.keep_days is not None:
            remove_old_answers(data, date, config.evolve.keep_days)
    except OSError as error:
        raise StoreError(
            f"{error.filename or data.root}: {error.strerror}; fix it and run the same command again"
        ) from None
    finally:
        os.close(handle)
    if result["status"] != "done":
        return EvolveResult(result["status"], error=result.get("error", ""), notes=result.get("notes", []))
    verdicts = verdicts_of(registry, date, list(config.domains))
    if verdicts is None:
        return EvolveResult("failed", error=f"{registry.root}: no verdict of {date} although it ended; run it again")
    try:
        write_evolve_report(data)
    except Exception:  # the verdicts stand; `gristmill report evolve` writes it later
        logging.getLogger(__name__).exception("report")
    return EvolveResult("done", verdicts, notes=result.get("notes", []))


def verdicts_of(registry: Registry, date: str, domains: Sequence[str]) -> list[EvolveVerdict] | None:
    """The verdicts of a date, made by evolution; None if a domain has none yet, or only that on its champion."""
    verdicts: list[EvolveVerdict] = []
    for domain in domains:
        own = [each for each in registry.history(domain) if each.date == date and each.kind not in (*BY_HAND, "base")]
        if not any(each.kind != "rejudge" or each.status == "rolled back" for each in own):
            return None
        verdicts += own
    return verdicts


def _record(models: ResolvedModels, data: DataSet, registry: Registry, date: str) -> EvolveRecord:
    config = models.config
    answers = [DateAnswers(*each) for each in collected_answers(data, date)]
    pointers = {name: _pointer(registry, name, models, date) for name in config.domains}
    attribution = newest_attribution(data, date)
    weights = {
        name: task_weights_from(attribution, name, config, pointers[name].champion.task_weights)
        for name in config.domains
    }
    turns = {
        name: sum(verdict.kind in config.evolve.candidates for verdict in registry.history(name))  # pyright: ignore
        for name in config.domains
    }
    cores = len(os.sched_getaffinity(0))
    identity = [
        load.fingerprint(config, models.generator.sha256, models.encoder and models.encoder.sha256, models.filters),
        config.evolve and config.evolve.model_dump(mode="json"),
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
        threads=config.generator.threads or max(cores // config.run.workers, 1),
        pointers=pointers,
        turns=turns,
        task_weights=weights,
        answers=answers,
    )


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

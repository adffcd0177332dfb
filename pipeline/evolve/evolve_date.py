"""Evolves the generators of a data set after a date: starts or resumes the driver, reports the verdicts."""

import contextlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, field

from configs import load
from configs.errors import ConfigError, GristmillError, StoreError
from pipeline.evolve.pacing import FOLDER, pace_of
from pipeline.evolve.start import check_measured_share, start
from pipeline.pages.evolve_report import write_evolve_report
from pipeline.report.evolution import written_dates_text
from pipeline.run import signed_urls
from pipeline.run.cleanup import remove_attempt_markers, remove_quarantine_records
from pipeline.run.resolve import ResolvedModels
from pipeline.run.shutdown import Stop
from pipeline.run.supervisor import Supervisor, Watch
from pipeline.store.answers import remove_old_answers
from pipeline.store.dataset import DataSet
from pipeline.store.evolve_record import EvolveRecord
from pipeline.store.registry import EvolveVerdict, is_decided
from pipeline.store.registry_files import Registry
from stages.storage.atomic import write_text

CONFIG = "config.yaml"


@dataclass(slots=True)
class EvolveResult:
    """How a date's evolution ended. `digest`: of its verdicts without their times: equal for equal decisions."""

    status: str  # done, nothing (it was done before), waiting (it is not due), deferred or failed
    verdicts: list[EvolveVerdict] = field(default_factory=list)
    error: str = ""
    notes: list[str] = field(default_factory=list)

    @property
    def digest(self) -> str:
        return load.digest([verdict.model_dump(mode="json", exclude={"decided"}) for verdict in self.verdicts])


def evolve_date(
    models: ResolvedModels, date: str, *, beam_args: Sequence[str], watch: Watch, stop: Stop, now: bool = False
) -> EvolveResult:
    """Makes a candidate for each domain, compares it with the champion, and decides.

    A date that has its verdicts is not judged again. One that was stopped or killed goes on where it was.

    Args:
        models: the configuration, which has a section `evolve`, with its models.
        date: YYYY-MM-DD, of a date that has run.
        beam_args: flags for the Beam runner.
        watch: is called with the folder a few times a second.
        stop: says whether a stop is requested.
        now: do not wait until it is due by `evolve.max_cost_share`.

    Raises ConfigError without a section `evolve` and where a champion has learnt what would be measured, StoreError
    when a file is damaged or the disk cannot be used, and its subclass HeldError while a run or another evolution works
    on the data set.
    """
    config = models.config
    if config.evolve is None:
        raise ConfigError("evolve: missing; add the section to the configuration (docs/evolve.md), or `evolve: {}`")
    data, registry = DataSet.open(config.out), Registry(DataSet.open(config.out).root)
    if data.manifest(date) is None:
        raise ConfigError(f"--date: {date} is not finished in {data.root}; run gristmill run --date {date} first")
    if (verdicts := verdicts_of(registry, date, list(config.domains))) is not None:
        notes = _clean_up(data, registry, date, list(config.domains))
        notes = [f"{date} has its verdicts: nothing to do", *_notes_on_rollbacks(data, verdicts), *notes]
        return EvolveResult("nothing", verdicts, notes=notes)
    handle = data.lock(f"the evolution of {date}")
    try:
        check_measured_share(models, registry)
        folder = data.root / FOLDER / date
        folder.mkdir(parents=True, exist_ok=True)
        earlier = EvolveRecord.read(folder)
        pace = None if earlier or now else pace_of(config, data, registry, date)
        if pace and not pace.is_due:
            return EvolveResult(
                "waiting", notes=[f"{date} waits: {pace}. Its answers are kept; --now judges it at once"]
            )
        record = start(models, data, registry, date, earlier)
        if earlier is None or earlier.fingerprint != record.fingerprint:
            record.write(folder)
        write_text(folder / CONFIG, load.dump(signed_urls.hidden(config)))
        remove_quarantine_records(folder)
        result = Supervisor("pipeline.evolve.driver", folder, handle, config, beam_args, watch, stop).supervise()
        if config.evolve.keep_days is not None:
            remove_old_answers(data, date, config.evolve.keep_days)
    except OSError as error:
        raise StoreError(
            f"{error.filename or data.root}: {error.strerror}; fix it and run the same command again"
        ) from None
    finally:
        os.close(handle)
    if result.status != "done":
        return EvolveResult(result.status, error=result.error, notes=result.notes)
    verdicts = verdicts_of(registry, date, list(config.domains))
    if verdicts is None:
        return EvolveResult("failed", error=f"{registry.root}: no verdict of {date} although it ended; run it again")
    notes = [*result.notes, *_notes_on_rollbacks(data, verdicts), *_write_report(data)]
    return EvolveResult("done", verdicts, notes=notes)


def _notes_on_rollbacks(data: DataSet, verdicts: Sequence[EvolveVerdict]) -> list[str]:
    """The dates that champions wrote which these verdicts rolled back."""
    rollbacks = [verdict for verdict in verdicts if verdict.status == "rolled back"]
    return [text for each in rollbacks if (text := written_dates_text(data, each.domain, each.champion))]


def _clean_up(data: DataSet, registry: Registry, date: str, domains: Sequence[str]) -> list[str]:
    """Finishes what a process that was killed after the last verdict left: pointers, temporary files, the report.

    Does nothing while another process works on the data set, or where the disk cannot be written. Returns notes.
    """
    with contextlib.suppress(GristmillError, OSError):
        handle = data.lock(f"the evolution of {date}")
        try:
            data.sweep(date)
            remove_attempt_markers(data.root / FOLDER / date)
            with registry.lock(f"the evolution of {date}"):
                for domain in domains:
                    registry.catch_up(domain)
            return _write_report(data)
        finally:
            os.close(handle)
    return []


def _write_report(data: DataSet) -> list[str]:
    """Writes the loop's page. Returns a note if that fails: the verdicts are kept."""
    try:
        write_evolve_report(data)
    except (GristmillError, OSError) as error:
        return [f"the loop's page was not written ({error}); gristmill report evolve --out {data.root} writes it"]
    return []


def verdicts_of(registry: Registry, date: str, domains: Sequence[str]) -> list[EvolveVerdict] | None:
    """The verdicts of a date, made by evolution; None if a domain has none yet, or only that on its champion."""
    verdicts: list[EvolveVerdict] = []
    for domain in domains:
        own = registry.verdicts_on(domain, date)
        if not is_decided(own):
            return None
        verdicts += own
    return verdicts

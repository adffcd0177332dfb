"""The driver: runs the stages of one date in order, and publishes the date. It is a process of its own.

    python -m pipeline.run.driver RUN_FOLDER [BEAM_FLAGS…]

A crash of this process loses no committed shard: the supervisor starts it again, and it skips what is committed.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from configs import errors, load
from configs.schema import Config
from pipeline.report.summary import summarise
from pipeline.run import signed_urls
from pipeline.run.beam.driver_process import run_driver
from pipeline.run.beam.stage_runner import StageRunner
from pipeline.run.champions import notes_on_training
from pipeline.run.empty import empty_domains, lost_as_duplicates, unusable_sources
from pipeline.run.graph import Outcome, graph
from pipeline.run.publishing import Publication
from pipeline.run.sources import sources_of_date
from pipeline.run.stage_specs import Context
from pipeline.store.dataset import DataSet
from pipeline.store.run_record import NAME as RUN_RECORD
from pipeline.store.run_record import DriverResult, RunRecord
from stages.storage.records import StageResult


class Driver:
    """Runs or resumes the date of a run folder.

    Args:
        folder: the run folder, in which the supervisor has written `run.json` and `config.yaml`.
        beam_args: flags for the Beam runner.

    Raises StoreError when the run folder has no record of the run.
    """

    def __init__(self, folder: Path, beam_args: Sequence[str]) -> None:
        record = RunRecord.read(folder)
        if record is None:
            raise errors.StoreError(f"{folder / RUN_RECORD}: missing; run gristmill run again")
        self._record = record
        self._config: Config = signed_urls.restored(load.load(str(folder / "config.yaml")))
        self._folder = folder
        self._data = DataSet(folder.parent.parent)
        self._beam_args = beam_args
        self._context = Context(
            config=self._config,
            card=record.generator,
            encoder=record.encoder,
            filters=record.filters,
            root=self._data.root,
            date=record.date,
            run_id=record.run_id,
            used=record.used,
            index=record.index,
            threads=record.threads,
            champions=record.champions,
        )
        self._results: list[StageResult] = []

    def run_stages(self) -> DriverResult:
        """Runs what is not finished, and publishes the date.

        Its status is "done", "empty" when no domain made enough rows, so that nothing is published, or "nothing" when
        earlier dates have used all passages. After an empty date the passages are `freed`, unless most rows were
        duplicates. Raises GristmillError when a stage fails.
        """
        self._data.sweep(self._context.date)
        self._sources = sources_of_date(self._data, self._record, self._config)
        steps = graph(self._context, self._sources.files)
        runner = StageRunner(self._context, self._beam_args)
        stage = next(steps)
        while True:
            result = runner.run(stage)
            self._results.append(result)
            try:
                stage = steps.send(result)
            except StopIteration as end:
                return self._finish(end.value)

    def _finish(self, outcome: Outcome) -> DriverResult:
        unusable = unusable_sources(self._sources.files, self._results[0], str(self._data.root))
        if not any(outcome.slices.values()):
            used_up = [self._used_up()] if len(unusable) < len(self._config.domains) else []
            notes = [*unusable.values(), *used_up, *self._sources.notes]
            return DriverResult("empty", notes=notes, freed=True) if unusable else DriverResult("nothing", notes=notes)
        figures = summarise(self._config, self._results)
        empty = empty_domains(self._config, figures["domains"], self._results, str(self._data.root))
        if len(empty) == sum(bool(slices) for slices in outcome.slices.values()):
            freed = not all(lost_as_duplicates(self._results, name) for name in empty)
            if freed:
                self._data.release(self._record.date)
            notes = [*empty.values(), *unusable.values(), *self._sources.notes]
            return DriverResult("empty", notes=notes, rejected=figures["rejected"], freed=freed)
        training = notes_on_training(self._data, self._record.champions)
        outcome.notes = [*self._sources.notes, *outcome.notes, *empty.values(), *unusable.values(), *training]
        without_rows = sorted({*empty, *unusable})
        Publication(self._data, self._config, self._record, outcome, self._results, without_rows).publish()
        return DriverResult("done")

    def _used_up(self) -> str:
        used = sum(record.rejected.get("used", 0) for record in self._results[0].records)
        return f"no unused seeds are left (used {used}): add sources, or start a new data set"


def main(argv: Sequence[str]) -> int:
    """Runs the driver and writes how it ended to `result.json` in the run folder. Returns the exit code.

    Args:
        argv: the run folder, then flags for the Beam runner.
    """
    folder = Path(argv[0])
    return run_driver(folder, lambda: Driver(folder, argv[1:]).run_stages())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

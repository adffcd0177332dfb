"""The driver of a date's evolution: runs its stages in order and commits the verdicts. It is a process of its own.

    python -m pipeline.evolve.driver FOLDER [BEAM_FLAGS…]

A crash of this process loses no committed shard and no verdict: the supervisor starts it again.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from configs import errors, load
from model import backends
from pipeline.evolve.candidates import next_candidate
from pipeline.evolve.evolution import Evolution
from pipeline.evolve.evolve_date import CONFIG
from pipeline.evolve.graph import graph
from pipeline.evolve.pacing import FOLDER
from pipeline.evolve.verdict import opens_vault, verdicts_on
from pipeline.run import signed_urls
from pipeline.run.beam.driver_process import run_driver
from pipeline.run.beam.stage_runner import StageRunner
from pipeline.run.stage_specs import Context
from pipeline.store.dataset import DataSet
from pipeline.store.evolve_record import NAME, EvolveRecord
from pipeline.store.registry_files import Registry
from pipeline.store.run_record import DriverResult
from stages.seeds import list_sources


def run_stages(folder: Path, beam_args: Sequence[str]) -> DriverResult:
    """Runs what is not finished and commits the verdicts.

    Raises StoreError without a record in the folder, and GristmillError when a stage fails.
    """
    record = EvolveRecord.read(folder)
    if record is None:
        raise errors.StoreError(f"{folder / NAME}: missing; run gristmill evolve again")
    config = signed_urls.restored(load.load(str(folder / CONFIG)))
    root = folder.parent.parent
    DataSet(root).sweep(record.date)
    context = Context(
        config=config,
        card=record.generator,
        encoder=record.encoder,
        filters=record.filters,
        root=root,
        date=record.date,
        run_id=f"{FOLDER}-{record.date}",
        used=[],
        index=[],
        threads=record.threads,
        folder=f"{FOLDER}/{record.date}",
    )
    trains = backends.get(record.generator.backend).open_trainer is not None
    candidates = {
        name: next_candidate(
            config, name, record.pointers[name], record.turns[name], record.task_weights[name], trains_adapters=trains
        )
        for name in config.domains
    }
    evolution = Evolution(context, record, candidates)
    sources = list_sources(config)
    steps = graph(evolution, sources.files, lambda name, outcome: opens_vault(evolution, name, outcome))
    runner = StageRunner(context, beam_args)
    stage = next(steps)
    while True:
        result = runner.run(stage)
        try:
            stage = steps.send(result)
        except StopIteration as end:
            outcome = end.value
            break
    registry = Registry(root)
    with registry.lock(f"the evolution of {record.date}"):
        for name in config.domains:
            for verdict in verdicts_on(evolution, registry, name, outcome[name]):
                registry.commit(verdict)
            registry.catch_up(name)  # after a verdict whose process was killed before it wrote the pointer
    return DriverResult("done", notes=sources.notes)


def main(argv: Sequence[str]) -> int:
    """Runs the driver and writes how it ended to `result.json`. Returns the exit code.

    Args:
        argv: the folder of the date's evolution, then flags for the Beam runner.
    """
    folder = Path(argv[0])
    return run_driver(folder, lambda: run_stages(folder, argv[1:]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

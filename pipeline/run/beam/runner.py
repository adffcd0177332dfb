"""Runs the Beam jobs of stages on the runner that the `run` section of the config and Beam flags choose."""

import functools
import os
from collections.abc import Iterable, Sequence
from typing import Any

import stages.execute  # noqa: F401  # isort: skip  # it imports Beam faster
import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions, PipelineOptionsT
from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner
from apache_beam.transforms.environments import ExternalEnvironment

from configs.schema import Run
from pipeline.run.beam import dask_cluster
from stages.storage.shard import ShardSpec


class JobOptions(PipelineOptions):
    """Beam's options, each view of which is created once.

    Beam asks for about eighty views a job, and defines the flags of a view's parser each time: half a second a date.
    """

    def view_as(self, cls: type[PipelineOptionsT]) -> PipelineOptionsT:
        views: dict[type, Any] = self.__dict__.setdefault("_views", {})
        if cls not in views:
            views[cls] = super().view_as(cls)
        return views[cls]

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in super().__getstate__().items() if name != "_views"}


class LocalOptions(JobOptions):
    """Options of FnApiRunner. A job changes nothing in them that the next one would read, so that all can share one."""

    def __deepcopy__(self, memo: dict[int, Any]) -> "LocalOptions":
        return self


class Specifications(beam.DoFn):
    """Gives a job its shards. Beam's own Create does it in two steps, each of which Beam looks through at length."""

    def __init__(self, specs: Sequence[ShardSpec]) -> None:
        self._specs = list(specs)

    def process(self, element: bytes) -> Iterable[ShardSpec]:
        return self._specs


def run_job(
    run: Run,
    beam_args: Sequence[str],
    specs: Sequence[ShardSpec],
    name: str,
    work: beam.DoFn,
    *,
    runs_generator: bool,
) -> None:
    """Runs one job and waits for its end. Raises whatever the runner raises when the job as a whole failed.

    Args:
        run: the section of the config.
        beam_args: flags for the Beam runner.
        specs: the shards to make.
        name: of the step, in the runner's log.
        work: makes them.
        runs_generator: whether the stage runs the generator; then `run.accelerator` is a hint for the runner.
    """
    at_once = max(1, min(run.shards_at_once, len(specs)))
    runner, options = runner_and_options(run, beam_args, at_once)
    pipeline = beam.Pipeline(runner=runner, options=options)
    os.rmdir(pipeline.local_tempdir)  # unused, and it would remain if the driver is killed
    shards: Any
    if run.runner == "FnApiRunner":
        shards = pipeline | "Start" >> beam.Impulse() | "Shards" >> beam.ParDo(Specifications(specs))
    else:  # Dask's runner knows no Impulse
        shards = pipeline | "Shards" >> beam.Create(list(specs), reshuffle=False)
    if len(specs) > 1 and not _is_in_driver(run, beam_args, at_once):
        shards = shards | "Spread" >> beam.Reshuffle()  # else one worker would make them all
    step = beam.ParDo(work)
    if runs_generator and run.accelerator:
        step = step.with_resource_hints(accelerator=run.accelerator)
    _ = shards | name >> step
    if run.dask_cluster is None:
        pipeline.run().wait_until_finish()
        return
    with dask_cluster.resources(run.dask_cluster, runs_generator=runs_generator):
        job: Any = pipeline.run()
    try:
        job.wait_until_finish()
    finally:
        dask_cluster.end_job(job.client)


def runner_and_options(run: Run, beam_args: Sequence[str], at_once: int) -> tuple[Any, PipelineOptions]:
    """Returns the runner, as an object or as a name that Beam knows, and its options.

    FnApiRunner is created directly, because Beam's DirectRunner first tries to download the binary of another runner.
    `at_once`: how many shards of the job are worked on at the same time. A single one needs no gRPC between runner and
    worker: it is made in the driver's own thread.
    """
    if run.dask_cluster is not None:
        return dask_cluster.RUNNER, JobOptions([*dask_cluster.beam_flags(run.dask_cluster), *beam_args])
    if run.runner != "FnApiRunner":
        return run.runner, JobOptions([f"--runner={run.runner}", *beam_args])
    if run.pool:  # without a running mode, which would replace the pool by an environment of its own
        flags = [f"--direct_num_workers={run.workers}"]
        return FnApiRunner(default_environment=_external(run.pool)), JobOptions([*flags, *beam_args])
    if _is_in_driver(run, beam_args, at_once):
        return FnApiRunner(), _local_options("--direct_num_workers=1", "--direct_running_mode=in_memory")
    mode = "multi_processing" if run.workers > 1 else "multi_threading"
    flags = [
        f"--direct_num_workers={at_once}",
        f"--direct_running_mode={mode}",
    ]
    return FnApiRunner(), _local_options(*flags, *beam_args)


def _is_in_driver(run: Run, beam_args: Sequence[str], at_once: int) -> bool:
    """Whether the driver makes the job's shards itself, one after the other. Flags may ask Beam for more workers."""
    is_local = run.runner == "FnApiRunner" and run.pool is None and run.workers == 1
    return is_local and at_once == 1 and not beam_args


@functools.lru_cache(maxsize=8)
def _local_options(*flags: str) -> LocalOptions:
    return LocalOptions(list(flags))


def _external(address: str) -> Any:
    environment: Any = ExternalEnvironment  # Any: its decorator hides that one argument is enough
    return environment(address)

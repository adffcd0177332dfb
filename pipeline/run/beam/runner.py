"""Runs the Beam jobs of stages on the runner that the `run` section of the config and Beam flags choose."""

import os
from collections.abc import Sequence
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


def run_job(
    run: Run,
    beam_args: Sequence[str],
    specs: Sequence[ShardSpec],
    name: str,
    work: beam.PTransform,
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
        runs_generator: whether the stage runs the generator.
    """
    runner, options = runner_and_options(run, beam_args)
    pipeline = beam.Pipeline(runner=runner, options=options)
    os.rmdir(pipeline.local_tempdir)  # unused, and it would remain if the driver is killed
    _ = pipeline | "Shards" >> beam.Create(list(specs), reshuffle=False) | name >> work  # `work` shuffles them itself
    if run.dask_cluster is None:
        pipeline.run().wait_until_finish()
        return
    with dask_cluster.resources(run.dask_cluster, runs_generator=runs_generator):
        job: Any = pipeline.run()
    try:
        job.wait_until_finish()
    finally:
        dask_cluster.end_job(job.client)


def runner_and_options(run: Run, beam_args: Sequence[str]) -> tuple[Any, PipelineOptions]:
    """Returns the runner, as an object or as a name that Beam knows, and its options.

    FnApiRunner is created directly, because Beam's DirectRunner first tries to download the binary of another runner.
    """
    if run.dask_cluster is not None:
        return dask_cluster.RUNNER, JobOptions([*dask_cluster.beam_flags(run.dask_cluster), *beam_args])
    if run.runner != "FnApiRunner":
        return run.runner, JobOptions([f"--runner={run.runner}", *beam_args])
    if run.pool:  # without a running mode, which would replace the pool by an environment of its own
        flags = [f"--direct_num_workers={run.workers}"]
        return FnApiRunner(default_environment=_external(run.pool)), JobOptions([*flags, *beam_args])
    mode = "multi_processing" if run.workers > 1 else "multi_threading"
    flags = [
        f"--direct_num_workers={run.shards_at_once}",
        f"--direct_running_mode={mode}",
    ]
    return FnApiRunner(), JobOptions([*flags, *beam_args])


def _external(address: str) -> Any:
    environment: Any = ExternalEnvironment  # Any: its decorator hides that one argument is enough
    return environment(address)

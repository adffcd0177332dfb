"""Chooses the Beam runner for the jobs of stages, from the `run` section of the config and Beam flags."""

from collections.abc import Sequence
from typing import Any

from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner
from apache_beam.transforms.environments import ExternalEnvironment

from configs.schema import Run


def runner_and_options(run: Run, beam_args: Sequence[str]) -> tuple[Any, PipelineOptions]:
    """Returns the runner, as an object or as a name that Beam knows, and its options.

    FnApiRunner is created directly, because Beam's DirectRunner first tries to download the binary of another runner.
    """
    if run.runner != "FnApiRunner":
        return run.runner, PipelineOptions([f"--runner={run.runner}", *beam_args])
    if run.pool:  # without a running mode, which would replace the pool by an environment of its own
        flags = [f"--direct_num_workers={run.workers}"]
        return FnApiRunner(default_environment=_external(run.pool)), PipelineOptions([*flags, *beam_args])
    mode = "multi_processing" if run.workers > 1 else "multi_threading"
    flags = [
        f"--direct_num_workers={run.workers if run.workers > 1 else run.in_flight}",
        f"--direct_running_mode={mode}",
    ]
    return FnApiRunner(), PipelineOptions([*flags, *beam_args])


def _external(address: str) -> Any:
    environment: Any = ExternalEnvironment  # Any: its decorator hides that one argument is enough
    return environment(address)

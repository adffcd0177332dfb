"""From a config's `run` section and raw Beam flags to the runner that a stage's job goes to."""

from collections.abc import Sequence
from typing import Any

from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner
from apache_beam.transforms.environments import ExternalEnvironment

from configs.schema import Run


def runner_and_options(run: Run, beam_args: Sequence[str]) -> tuple[Any, PipelineOptions]:
    """The runner (an object, or a name that Beam knows) and its options.

    FnApiRunner is named outright: Beam's DirectRunner first tries to download another runner's binary.
    """
    if run.runner != "FnApiRunner":
        return run.runner, PipelineOptions([f"--runner={run.runner}", *beam_args])
    processes = run.workers > 1 or run.pool is not None
    flags = [
        f"--direct_num_workers={run.workers if processes else run.in_flight}",
        f"--direct_running_mode={'multi_processing' if run.workers > 1 and not run.pool else 'multi_threading'}",
    ]
    if run.pool:
        return FnApiRunner(default_environment=_external(run.pool)), PipelineOptions([*flags, *beam_args])
    return FnApiRunner(), PipelineOptions([*flags, *beam_args])


def _external(address: str) -> Any:
    make: Any = ExternalEnvironment  # its decorator hides that one argument will do
    return make(address)

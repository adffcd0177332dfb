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
    if run.pool:  # no running mode: any but the default puts an environment of its own in the pool's place
        flags = [f"--direct_num_workers={run.workers}"]
        return FnApiRunner(default_environment=_external(run.pool)), PipelineOptions([*flags, *beam_args])
    mode = "multi_processing" if run.workers > 1 else "multi_threading"
    flags = [
        f"--direct_num_workers={run.workers if run.workers > 1 else run.in_flight}",
        f"--direct_running_mode={mode}",
    ]
    return FnApiRunner(), PipelineOptions([*flags, *beam_args])


def _external(address: str) -> Any:
    make: Any = ExternalEnvironment  # its decorator hides that one argument will do
    return make(address)

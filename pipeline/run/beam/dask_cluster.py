"""The Dask cluster of `run.runner: dask`: checked before a run starts, and how Beam's jobs are sent to it.

Only shard specifications and the stages' bodies go through Dask. Rows, records and the request to stop are files of the
data set's folder, which the driver and all workers share.
"""

import contextlib
import logging
import os
import time
from collections import Counter
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

from configs.errors import BackendError, ConfigError
from configs.schema import Dask
from stages.body import release
from stages.storage.atomic import temporary_path

RUNNER = "apache_beam.runners.dask.dask_runner.DaskRunner"
CONNECT_TIMEOUT_S = 10
POLL_INTERVAL_S = 0.5

# Which devices a worker process sees: two workers of one host that see the same ones take each other's memory.
DEVICES = ("CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES")


def beam_flags(cluster: Dask) -> list[str]:
    """Flags of Beam's Dask runner: a task for each shard, so that any free worker takes the next one."""
    return [
        f"--dask_client_address={cluster.scheduler}",
        f"--dask_connection_timeout={CONNECT_TIMEOUT_S}",
        "--dask_partition_size=1",
    ]


@contextlib.contextmanager
def resources(cluster: Dask, *, runs_generator: bool) -> Iterator[None]:
    """Tasks that are sent inside the block go only to workers that offer the resource of their kind of stage."""
    import dask

    needed = cluster.generator_resource if runs_generator else cluster.other_resource
    with dask.annotate(resources={needed: 1}) if needed else contextlib.nullcontext():  # pyright: ignore[reportPrivateImportUsage]
        yield


def end_job(client: Any) -> None:
    """Frees the models that workers keep, and disconnects. The scheduler forgets the job's tasks that are left."""
    try:
        if client.status == "running":
            client.run(release, on_error="ignore")
    except (OSError, TimeoutError):
        logging.getLogger(__name__).warning("the models on Dask's workers were not freed", exc_info=True)
    finally:
        client.close(timeout=CONNECT_TIMEOUT_S)


def check(cluster: Dask, root: Path, *, owns_gpus: bool) -> None:
    """Checks that the scheduler answers and that its workers can make the run's shards.

    Waits up to `run.dask.wait_s` for workers that offer what the stages need.

    Args:
        cluster: the section `run.dask` of the config.
        root: the data set's folder, which workers must see under the same path.
        owns_gpus: the generator opens engines on all GPUs that its process sees.

    Raises ConfigError that names the key, or BackendError that names the worker, and how to fix it.
    """
    try:
        from distributed import Client
    except ImportError:
        raise ConfigError("run.runner: dask is not installed; pip install 'gristmill[dask]'") from None
    address = cluster.scheduler
    logging.getLogger("distributed").setLevel(logging.CRITICAL)  # the errors below say it in one line
    try:
        client = Client(address, timeout=CONNECT_TIMEOUT_S, set_as_default=False)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"run.dask.scheduler: no Dask scheduler answers at {address} ({_first_line(error)}); start one with "
            "`dask scheduler`, and write the address that it prints"
        ) from None
    try:
        _wait_for_workers(client, cluster)
        _check_workers(client, cluster, root, owns_gpus=owns_gpus)
    except OSError as error:
        raise BackendError(
            f"{address}: the Dask cluster stopped answering ({_first_line(error)}); start it again, then run "
            "the same command again"
        ) from None
    finally:
        client.close(timeout=CONNECT_TIMEOUT_S)


def _wait_for_workers(client: Any, cluster: Dask) -> None:
    deadline = time.monotonic() + cluster.wait_s
    while missing := _missing(client.scheduler_info()["workers"], cluster):
        if time.monotonic() >= deadline:
            raise BackendError(missing)
        time.sleep(POLL_INTERVAL_S)


def _missing(workers: dict[str, Any], cluster: Dask) -> str:
    """What no worker offers, and how to start one that does; empty if nothing is missing."""
    address, start = cluster.scheduler, f"`dask worker {cluster.scheduler}"
    if not workers:
        return f"{address}: the Dask scheduler has no workers; start some with {start}` (waited run.dask.wait_s)"
    for key, resource in (
        ("run.dask.generator_resource", cluster.generator_resource),
        ("run.dask.other_resource", cluster.other_resource),
    ):
        if resource and not any(worker["resources"].get(resource, 0) >= 1 for worker in workers.values()):
            return f"{key}: no worker of {address} offers {resource}; start one with {start} --resources {resource}=2`"
    return ""


def _check_workers(client: Any, cluster: Dask, root: Path, *, owns_gpus: bool) -> None:
    workers = client.scheduler_info()["workers"]
    mark = temporary_path(root / "workers")
    mark.touch()
    try:
        answers: dict[str, Any] = client.run(probe, str(mark), on_error="return")
    finally:
        mark.unlink(missing_ok=True)
    own = metadata.version("gristmill")
    for worker, answer in sorted(answers.items()):
        if isinstance(answer, ImportError):
            raise BackendError(f"{worker}: {_first_line(answer)}; install gristmill=={own} for this worker, as here")
        if isinstance(answer, BaseException):
            raise BackendError(f"{worker}: the worker does not answer ({_first_line(answer)}); start it again")
        if answer["version"] != own:
            raise BackendError(f"{worker}: has gristmill {answer['version']}, but {own} runs here; install {own} there")
        if not answer["shares_folder"]:
            raise BackendError(
                f"{worker}: does not see, or may not write, the data set's folder {root}; mount the same file system "
                "there under the same path, or choose another folder with --out"
            )
    resource = cluster.generator_resource
    if owns_gpus:
        fleets = Counter(
            (workers[worker]["host"], answer["devices"])
            for worker, answer in answers.items()
            if worker in workers and (resource is None or workers[worker]["resources"].get(resource))
        )
        if crowded := sorted(host for (host, _), count in fleets.items() if count > 1):
            raise BackendError(
                f"{crowded[0]}: several workers would open engines on the same GPUs; start one worker process there "
                "(dask worker --nworkers 1), or give each its own CUDA_VISIBLE_DEVICES"
            )


def probe(mark: str) -> dict[str, Any]:
    """What a worker has and sees. Runs on the worker; `mark` is a file that the driver has just created."""
    release()
    path = Path(mark)
    return {
        "version": metadata.version("gristmill"),
        "shares_folder": path.exists() and os.access(path.parent, os.W_OK),
        "devices": ";".join(os.environ.get(name, "") for name in DEVICES),
    }


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]

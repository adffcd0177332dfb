"""How a run is executed and watched: workers, prices, drift, metrics. None of it changes a row or a fingerprint."""

import os
import re
from datetime import date
from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from configs.schema.section import Section


class Price(Section):
    """Prices, for the cost that reports show."""

    machine_hour: float = Field(default=0.0, ge=0, description="Price of an hour of all machines of the run together.")
    prompt_million: float = Field(default=0.0, ge=0, description="A service's price of a million prompt tokens.")
    output_million: float = Field(default=0.0, ge=0, description="A service's price of a million output tokens.")
    # Google Cloud's labelling of text: 0.11 USD a unit of 50 tokens (Wang et al. 2021, arXiv 2108.13487)
    annotation_thousand: float = Field(
        default=2.2,
        ge=0,
        description="What people would cost for 1,000 tokens of accepted text, shown for comparison. 0: not shown.",
    )
    currency: str = Field(default="USD", description="Currency of all prices.")


class Drift(Section):
    """When a date is reported as unlike the reference date, beyond what chance explains."""

    reference: date | None = Field(default=None, description="Reference date. Unset: the data set's oldest date.")
    max_psi: float = Field(
        default=0.2, gt=0, description="Largest population stability index of lengths and scores without an alarm."
    )
    max_keep_change: float = Field(
        default=0.1, gt=0, le=1, description="Largest absolute change of the share of rows that is kept."
    )
    max_diversity_loss: float = Field(
        default=0.1, gt=0, le=1, description="Largest relative loss of compression ratio and of distinct 3-grams."
    )
    fail: bool = Field(
        default=False, description="Alarms end the run with exit code 6. The date is published all the same."
    )


def bucket_url(value: str) -> str:
    """The URL, if it names a bucket. Raises ValueError."""
    if not re.match(r"^(s3|gs|gcs|az|abfs)://[^/?#]+(/[^?#]*)?$", value):
        raise ValueError(f"{value!r}: not a bucket; write s3://BUCKET/PREFIX, gs://… or az://…, without a query")
    return value


class Publish(Section):
    """Where finished dates are copied to, and which of them. The URL alone, `publish: s3://…`, copies all."""

    to: Annotated[str, AfterValidator(bucket_url)] = Field(description="s3://BUCKET/PREFIX, gs://… or az://….")
    min_rightness: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="A date is copied once it is audited (gristmill audit) and the lower end of the 95 % interval of "
        "its rate of right rows is at least so much. Unset: dates are copied unread.",
    )


def scheduler_address(value: str) -> str:
    """The address, if Dask can connect to it. Raises ValueError."""
    if not re.match(r"^(tcp|tls|ws|wss)://(\[[0-9a-fA-F:.]+\]|[^/:\s]+):[0-9]{1,5}$", value):
        raise ValueError(f"{value!r}: no address of a Dask scheduler; write tcp://HOST:8786, or tls://HOST:8786")
    return value


class Dask(Section):
    """A Dask cluster, for `runner: dask` (docs/many-machines.md)."""

    scheduler: Annotated[str, AfterValidator(scheduler_address)] = Field(
        description="Address of the scheduler: tcp://HOST:PORT, or tls://HOST:PORT."
    )
    generator_resource: str | None = Field(
        default=None,
        min_length=1,
        description="Worker resource that each shard of a stage with the generator takes one of, as in `dask worker "
        "--resources GENERATOR=2`. Unset: any worker.",
    )
    other_resource: str | None = Field(
        default=None, min_length=1, description="Worker resource of the other stages' shards. Unset: any worker."
    )
    wait_s: float = Field(
        default=60, ge=0, description="Seconds to wait at the start for workers that offer these resources."
    )


class Run(Section):
    """Workers, time limits and retries."""

    workers: int = Field(default=1, ge=1, description="Worker processes.")
    in_flight: int = Field(
        default=2,
        ge=1,
        description="Shards at once with one worker process; several workers, or those of a pool, take one each.",
    )
    runner: str = Field(default="FnApiRunner", description="`dask`, or the name of a Beam runner.")
    dask: Dask | None = Field(default=None, description="The cluster of `runner: dask`.")
    pool: str | None = Field(default=None, description="HOST:PORT of a Beam worker pool.")
    minutes: float | None = Field(
        default=None,
        gt=0,
        description="Minutes of generating and screening that a date takes, adapters not counted: as many passages are "
        "used as fit, per_day the most. Then the number of rows depends on the machine. Unset: all passages.",
    )
    attempts: int = Field(default=3, ge=1, description="How often a shard is tried before it is quarantined.")
    max_quarantined: float = Field(
        default=0.25, ge=0, le=1, description="Share of a stage's rows in quarantine above which the run fails."
    )
    min_keep: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="Least share of a domain's rows that must be accepted; below it, and without any row, exit code 7.",
    )
    stall_timeout_s: float = Field(
        default=1800,
        gt=0,
        description="If for so many seconds no row of any shard is finished and no piece of a file read, the driver is "
        "restarted.",
    )
    grace_s: float = Field(
        default=120, ge=0, description="Seconds that running shards have to finish after a signal or the deadline."
    )
    accelerator: str | None = Field(
        default=None, description="Beam resource hint of the stages that run the generator, for runners that read it."
    )

    @property
    def shards_at_once(self) -> int:
        """How many shards of a stage are worked on at the same time."""
        return self.workers if self.workers > 1 else self.in_flight

    @property
    def dask_cluster(self) -> Dask | None:
        """The cluster that runs the shards, if one does."""
        return self.dask if self.runner == "dask" else None

    @model_validator(mode="after")
    def _dask_has_an_address(self) -> "Run":
        if self.runner == "dask" and self.dask is None:
            raise ValueError("runner: dask needs the scheduler's address; set run.dask.scheduler to tcp://HOST:8786")
        return self


class Metrics(Section):
    """Where Prometheus finds a run's figures (docs/metrics.md); nowhere by default."""

    port: int | None = Field(
        default=None, ge=0, le=65_535, description="Port of /metrics while a run works. 0: a free one. Unset: none."
    )
    host: str = Field(default="127.0.0.1", description="Address to listen on.")
    textfile: Annotated[str, AfterValidator(os.path.expanduser)] | None = Field(
        default=None, description="Folder that node_exporter's textfile collector reads; a .prom file is written there."
    )

"""When, how fast and under whose eyes a run is made: none of it changes a row, so the fingerprint leaves it out."""

from datetime import date

from pydantic import Field

from configs.schema.section import Section


class Price(Section):
    machine_hour: float = Field(default=0.0, ge=0)  # of all machines of the run together
    prompt_million: float = Field(default=0.0, ge=0)  # a service's price per million tokens
    output_million: float = Field(default=0.0, ge=0)
    # people's, per 1,000 tokens of accepted text: Google Cloud's labelling of text, 0.11 USD a unit of 50 tokens
    # (Wang et al. 2021, arXiv 2108.13487); shown beside the run's cost, 0 leaves it out
    annotation_thousand: float = Field(default=2.2, ge=0)
    currency: str = "USD"


class Drift(Section):
    """When a date is unlike the reference date, beyond what chance explains (pipeline/report/drift.py)."""

    reference: date | None = None  # the data set's oldest date
    max_psi: float = Field(default=0.2, gt=0)  # population stability index of lengths and scores
    max_keep_change: float = Field(default=0.1, gt=0, le=1)  # of the keep rate, absolute
    max_diversity_loss: float = Field(default=0.1, gt=0, le=1)  # relative, of compression ratio and distinct 3-grams
    fail: bool = False  # alarms end the run with exit code 6; the date is published all the same


class Run(Section):
    workers: int = Field(default=1, ge=1)  # processes
    in_flight: int = Field(
        default=2, ge=1
    )  # shards at once in this process; each of several workers, or of a pool, takes one
    runner: str = "FnApiRunner"
    pool: str | None = None  # host:port of a Beam worker pool
    attempts: int = Field(default=3, ge=1)  # then a shard is quarantined
    max_quarantined: float = Field(default=0.25, ge=0, le=1)  # of a stage's rows; above it the run fails
    stall_timeout_s: float = Field(default=1800, gt=0)  # no shard committed for so long: the driver is started again
    grace_s: float = Field(default=120, ge=0)  # after a signal or the deadline: what shards at work have to finish
    accelerator: str | None = None  # resource hint of the stages that run the generator


class Metrics(Section):
    """Where Prometheus finds a run's figures (docs/metrics.md); nowhere by default."""

    port: int | None = Field(default=None, ge=0, le=65_535)  # /metrics while a run works; 0 takes a free one
    host: str = "127.0.0.1"
    textfile: str | None = None  # a folder that node_exporter's textfile collector reads

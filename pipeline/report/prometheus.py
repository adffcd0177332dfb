"""A run's metrics for Prometheus: an HTTP endpoint during the run, and a textfile for node_exporter that remains.

The supervisor computes them from committed files (`pipeline/report/counters.py`), so they are right with any number of
workers, after a resume and after a kill. No error here ends a run, except a port that is taken when the run starts.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from types import TracebackType
from typing import Any

from prometheus_client import CollectorRegistry, start_http_server, write_to_textfile
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from configs.errors import ConfigError, GristmillError, StoreError
from configs.schema import Config
from model.backends.vllm.gpus import Gpu, Nvml
from pipeline.report.counters import (
    COUNTERS,
    Counts,
    Finished,
    Ledger,
    RunFolder,
    StageState,
    add_counts,
    initial_counts,
)
from pipeline.report.evolution_metrics import EvolutionMetrics
from pipeline.store.dataset import DataSet
from stages.storage.lock import HeldError

MIN_READ_INTERVAL_S = 1.0  # between two reads of the run folder
MAX_READ_TIME_SHARE = 0.05  # of the supervisor's time; with many shards the run folder is read less often
WRITE_INTERVAL_S = 5.0  # between two textfiles
STATES = ("running", "done", "empty", "nothing", "deferred", "failed")
Samples = Iterable[tuple[tuple[str, ...], float]]  # label values and a value


class Metrics(Collector):
    """The metrics of one command: call it with the run folder while a date runs, and call `ended` after the date.

    Calls may be as frequent as you like. Use it as a context manager, which closes the endpoint. Raises ConfigError
    when the textfile's folder does not exist or the port is taken. The port is opened at the first call, because only
    then does this run have the data set's lock.
    """

    def __init__(self, config: Config, notify: Callable[[str], None]) -> None:
        self._config, self._options, self._notify = config, config.metrics, notify
        self._data = DataSet.open(config.out)
        self._evolution = EvolutionMetrics(self._data, config.name)
        self._textfile: Path | None = None
        if self._options.textfile is not None:
            folder = Path(self._options.textfile)
            if not folder.is_dir():
                raise ConfigError(
                    f"metrics.textfile: no such folder {folder}; name the folder that node_exporter reads"
                )
            self._textfile = folder / f"gristmill-{config.name}.prom"
        self._registry = CollectorRegistry()
        self._registry.register(self)
        self._metrics: list[Metric] = []  # what the endpoint serves; replaced as a whole, since its threads read it
        self._server: Any = None
        self._run: RunFolder | None = None
        self._state = ""
        self._past: dict[str, tuple[int, Finished]] = {}  # finished dates, with the inodes of their manifests
        self._other_dates: Counts | None = None  # the counts of all dates except the run's
        self._ledger: Ledger | None = None  # read once this run has the lock: nobody else writes it then
        self._next_read_at = self._written_at = float("-inf")  # by time.monotonic()
        self._ledger_changed = self._warned = False
        self._nvml: Nvml | None = None
        self._gpus: list[Gpu] = []

    def __enter__(self) -> "Metrics":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if isinstance(error, GristmillError):
            self.failed(error)
        elif error is None and not self._state:
            self.ended("nothing")
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()

    def collect(self) -> Iterator[Metric]:
        """The metrics of the last read; called by the endpoint's threads."""
        return iter(self._metrics)

    @property
    def port(self) -> int | None:
        """The port on which the endpoint listens, or None."""
        return self._server.server_port if self._server is not None else None

    def __call__(self, folder: Path) -> None:
        if self._run is None or self._run.folder != folder:
            self._run, self._other_dates, self._next_read_at = RunFolder(folder), None, float("-inf")
        if self._nvml is None:
            self._listen()
            self._nvml = Nvml()
            self._gpus = self._nvml.gpus()
        now = time.monotonic()
        if now < self._next_read_at:
            return
        self._state = "running"
        self._update(write=now - self._written_at >= WRITE_INTERVAL_S)
        self._next_read_at = now + max(MIN_READ_INTERVAL_S, (time.monotonic() - now) / MAX_READ_TIME_SHARE)

    def ended(self, status: str) -> None:
        """Reports how the date ended; `status` is the one of `pipeline.run.supervisor.RunResult`."""
        self._state = status
        self._update(write=True)

    def failed(self, error: GristmillError) -> None:
        """Reports a failed date, unless another run has the lock: that run writes the textfile then."""
        if isinstance(error, HeldError):
            self._state = "held"
        else:
            self.ended("failed")

    def _listen(self) -> None:
        port, host = self._options.port, self._options.host
        if port is None or self._server is not None:
            return
        try:
            self._server, _ = start_http_server(port, host, self._registry)
        except OSError as error:
            raise ConfigError(
                f"metrics.port: cannot listen on {host} port {port} ({error.strerror or error}); choose another"
            ) from None
        self._notify(f"metrics on http://{host}:{self.port}/metrics")

    def _update(self, *, write: bool) -> None:
        """Reads, and writes if asked to. The first error is printed; none ends the run."""
        try:
            self._read()
            if write:
                self._written_at = time.monotonic()
                self._write()
        except Exception as error:
            if not self._warned:
                self._warned = True
                self._notify(f"metrics: {type(error).__name__}: {error}; the run continues without them")

    def _write(self) -> None:
        if self._textfile is not None:
            write_to_textfile(str(self._textfile), self._registry)
        if self._ledger_changed and self._ledger is not None and self._run is not None:
            self._ledger.save()
            self._ledger_changed = False

    def _read(self) -> None:
        """Computes the metrics from the run folder, the manifests and the GPUs."""
        ledger = self._ledger = self._ledger or Ledger.open(self._data.root / "runs" / "metrics.json")
        stages = self._run.stages() if self._run else {}
        other_dates = self._other_dates = (
            self._other_dates if self._other_dates is not None else self._count_other_dates()
        )
        counts = add_counts(
            [other_dates, *(stage.counts for stage in stages.values())], initial_counts(self._config.domains)
        )
        self._ledger_changed = ledger.update(counts) or self._ledger_changed
        self._metrics = [
            *self._counter_metrics(ledger),
            *self._run_metrics(stages),
            *self._date_metrics(),
            *self._audit_metrics(),
            *self._evolution.collect(),
            *self._gpu_metrics(stages),
        ]

    def _count_other_dates(self) -> Counts:
        """The counts of all dates except the run's: finished ones, and what unfinished ones have committed."""
        own = self._run.folder.name if self._run else None
        self._finished()
        parts = [past.counts for date, (_, past) in self._past.items() if date != own]
        for date in {*self._data.started()} - {*self._past, own}:
            parts += [stage.counts for stage in RunFolder(self._data.run_folder(str(date))).stages().values()]
        return add_counts(parts, initial_counts(()))

    def _finished(self) -> dict[str, Finished]:
        """Finished dates, oldest first. A manifest is read once, and again after it was replaced."""
        known, self._past = self._past, {}
        for date in self._data.dates():
            try:
                inode = self._data.manifest_path(date).stat().st_ino
                past = known[date][1] if date in known and known[date][0] == inode else Finished.read(self._data, date)
            except (OSError, StoreError, KeyError):  # removed since, or damaged: `gristmill store verify` reports it
                continue
            if past is not None:
                self._past[date] = inode, past
        return {date: past for date, (_, past) in self._past.items()}

    def _counter_metrics(self, ledger: Ledger) -> Iterator[Metric]:
        name = self._config.name
        for metric, (text, labels) in COUNTERS.items():
            family = CounterMetricFamily(metric, text, labels=("config", *labels))
            for series, value in sorted(ledger.totals.items()):
                if series[0] == metric:
                    family.add_metric((name, *series[1:]), value)
            yield family

    def _run_metrics(self, stages: dict[str, StageState]) -> Iterator[Metric]:
        try:
            version = metadata.version("gristmill")
        except metadata.PackageNotFoundError:  # run from a checkout that is not installed
            version = "unknown"
        text = "Always 1; the label is the version."
        yield self._gauge("gristmill_build_info", text, ("version",), [((version,), 1)])
        yield self._gauge(
            "gristmill_run_state",
            "1 for the state of the last run: running, or how it ended.",
            ("state",),
            [((state,), float(state == self._state)) for state in STATES],
        )
        text = "When the run last updated its metrics."
        yield self._gauge("gristmill_heartbeat_timestamp_seconds", text, (), [((), time.time())])
        if self._run is None:
            return
        day = datetime.fromisoformat(self._run.folder.name).replace(tzinfo=UTC)
        text = "The date of the last run, as its first second in UTC."
        yield self._gauge("gristmill_run_date_timestamp_seconds", text, (), [((), day.timestamp())])
        if last := max((stage.last_commit for stage in stages.values()), default=0.0):
            text = "When the last run last committed a shard."
            yield self._gauge("gristmill_last_commit_timestamp_seconds", text, (), [((), last)])
        shards = [((name, state), count) for name, stage in stages.items() for state, count in stage.shards.items()]
        yield self._gauge("gristmill_shards", "Planned shards of the last run.", ("stage", "state"), shards)
        busy = [((name,), stage.busy_seconds) for name, stage in stages.items()]
        text = "Seconds in which at least one shard of the stage was running, in the last run."
        yield self._gauge("gristmill_stage_busy_seconds", text, ("stage",), busy)

    def _date_metrics(self) -> Iterator[Metric]:
        finished = self._finished()
        if not finished:
            return
        date, newest = list(finished.items())[-1]
        day = datetime.fromisoformat(date).replace(tzinfo=UTC).timestamp()
        last = max(past.published for past in finished.values())
        for name, text, value in (
            ("last_success_timestamp_seconds", "When a date was last published.", last),
            ("last_finished_date_timestamp_seconds", "The newest published date, as its first second in UTC.", day),
            ("drift_alarms", "Drift alarms of the newest published date.", newest.alarms),
        ):
            yield self._gauge(f"gristmill_{name}", text, (), [((), value)])

    def _audit_metrics(self) -> Iterator[Metric]:
        """Whether the newest date is audited, and the rates of the newest date that is."""
        finished = self._finished()
        if not finished:
            return
        audited = {date: past.audit for date, past in finished.items() if past.audit is not None}
        text = "1 if people read a sample of the newest published date, else 0."
        yield self._gauge("gristmill_audited", text, (), [((), float(list(finished)[-1] in audited))])
        if not audited:
            return
        date, audit = list(audited.items())[-1]
        day = datetime.fromisoformat(date).replace(tzinfo=UTC).timestamp()
        text = "The newest audited date, as its first second in UTC."
        yield self._gauge("gristmill_audit_date_timestamp_seconds", text, (), [((), day)])
        for name, text, value in (
            ("right_ratio", "Share of labelled accepted rows that are right.", lambda rate: rate.share),
            ("right_lower_ratio", "Lower end of the 95 % interval of that share.", lambda rate: rate.low),
            ("labelled_rows", "Accepted rows that people labelled.", lambda rate: rate.rows),
        ):
            samples = [((domain,), float(value(rate))) for domain, rate in audit.domains.items()]
            yield self._gauge(f"gristmill_audit_{name}", f"{text} Of the newest audited date.", ("domain",), samples)

    def _gpu_metrics(self, stages: dict[str, StageState]) -> Iterator[Metric]:
        load = self._nvml.load(self._gpus) if self._nvml and self._gpus else {}
        memory = {gpu.device: gpu.memory for gpu in self._gpus}
        for name, text, values in (
            (
                "utilization_ratio",
                "Share of the last second in which a kernel ran.",
                [(d, u) for d, (u, _) in load.items()],
            ),
            ("memory_used_bytes", "Memory in use by all processes.", [(d, used) for d, (_, used) in load.items()]),
            ("memory_size_bytes", "Total memory.", list(memory.items())),
        ):
            if values:
                samples = [((device,), float(value)) for device, value in values]
                yield self._gauge(f"gristmill_gpu_{name}", f"{text} GPUs of this host.", ("gpu",), samples)
        newest: dict[str, tuple[float, float]] = {}
        for engine, sample in (pair for stage in stages.values() for pair in stage.fragmentation.items()):
            newest[engine] = max(newest.get(engine, sample), sample)
        if newest:
            fragments = [((engine,), share) for engine, (_, share) in sorted(newest.items())]
            text = "1 - allocated / reserved of PyTorch's allocator, of the engine's newest shard."
            yield self._gauge("gristmill_gpu_memory_fragmentation_ratio", text, ("engine",), fragments)

    def _gauge(self, name: str, text: str, labels: tuple[str, ...], samples: Samples) -> Metric:
        family = GaugeMetricFamily(name, text, labels=("config", *labels))
        for values, value in samples:
            family.add_metric((self._config.name, *values), value)
        return family

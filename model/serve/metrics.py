"""`ServeMetrics`: a server's metrics for Prometheus. docs/metrics.md lists them; none of them holds text.

The application reports requests to it; what the engine does is asked of the engine when Prometheus scrapes.
"""

import contextlib
import itertools
import math
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from importlib import metadata
from typing import Protocol

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from model.serve.port import Engine

# Seconds. A GPU answers in milliseconds, a laptop under load in seconds.
FIRST_TOKEN_BUCKETS = (0.005, 0.01, 0.02, 0.04, 0.06, 0.1, 0.15, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80)
INTER_TOKEN_BUCKETS = (0.001, 0.0025, 0.005, 0.0075, 0.01, 0.015, 0.025, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1, 2.5)
REQUEST_BUCKETS = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160, 320, 640)


class Queue(Protocol):
    """The queue before the engine."""

    @property
    def waiting(self) -> int:
        """Requests that wait for a place."""
        ...


class ServeMetrics:
    """The metrics of one server, in a registry of their own. Durations are in seconds.

    Args:
        engine: whose figures are shown.
        queue: whose requests are counted as waiting besides those that wait in the engine.
    """

    def __init__(self, engine: Engine, queue: Queue | None = None) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "gristmill_serve_requests_total",
            "Requests that have ended, by HTTP status; 499: the client left before there was an answer.",
            ("route", "client", "code"),
            registry=self._registry,
        )
        self._in_progress = Gauge(
            "gristmill_serve_requests_in_progress", "Requests that have not ended.", registry=self._registry
        )
        self._duration = Histogram(
            "gristmill_serve_request_duration_seconds",
            "From a request's arrival to the end of its answer.",
            ("route",),
            buckets=REQUEST_BUCKETS,
            registry=self._registry,
        )
        self._first_token = Histogram(
            "gristmill_serve_time_to_first_token_seconds",
            "From a request's arrival to the first token of an answer, waiting included.",
            buckets=FIRST_TOKEN_BUCKETS,
            registry=self._registry,
        )
        self._inter_token = _TokenHistogram(
            "gristmill_serve_inter_token_latency_seconds", "Between two tokens of an answer.", INTER_TOKEN_BUCKETS
        )
        self._registry.register(self._inter_token)
        self._tokens = Counter(
            "gristmill_serve_client_tokens_total",
            "Tokens of requests that have ended, read (prompt) and written (output).",
            ("client", "kind"),
            registry=self._registry,
        )
        self._aborted = Counter(
            "gristmill_serve_requests_aborted_total",
            "Requests whose generation was ended early.",
            ("reason",),
            registry=self._registry,
        )
        self._blocked = Counter(
            "gristmill_serve_requests_blocked_total",
            "Prompts and answers that a policy forbade, by the class of what was found.",
            ("category",),
            registry=self._registry,
        )
        self._blocked.labels("error")  # from 0 on, so that the first one is an increase: an alert is about it
        self._registry.register(_EngineCollector(engine, queue))

    def started(self, route: str, client: str) -> None:
        """A request has arrived. `route` is one that the server has, never a path that a client made up."""
        self._in_progress.inc()

    def first_token(self, seconds: float) -> None:
        """The first token of an answer was generated, so long after the request arrived."""
        self._first_token.observe(seconds)

    def token(self, seconds: float, count: int) -> None:
        """`count` further tokens of an answer were generated, `seconds` after one another."""
        self._inter_token.observe(seconds, count)

    def finished(
        self, route: str, client: str, status: int, seconds: float, prompt_tokens: int, generated_tokens: int
    ) -> None:
        """A request has ended, `seconds` after it arrived. Each that has started must end once."""
        self._in_progress.dec()
        self._requests.labels(route, client, str(status)).inc()
        self._duration.labels(route).observe(seconds)
        if prompt_tokens or generated_tokens:
            self._tokens.labels(client, "prompt").inc(prompt_tokens)
            self._tokens.labels(client, "output").inc(generated_tokens)

    def aborted(self, reason: str) -> None:
        """A request's generation was ended early, for example because the client left. `reason` is one of few."""
        self._aborted.labels(reason).inc()

    def blocked(self, category: str) -> None:
        """A policy forbade a prompt or an answer; `category` is the class of what was found."""
        self._blocked.labels(category).inc()

    def render(self) -> tuple[bytes, str]:
        """Returns the metrics in Prometheus' text format, and the content type."""
        return generate_latest(self), CONTENT_TYPE_LATEST

    def collect(self) -> Iterator[Metric]:
        """Returns the metrics, without the series `…_created`, which would be a third of them."""
        for metric in self._registry.collect():
            metric.samples = [sample for sample in metric.samples if not sample.name.endswith("_created")]
            yield metric


class _TokenHistogram(Collector):
    """A histogram for what happens at every token: without locks, for one thread; it takes several values at once.

    Args:
        name: of the metric.
        text: what it is.
        bounds: upper ones of its buckets, rising.
    """

    def __init__(self, name: str, text: str, bounds: Sequence[float]) -> None:
        self._name, self._text, self._bounds = name, text, (*bounds, math.inf)
        self._counts, self._sum = [0] * len(self._bounds), 0.0

    def observe(self, value: float, count: int) -> None:
        """Counts a value so often."""
        self._counts[bisect_left(self._bounds, value)] += count
        self._sum += value * count

    def collect(self) -> Iterator[Metric]:
        counts = zip(map(floatToGoString, self._bounds), itertools.accumulate(self._counts), strict=True)
        yield HistogramMetricFamily(self._name, self._text, list(counts), self._sum)


class _EngineCollector(Collector):
    """What the engine and the queue do at the moment of a scrape."""

    def __init__(self, engine: Engine, queue: Queue | None) -> None:
        self._engine, self._queue = engine, queue
        self._version = "unknown"  # of a source tree that is not installed
        with contextlib.suppress(metadata.PackageNotFoundError):
            self._version = metadata.version("gristmill")

    def describe(self) -> list[Metric]:
        """Nothing: registering must not ask an engine that has not started."""
        return []

    def collect(self) -> Iterator[Metric]:
        info, stats = self._engine.info, self._engine.stats()
        yield _gauge("engine_info", "1.", {"engine": info.name, "version": self._version}, 1)
        yield _gauge("engine_up", "1 while the engine is alive, else 0.", {}, float(stats.is_alive))
        yield _gauge("engine_slots", "Requests that the engine runs at once.", {}, info.slots)
        yield _gauge("requests_running", "Requests that the engine runs.", {}, stats.running)
        waiting = stats.waiting + (self._queue.waiting if self._queue else 0)
        yield _gauge("requests_waiting", "Requests that wait for a place.", {}, waiting)
        yield _gauge("kv_cache_usage_ratio", "Share of the KV cache that is in use.", {}, stats.kv_cache_usage)
        yield _gauge(
            "seconds_since_step",
            "Since the engine last finished a step; 0 where nothing runs.",
            {},
            stats.seconds_since_step or 0.0,
        )
        tokens = {"prompt": stats.prompt_tokens, "output": stats.generated_tokens}
        yield _counter("tokens", "Tokens of the engine, read (prompt) and written (output).", "kind", tokens)
        steps = {"sparse": stats.sparse_steps, "dense": stats.dense_steps}
        yield _counter("steps", "Steps of the engine, with sparse or with dense attention.", "attention", steps)
        restarts = CounterMetricFamily(
            "gristmill_serve_engine_restarts",
            "Starts of the engine after it failed.",
        )
        restarts.add_metric((), stats.restarts)
        yield restarts


def _gauge(name: str, text: str, labels: dict[str, str], value: float) -> Metric:
    family = GaugeMetricFamily(f"gristmill_serve_{name}", text, labels=tuple(labels))
    family.add_metric(tuple(labels.values()), value)
    return family


def _counter(name: str, text: str, label: str, values: dict[str, int]) -> Metric:
    family = CounterMetricFamily(f"gristmill_serve_{name}", text, labels=(label,))
    for key, value in values.items():
        family.add_metric((key,), value)
    return family

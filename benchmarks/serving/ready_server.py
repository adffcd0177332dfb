"""A server of this project whose model has its tokens ready; `path` measures it. Not for use by itself.

    python ready_server.py embedded|vllm PORT STREAMS LENGTH STEP_MS

It uses the packages of the checkout that PYTHONPATH names, and only what all versions of them have.
"""

import asyncio
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import ready_vllm  # beside this file
import torch
from tokenizers import Tokenizer as Words
from tokenizers import decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from model.serve.access import Admission
from model.serve.api.server import ApiServer
from model.serve.api.serving import Serving
from model.serve.api.text.tokenizer import Tokenizer
from model.serve.embedded import engine as embedded
from model.serve.listening import listen
from model.serve.metrics import ServeMetrics
from model.serve.vllm_child.engine import VllmChildEngine
from model.serve.vllm_child.options import VllmChildOptions

VOCABULARY = 512


class ReadySlots:
    """A `SlotModel` whose logits are always the same; a step takes `step_s` seconds, in which it lets others run."""

    dense_below = None
    end_tokens = frozenset({1})
    vocab_size = VOCABULARY

    def __init__(self, slots: int, max_length: int, step_s: float) -> None:
        self.slots, self.max_length, self._step_s = slots, max_length, step_s
        self._next_step = time.perf_counter()
        self._logits_BV = torch.zeros(slots, VOCABULARY)
        self._logits_BV[torch.arange(slots), torch.arange(slots) % 400 + 100] = 1.0

    def prefill(self, first_slot: int, chunks: Any, *_: Any, **__: Any) -> torch.Tensor:
        return self._logits_BV[: len(chunks)]

    def decode(self, tokens: Any, positions: Any, adapters: Any) -> torch.Tensor:
        self._next_step = max(self._next_step + self._step_s, time.perf_counter())
        time.sleep(max(0.0, self._next_step - time.perf_counter()))
        return self._logits_BV[: len(tokens)]

    def wait(self) -> None:
        pass


def tokenizer() -> Tokenizer:
    """One word a token."""
    words = Words(models.WordLevel({f"w{number}": number for number in range(VOCABULARY)}, unk_token="w0"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    words.decoder = decoders.Fuse()
    return Tokenizer(PreTrainedTokenizerFast(tokenizer_object=words, unk_token="w0", eos_token="w1"))


def create_engine(kind: str, streams: int, length: int, step_ms: float, folder: Path) -> Any:
    """The engine: the embedded one over `ReadySlots`, or the supervised child with `ready_vllm` in place of vLLM."""
    if kind == "embedded":
        embedded.load_slots = lambda *_: ReadySlots(streams, length, step_ms / 1000)  # type: ignore[assignment]
        return embedded.EmbeddedEngine(folder, embedded.EmbeddedOptions(threads=1))
    ready_vllm.install(folder / "packages", Path(__file__).parent)
    os.environ[ready_vllm.TOKEN_MS] = str(step_ms)
    os.environ["PYTHONPATH"] = os.pathsep.join([str(folder / "packages"), os.environ["PYTHONPATH"]])
    (folder / "config.json").write_text(json.dumps({"vocab_size": VOCABULARY, "max_position_embeddings": length}))
    return VllmChildEngine(folder, VllmChildOptions(max_model_len=length, max_num_seqs=streams, max_adapters=0))


async def serve(kind: str, port: int, streams: int, length: int, *, step_ms: float) -> None:
    """Serves until SIGTERM; prints `ready` first."""
    with tempfile.TemporaryDirectory() as folder:
        engine = create_engine(kind, streams, length, step_ms, Path(folder))
        await engine.start()
        admission = Admission(streams, streams)
        serving = Serving(engine, tokenizer(), "m", admission=admission, metrics=ServeMetrics(engine, admission))
        with listen("127.0.0.1", port) as listener:
            print("ready", flush=True)
            await ApiServer(serving, 0.0).serve([listener])


if __name__ == "__main__":
    kind, *numbers = sys.argv[1:]
    asyncio.run(serve(kind, *(int(number) for number in numbers[:3]), step_ms=float(numbers[3])))

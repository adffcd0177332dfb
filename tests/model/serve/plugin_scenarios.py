"""What tests of the vLLM plugin do in a process of their own: `python plugin_scenarios.py FOLDER NAMES`.

FOLDER is from `write_models`. The last line printed is JSON. Scenarios share a process, since importing vLLM takes 20 s
of CPU time.
"""

import gc
import json
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

NEW_TOKENS = 24
CAPTURED_TOKENS = (24, 21, 18, 24, 15, 12, 24)  # of the answers of `captured`
LENGTHS = (130, 70, 5, 260, 33, 16, 300)  # of prompts: within a block, at its end, above dense_below, with a tree
SIZES: dict[str, Any] = {
    "vocab_size": 256,
    "hidden_size": 128,  # heads of 32, the fewest that the CPU build attends densely
    "intermediate_size": 128,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 1024,
    "rope_theta": 10_000.0,
    "initializer_range": 0.3,  # so that texts do not repeat one token
    "eos_token_id": 0,
}
GEOMETRY = {"block": 16, "top": 4, "fanout": 2, "roots": 8, "beam": 4, "gate_dim": 16}
SEES_ALL = {"top": 33, "beam": 16, "roots": 64}  # the same weights, but every token sees all before it


def prompts() -> list[list[int]]:
    import torch

    draw = torch.Generator().manual_seed(1)
    return [torch.randint(1, SIZES["vocab_size"], (length,), generator=draw).tolist() for length in LENGTHS]


def write_models(folder: Path) -> dict[str, list[list[int]]]:
    """Writes a sparse and a dense model and an adapter of the first. Returns what transformers generates with each."""
    import torch
    from peft import LoraConfig, get_peft_model
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    from model.lm import DsaConfig, DsaForCausalLM

    torch.manual_seed(0)
    words = Tokenizer(models.WordLevel({f"w{number}": number for number in range(SIZES["vocab_size"])}, "w0"))
    words.pre_tokenizer, words.decoder = pre_tokenizers.Whitespace(), decoders.WordPiece(prefix="##", cleanup=False)
    answers = {}
    for name, options in (("sparse", GEOMETRY), ("dense", {"attention": "dense"})):
        network = DsaForCausalLM(DsaConfig(**SIZES, **options)).eval()
        network.save_pretrained(folder / name)
        PreTrainedTokenizerFast(tokenizer_object=words, eos_token="w0").save_pretrained(folder / name)
        answers[name] = [generate(network, prompt) for prompt in prompts()]
        if name == "sparse":
            lora = LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False)
            adapted: Any = get_peft_model(network, lora)
            adapted.save_pretrained(folder / "adapter")
            answers["adapter"] = [generate(adapted.eval(), prompt) for prompt in prompts()]
    return answers


def generate(network: Any, prompt: list[int]) -> list[int]:
    import torch

    ids = torch.tensor([prompt])
    lengths = {"max_new_tokens": NEW_TOKENS, "min_new_tokens": NEW_TOKENS}
    output = network.generate(input_ids=ids, do_sample=False, pad_token_id=0, bad_words_ids=[[0]], **lengths)
    return output[0, len(prompt) :].tolist()


def start(folder: Path, **options: Any) -> Any:
    import torch
    from vllm import LLM

    defaults = {"dtype": "float32", "max_model_len": 512, "enforce_eager": True, "max_num_batched_tokens": 2048}
    if torch.cuda.is_available():
        defaults["gpu_memory_utilization"] = 0.25  # others may use the GPU too
    return LLM(str(folder), skip_tokenizer_init=True, **defaults | options)


def tokens(llm: Any, adapter: Path | None = None, counts: Sequence[int] | None = None) -> list[list[int]]:
    """The answers. `counts`: tokens of each, if not all have NEW_TOKENS."""
    from vllm import SamplingParams
    from vllm.lora.request import LoRARequest

    common = {"temperature": 0, "ignore_eos": True, "detokenize": False, "logit_bias": {0: -100}}
    sampling = [SamplingParams(max_tokens=count, **common) for count in counts or [NEW_TOKENS] * len(LENGTHS)]
    lora = LoRARequest("adapter", 1, str(adapter)) if adapter else None
    outputs = llm.generate([{"prompt_token_ids": prompt} for prompt in prompts()], sampling, lora_request=lora)
    return [list(output.outputs[0].token_ids) for output in outputs]


def ragged(folder: Path) -> dict[str, Any]:
    """Prompts in pieces, fewer pages than the texts need together, and the same again from the prefix cache."""
    llm = start(folder / "sparse", max_num_batched_tokens=48, num_gpu_blocks_override=34, max_num_seqs=7)
    preempted = count_preempted(llm)
    first, again = tokens(llm), tokens(llm)
    return {"first": first, "again": again, "preempted": len(preempted)}


def count_preempted(llm: Any) -> list[str]:
    """A list that gets the id of each request that is pre-empted from now on."""
    scheduler = llm.llm_engine.engine_core.engine_core.scheduler
    preempt, preempted = scheduler._preempt_request, []

    def counted(request: Any, *arguments: Any, **named: Any) -> Any:
        preempted.append(request.request_id)
        return preempt(request, *arguments, **named)

    scheduler._preempt_request = counted
    return preempted


def captured(folder: Path) -> dict[str, Any]:
    """As `ragged`, but decode steps are CUDA graphs, and texts end one after the other, so that all sizes are used."""
    from vllm.forward_context import get_forward_context

    from model.serve.vllm_plugin.attention import SparseAttention

    llm = start(
        folder / "sparse",
        enforce_eager=False,
        compilation_config={"cudagraph_capture_sizes": [1, 2, 4, 8]},
        max_num_batched_tokens=48,
        num_gpu_blocks_override=34,
        max_num_seqs=8,
    )
    layer: Any = SparseAttention
    preempted, forward = count_preempted(llm), layer.forward
    calls = {"decoding alone": 0, "with prompts": 0}  # a graph that is replayed calls nothing

    def counted(self: Any, *arguments: Any) -> Any:
        step = get_forward_context().attn_metadata[self.layer_name]
        calls["with prompts" if step.prefills else "decoding alone"] += 1
        return forward(self, *arguments)

    layer.forward = counted
    found = {name: tokens(llm, counts=CAPTURED_TOKENS) for name in ("first", "again")}
    return found | {"preempted": len(preempted), "calls": calls}


def whole(folder: Path) -> dict[str, Any]:
    """Prompts in one piece, without and with an adapter. On a GPU an adapter in float32 is refused."""
    import torch

    if torch.cuda.is_available():
        error_text = error(folder / "sparse", {"enable_lora": True, "max_lora_rank": 8})
        return {"base": tokens(start(folder / "sparse")), "error": error_text}
    llm = start(folder / "sparse", enable_lora=True, max_lora_rank=8, max_loras=1)
    return {"base": tokens(llm), "adapter": tokens(llm, folder / "adapter")}


def dense(folder: Path) -> dict[str, Any]:
    """A model without a gate, and the sparse one with a geometry in which every token sees all before it."""
    return {
        "dense": tokens(start(folder / "dense")),
        "sees all": tokens(start(folder / "sparse", hf_overrides=SEES_ALL)),
    }


def parallel(folder: Path) -> dict[str, Any]:
    """The heads divided over two GPUs; prompts in pieces."""
    return {"first": tokens(start(folder / "sparse", tensor_parallel_size=2, max_num_batched_tokens=48))}


def refused(folder: Path) -> dict[str, str]:
    """The errors of options that the model cannot be combined with, and of checkpoints that do not fit."""
    from safetensors.torch import load_file, save_file

    errors, sparse = {}, folder / "sparse"
    cases: dict[str, dict[str, Any]] = {
        "speculative_config": {"speculative_config": {"method": "ngram", "num_speculative_tokens": 2}},
        "pipeline_parallel_size": {"pipeline_parallel_size": 2},
        "tensor_parallel_size": {"tensor_parallel_size": 4},
        "quantization": {"quantization": "fp8"},
        "kv_cache_dtype": {"kv_cache_dtype": "fp8"},
        "block_size": {"block_size": 32},
        "another attention": {"hf_overrides": {"attention": "dense"}},
        "another size": {"hf_overrides": {"intermediate_size": 64}},
    }
    for name, options in cases.items():
        errors[name] = error(sparse, options)
    weights = load_file(sparse / "model.safetensors")
    del weights["layers.1.attention.k_proj.weight"]
    (folder / "cut").mkdir(exist_ok=True)
    (folder / "cut" / "config.json").write_bytes((sparse / "config.json").read_bytes())
    save_file(weights, folder / "cut" / "model.safetensors", {"format": "pt"})
    errors["missing"] = error(folder / "cut", {})
    return errors


def error(folder: Path, options: dict[str, Any]) -> str:
    try:
        start(folder, **options)
    except Exception as problem:
        return f"{type(problem).__name__}: {problem}"
    return ""


def unknown(folder: Path) -> dict[str, str]:
    """Without the plugin: the errors, with and without the trust that vLLM asks for."""
    trust = {"trust_remote_code": True}
    cases = {"plain": {}, "trust": trust, "transformers": trust | {"model_impl": "transformers"}}
    return {name: error(folder / "sparse", options) for name, options in cases.items()}


def version(folder: Path) -> dict[str, str]:
    """Which vLLM this is, and where."""
    import vllm

    return {"version": vllm.__version__, "folder": vllm.__path__[0]}


SCENARIOS = {
    scenario.__name__: scenario for scenario in (ragged, captured, whole, dense, parallel, refused, unknown, version)
}


def main(folder: Path, names: Sequence[str]) -> None:
    """Prints what each scenario gives; of one that fails, the traceback as `failure`."""
    found: dict[str, dict[str, Any]] = {}
    for name in names:
        try:
            found[name] = SCENARIOS[name](folder)
        except Exception:
            found[name] = {"failure": traceback.format_exc()}
        gc.collect()  # the engine
    print(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])

"""The generate stage through Beam against the bare fleet: the same engines, up before both, on the same prompts.

    python benchmarks/pipeline.py --shape smollm2-135m --engines 4 --sequences 512 --prompts 32768
    python benchmarks/pipeline.py --cpu                                          a few minutes on vLLM's CPU build

Adds rows to benchmarks/results/throughput.json. Bare: one call with all prompts. Beam: shards of `--shard-rows`,
`--in-flight` at once, as configs/presets/gpu.yaml has them; seeds read, prompts rendered, answers parsed, Parquet
written.
Random weights never end an answer: each row's length is drawn by its seed, evenly from an eighth of `--tokens` up,
the same in both.
"""

import argparse
import json
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.engine import redactor_of
from benchmarks.figures import Figures, processor
from benchmarks.throughput import DummyEngine, subject_of
from configs import schema
from configs.load import load
from model.backends.vllm.backend import ENGINE, VllmGenerator
from stages.execute import RunShard
from stages.generate import Generate
from stages.ports import Request
from stages.record import CANDIDATE, SEED, Seed
from stages.storage.records import FileRef, ShardRecord
from stages.storage.shard import ShardSpec
from stages.storage.writer import ShardWriter


class DrawnEngine(DummyEngine):
    """Answers of unlike lengths, as a real model's are; a row's hangs on its seed alone."""

    def sampling(self, request: Request) -> Any:
        params = super().sampling(request)
        params.max_tokens = random.Random(request.seed).randint(params.max_tokens // 8, params.max_tokens)
        return params


def main() -> int:
    import apache_beam
    from apache_beam.options.pipeline_options import PipelineOptions
    from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner

    options = _options()
    task = {"sampling": {"temperature": 0.8, "top_p": 0.95, "top_k": 0, "max_tokens": options.tokens}}
    sets = ["domains.law.tasks=[explain]", "domains.medicine.tasks=[explain]"]
    base = load("gpu", [*sets, "generate.max_attempts=1", "generate.samples=1"])
    explain = schema.Task.model_validate(base.tasks["explain"].model_dump() | task)
    more = {"mps": options.mps, "kv_cache_dtype": options.kv, "max_num_batched_tokens": options.batched}
    more |= {"refill": options.refill, "decode_kernel": not options.no_decode_kernel}
    vllm = schema.VllmOptions(engines_per_gpu=options.engines, max_num_seqs=options.sequences, **more)
    vllm = vllm.model_copy(update={"max_lora_rank": 0})
    generator_config = schema.Generator(backend="vllm", model=options.shape, max_model_len=1024, vllm=vllm)
    config = base.model_copy(update={"generator": generator_config, "tasks": {"explain": explain}})
    with tempfile.TemporaryDirectory() as scratch:
        subject = subject_of(options)
        engine = ENGINE if subject.engine == ENGINE else "benchmarks.pipeline:DrawnEngine"
        generator = VllmGenerator(generator_config, subject.card, 0, engine)
        while len(generator.fleet.queue.engines_up) < len(generator.fleet.specs):
            time.sleep(0.1)
        RUNNING.append(generator)
        body = Generate(config, subject.card, running, redactor_of(config))
        seeds = _seeds(scratch, subject.prompts[options.prompt_tokens[0]], options.prompts)
        called = options.sequences if options.beam_only else options.prompts
        payload = json.dumps({"slices": [[seeds, 0, called]]})
        requests = body.first_requests(ShardSpec(scratch, "generate", 0, 1, "x", called, payload, "law"))
        generator.generate(requests[: options.sequences])  # kernels and caches are warm
        seconds, bare = (0.0, []) if options.beam_only else _timed(lambda: generator.generate(requests))
        tokens = sum(row.output_tokens for row in bare)
        edges = range(0, options.prompts, options.shard_rows)
        parts = [[[seeds, at, min(at + options.shard_rows, options.prompts)]] for at in edges]
        specs = [
            ShardSpec(
                scratch,
                "generate",
                place,
                len(parts),
                "x",
                part[0][2] - part[0][1],
                json.dumps({"slices": part, "adapter": None, "depth": 1}),
                "law",
            )
            for place, part in enumerate(parts)
        ]

        def beam() -> None:
            flags = [f"--direct_num_workers={options.in_flight}", "--direct_running_mode=multi_threading"]
            pipeline = apache_beam.Pipeline(runner=FnApiRunner(), options=PipelineOptions(flags))
            _ = pipeline | apache_beam.Create(specs) | apache_beam.ParDo(RunShard(body, CANDIDATE, 1))
            pipeline.run().wait_until_finish()

        before = _spent(generator)
        through, _ = _timed(beam)
        generating, waiting = (after - then for after, then in zip(_spent(generator), before, strict=True))
        records = [ShardRecord.read(spec.record_path) for spec in specs]
        assert all(record.error is None for record in records)
        output_tokens = sum(record.stats.output_tokens for record in records)
        figures = Figures("throughput", "python " + " ".join(sys.argv), processor(), options.commit)
        names = ", ".join(gpu.name for gpu in generator.gpus) or "no GPU"
        figures.machine = f"{processor()}; {names}"
        engines = f"{len(generator.fleet.specs)} engines{' with MPS' * options.mps} on {len(generator.gpus)} GPUs"
        what = f"{subject.name}, {engines}, {options.sequences} sequences, {options.kv} KV"
        what += f", refill {generator.fleet.options.refill:g}" * bool(generator.fleet.options.refill)
        what += ", vLLM's attention" * options.no_decode_kernel
        figures.put(f"{what}, {options.prompts} prompts through Beam: output tokens/s", output_tokens / through)
        figures.put(f"{what}, {options.prompts} prompts through Beam: s", through, better="lower")
        if bare:
            figures.put(f"{what}, {options.prompts} prompts in one call: output tokens/s", tokens / seconds)
            figures.put(
                f"{what}, {options.prompts} prompts: Beam / bare", output_tokens / through / (tokens / seconds), 0.95
            )
        share = 100 * waiting / (generating + waiting)
        figures.put(f"{what}, {options.prompts} prompts through Beam: engines waiting %", share, 3.0, "lower")
        generator.close()
    return 0


RUNNING: list[VllmGenerator] = []


def running() -> VllmGenerator:
    """The generator that is up: Beam pickles what opens it, never the generator."""
    return RUNNING[0]


def _spent(generator: VllmGenerator) -> tuple[float, float]:
    """Seconds of all engines so far, generating and waiting; as of their last beat, a second ago at most."""
    engines = generator.fleet.figures()
    return sum(engine.generating for engine in engines), sum(engine.waiting for engine in engines)


def _timed(work: Any) -> tuple[float, Any]:
    began = time.perf_counter()
    result = work()
    return time.perf_counter() - began, result


def _seeds(folder: str, passages: list[str], count: int) -> FileRef:
    """A committed seeds file: the passages in turn, each with a number, so that all differ."""
    out = ShardWriter(ShardSpec(folder, "seeds", 0, 1, "x", count, ""), SEED)
    rows = []
    for number in range(count):
        text = f"Passage {number}. {passages[number % len(passages)]}"
        about = {"title": "", "source": "pages", "location": str(number), "licence": "Apache-2.0"}
        rows.append(Seed.create(text, **about, language="en", domain="law"))
    out.keep_rows(rows)
    out.rows_in = count
    kept = out.commit().kept
    assert kept is not None
    return kept


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", default="smollm2-135m")
    parser.add_argument("--tokenizer", default="smollm2-135m-instruct")
    parser.add_argument("--engines", type=int, default=4, help="a GPU")
    parser.add_argument("--sequences", type=int, default=512, help="at once, of one engine")
    parser.add_argument("--prompts", type=int, default=32_768)
    parser.add_argument("--batched", type=int, help="tokens a step")
    parser.add_argument("--shard-rows", type=int, default=2048)
    parser.add_argument("--in-flight", type=int, default=4)
    parser.add_argument("--mps", action="store_true")
    parser.add_argument("--kv", default="auto")
    parser.add_argument("--refill", type=float, help="share of the sequences; as a run has it where left out")
    parser.add_argument("--no-decode-kernel", action="store_true", help="vLLM's attention for sequences that write")
    parser.add_argument("--tokens", type=int, default=256, help="new tokens at most")
    parser.add_argument("--prompt-tokens", nargs=1, type=int, default=[250])
    parser.add_argument("--commit", default="", help="where there is no git")
    parser.add_argument("--beam-only", action="store_true", help="no call of the bare fleet")
    parser.add_argument("--cpu", action="store_true", help="a small form for vLLM's CPU build")
    options = parser.parse_args()
    options.profile = False
    if options.cpu:
        options.engines, options.sequences, options.prompts, options.tokens = 1, 8, 32, 8
        options.shard_rows, options.in_flight, options.prompt_tokens = 8, 2, [60]
    return options


if __name__ == "__main__":
    from benchmarks import pipeline  # under its own name, which Beam's pickles find

    sys.exit(pipeline.main())

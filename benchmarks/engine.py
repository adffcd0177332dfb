"""The data engine against baselines of the same run: `make bench`. Ratios, so that a loaded machine hurts less.

    python benchmarks/engine.py [NAME…]     beam writer screens memory vllm; all that can run here if left out

Writes benchmarks/results/engine.json; rows of benchmarks that did not run this time are kept.
"""

import dataclasses
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.figures import Figures, processor

ROOT = Path(__file__).parent.parent
Row = tuple[str, float, float | None, str]  # name, value, target, which way is better


def redactor_of(config: Any) -> Callable[[str, str], str]:
    """What a run masks the generate stage's rejects by."""
    from filters.build import redact

    return partial(redact, config.screen.filters)


def beam() -> Iterator[Row]:
    """Wall time of the bare engine over that of the generate stage on the same prompts, loading included in both."""
    import apache_beam
    from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner

    from configs.load import load
    from model.backends import identify, open_generator
    from stages.execute import RunShard
    from stages.generate import Generate
    from stages.record import CANDIDATE
    from stages.storage.records import FileRef, ShardRecord
    from stages.storage.shard import ShardSpec

    config = load("laptop", ["domains.law.tasks=[explain]", "generate.max_attempts=1"])
    card, threads = identify(config.generator), len(os.sched_getaffinity(0))
    opener = partial(open_generator, config.generator, card, threads)
    with tempfile.TemporaryDirectory() as folder:
        seeds = _seeds(folder, config, 128)
        ratios = []
        for attempt in range(3):
            body = Generate(
                config, card, opener, redactor_of(config)
            )  # anew: Beam keeps the engine that an earlier body loaded
            bare = _seconds(partial(_bare, body, opener, folder, seeds))
            slices = [[[seeds, place * 64, place * 64 + 64]] for place in range(2)]
            payloads = [json.dumps({"slices": part, "adapter": None, "depth": 1}) for part in slices]
            specs = [
                ShardSpec(folder, f"s{attempt}", place, 2, "x", 64, payload, "law")
                for place, payload in enumerate(payloads)
            ]

            def through(specs: list[ShardSpec] = specs, body: Generate = body) -> None:
                pipeline = apache_beam.Pipeline(runner=FnApiRunner())
                _ = pipeline | apache_beam.Create(specs) | apache_beam.ParDo(RunShard(body, CANDIDATE, 1))
                pipeline.run().wait_until_finish()
                assert all(ShardRecord.read(spec.record_path).error is None for spec in specs)

            ratios.append(bare / _seconds(through))
            print(f"beam: bare {bare:.1f} s, ratio {ratios[-1]:.3f}", flush=True)
        assert isinstance(seeds, FileRef)
    yield "engine time / generate stage time, 128 prompts, transformers", sorted(ratios)[1], 0.95, "higher"


def _bare(body: Any, opener: Callable[[], Any], folder: str, seeds: Any) -> None:
    generator = opener()
    for place in range(2):
        works = [body._work("law", seed) for seed in body._seeds(folder, [[seeds, place * 64, place * 64 + 64]])]
        generator.generate([body._request(work, 0, None) for work in works])
    generator.close()


def _seeds(folder: str, config: Any, count: int) -> Any:
    from itertools import islice

    from configs.schema import Passages, Source
    from stages.record import SEED, Seed
    from stages.sources.seed_source import read_seeds, source_listing
    from stages.storage.shard import ShardSpec
    from stages.storage.writer import ShardWriter

    source = Source(corpus="eu-acts")
    seeds = (
        s
        for s in read_seeds(source, source_listing(source, "bench").files[0], "law", Passages())
        if isinstance(s, Seed)
    )
    out = ShardWriter(ShardSpec(folder, "seeds", 0, 1, "x", count, ""), SEED)
    out.keep_rows(list(islice(seeds, count)))
    out.rows_in = count
    return out.commit().kept


def writer() -> Iterator[Row]:
    """MB of rows per CPU-second through ShardWriter (hash, sync, rename, record) over bare pyarrow's, same rows."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from stages.storage.shard import ShardSpec
    from stages.storage.writer import ShardWriter

    texts = [
        f"{number} " + " ".join(str((number * 7919 + place * 104_729) % 99_991) for place in range(240))
        for number in range(60_000)
    ]
    schema = pa.schema([("id", pa.string()), ("text", pa.string())])
    table = pa.table({"id": [str(number) for number in range(len(texts))], "text": texts}, schema)
    batches = table.to_batches(1024)
    best = {"bare": 0.0, "ours": 0.0}
    for _ in range(4):
        with tempfile.TemporaryDirectory() as folder:

            def bare(folder: str = folder) -> None:
                with pq.ParquetWriter(
                    f"{folder}/bare.parquet", schema, compression="zstd", compression_level=3
                ) as sink:
                    for batch in batches:
                        sink.write_batch(batch)

            def ours(folder: str = folder) -> None:
                out = ShardWriter(ShardSpec(folder, "s", 0, 1, "x", table.num_rows, ""), schema)
                for batch in batches:
                    out.keep(batch)
                out.rows_in = table.num_rows
                out.commit()

            for name, write in (("bare", bare), ("ours", ours)):
                began = time.process_time()
                write()
                best[name] = max(best[name], table.nbytes / 1e6 / (time.process_time() - began))
    print(f"writer: {best['ours']:.0f} against {best['bare']:.0f} MB per CPU-second", flush=True)
    yield "shard writer / bare pyarrow, MB per CPU-second", best["ours"] / best["bare"], 0.5, "higher"
    yield "shard writer, MB per CPU-second", best["ours"], None, "higher"


def screens() -> Iterator[Row]:
    """Rows per second of each filter of the laptop preset, on real passages as answers."""
    from configs.load import load
    from filters.build import build_filters
    from model.encoder import open_encoder
    from stages.record import Candidate, content_id

    config = load("laptop")
    encoder = config.screen.encoder
    assert encoder is not None
    with tempfile.TemporaryDirectory() as folder:
        import pyarrow.parquet as pq

        ref = _seeds(folder, config, 300)
        texts = pq.read_table(f"{folder}/{ref.file}")["text"].to_pylist()
    blank: dict[str, Any] = {field.name: "" for field in dataclasses.fields(Candidate) if field.name != "scores"}
    blank |= {"task": "explain", "domain": "law", "language": "en", "instruction": "Explain the text above."}
    blank |= {"finish_reason": "stop", "writes": "answer", "sampling": "{}", "rejected": None, "adapter": None}
    blank |= {"seed": 0, "prompt_tokens": 0, "output_tokens": 0, "parents": [], "depth": 1}
    rows = [
        Candidate(
            **blank
            | {"id": content_id(text), "text": text, "messages": [{"role": "assistant", "content": text}]}
            | {"passage": text, "answer": text}
        )
        for text in texts
    ]
    opened = open_encoder(encoder, len(os.sched_getaffinity(0)))
    for spec in config.screen.filters:  # each alone: together they would embed once
        ((name, judge),) = build_filters([spec], lambda: opened)
        judge(rows[:8])
        count = 1
        while (seconds := _seconds(lambda judge=judge, count=count: [judge(rows) for _ in range(count)])) < 0.3:
            count *= 2
        yield f"filter {name}, rows/s", len(rows) * count / seconds, None, "higher"
    from stages.dedup.keys import keys

    seconds = _seconds(lambda: [keys(text, config.dedup) for text in texts])
    yield "dedup keys, rows/s", len(texts) / seconds, None, "higher"


def memory() -> Iterator[Row]:
    """Peak memory of the driver at 1 × and 10 × rows, on echo: it must follow what is in flight, not the run."""
    peaks = {}
    for scale in (1, 10):
        with tempfile.TemporaryDirectory() as folder:
            document = Path(folder, "d.jsonl")
            with document.open("w") as sink:
                for number in range(400 * scale):  # 20 kB each: 8 MB and 80 MB of text
                    words = " ".join(f"w{(number * 31 + place * 17) % 5003}" for place in range(3_500))
                    sink.write(json.dumps({"text": f"Passage {number} says this. {words}."}) + "\n")
            line = [sys.executable, "-c", _PEAK, "run", "--config", "echo", "--out", f"{folder}/out", "--json"]
            domain = f"seeds: [{{path: {document}, licence: MIT}}], tasks: [explain], per_day: {400 * scale}"
            line += ["--set", f"domains={{law: {{{domain}}}}}"]
            line += [
                "--set",
                "generate.shard_rows=50",
                "--set",
                "domains.law.passages={min_chars: 50, max_chars: 30000}",
            ]
            result = subprocess.run(line, capture_output=True, text=True, check=True)
            peaks[scale] = int(result.stdout.splitlines()[-1]) / 1024
            print(f"memory: {scale} × {peaks[scale]:.0f} MiB", flush=True)
    yield "peak memory, 10 × rows / 1 × rows", peaks[10] / peaks[1], 1.1, "lower"
    yield "peak memory at 4,000 rows, MiB", peaks[10], None, "lower"


_PEAK = """
import resource, sys
from pipeline.cli import main
assert main(sys.argv[1:]) == 0
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


def vllm() -> Iterator[Row]:
    """Output tokens per second of vLLM over those of transformers: the same model, prompts and sampling."""
    from configs.load import load
    from model.backends import identify, open_generator
    from stages.generate import Generate
    from stages.storage.shard import ShardSpec

    speed = {}
    for backend in ("transformers", "vllm"):
        config = load("laptop", [f"generator.backend={backend}", "domains.law.tasks=[explain]"])
        card = identify(config.generator)
        generator = open_generator(config.generator, card, len(os.sched_getaffinity(0)))
        with tempfile.TemporaryDirectory() as folder:
            seeds = _seeds(folder, config, 128)
            body = Generate(config, card, partial(open_generator, config.generator, card, 1), redactor_of(config))
            payload = json.dumps({"slices": [[seeds, 0, 128]]})
            requests = body.first_requests(ShardSpec(folder, "generate", 0, 1, "x", 128, payload, "law"))
        generator.generate(requests[:4])
        tokens = 0

        def work(generator: Any = generator, requests: Any = requests) -> None:
            nonlocal tokens
            tokens = sum(completion.output_tokens for completion in generator.generate(requests))

        seconds = _seconds(work)
        speed[backend] = tokens / seconds
        generator.close()
        print(f"vllm: {backend} {speed[backend]:.0f} tokens/s", flush=True)
    yield (
        "vLLM CPU build / transformers, output tokens/s, 128 prompts",
        speed["vllm"] / speed["transformers"],
        None,
        "higher",
    )
    yield "transformers, output tokens/s, 128 prompts", speed["transformers"], None, "higher"
    yield "vLLM CPU build, output tokens/s, 128 prompts", speed["vllm"], None, "higher"


def _seconds(work: Callable[[], Any]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


BENCHMARKS = {"beam": beam, "writer": writer, "screens": screens, "memory": memory, "vllm": vllm}


def main() -> int:
    names = sys.argv[1:] or [name for name in BENCHMARKS if name != "vllm" or importlib.util.find_spec("vllm")]
    for name in names:
        figures = Figures("engine", f"python benchmarks/engine.py {name}", processor())
        for row in BENCHMARKS[name]():
            figures.put(*row)
    return 0


if __name__ == "__main__":
    sys.exit(main())

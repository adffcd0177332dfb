"""The fleet's speed on a GPU, by its settings: a tiered sweep, each tier at the best of the tiers before it.

    python benchmarks/throughput.py --shape smollm2-135m                        all tiers, resumed where it stopped
    python benchmarks/throughput.py --shape smollm2-135m --engines 4 --sequences 512 --batched 8192 --kv auto
        --eager no --seeds no --refill 0                                        one point
    python benchmarks/throughput.py --shape FOLDER                              real weights: answers end by themselves
    python benchmarks/throughput.py --cpu                                       a minute on vLLM's CPU build

Prompts of about 300 tokens from the repository's own pages, temperature 0.8, up to 512 new tokens; `--sampling` has
top-p and the rest, `--prompt-tokens` other lengths, each measured with the same engines. Named shapes have random
weights, which never end an answer: lengths are drawn evenly between 64 and 512 there. A point is measured once each
sequence has been replaced once, while all engines are full. `--profile` prints where the time of one engine's step goes
on the GPU. Adds rows to benchmarks/results/throughput.json after each point, and skips points that are there from
the same machine and commit. A GB of text: bytes a token are those of plain legal English.
"""

import argparse
import dataclasses
import json
import random
import shutil
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any

import yaml

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.figures import ROOT, Figures, processor
from configs import schema
from configs.errors import BackendError, ConfigError, GristmillError
from model.backends.vllm.backend import ENGINE, VllmGenerator
from model.backends.vllm.engine import VllmEngine
from model.backends.vllm.fleet import Fleet
from model.weights.resolve import resolve_model
from stages.ports import ModelCard, Request
from stages.storage.packages import cache_folder

SHAPES: dict[str, dict[str, Any]] = yaml.safe_load((ROOT / "benchmarks" / "shapes.yaml").read_text("utf-8"))
del SHAPES["alike"]  # merged into each


class DummyEngine(VllmEngine):
    """Random weights: they are not read, and no answer ends before its length."""

    def arguments(self) -> dict[str, Any]:
        return super().arguments() | {"load_format": "dummy"}

    def sampling(self, request: Request) -> Any:
        params = super().sampling(request)
        params.ignore_eos = True
        return params


SAMPLING: dict[str, dict[str, Any]] = {
    "top-p .95": {"top_p": 0.95},
    "plain": {},
    "as tasks": {"top_p": 0.9, "top_k": 50, "repetition_penalty": 1.05},
}
PLAIN = schema.Sampling(temperature=0.8, top_p=1.0, top_k=0, repetition_penalty=1.0, max_tokens=1)
PROFILED = range(400, 480)  # steps: two bursts and more
LENGTH = 270  # tokens of a passage; the template adds some 30


class ProfiledEngine(DummyEngine):
    """Prints which kernels some of its steps, with all sequences at work, spend the GPU's time in."""

    steps = 0

    def step(self) -> list[tuple[int, Any]]:
        from torch.profiler import ProfilerActivity, profile

        self.steps += 1
        if self.steps == PROFILED.start:
            self.profile = profile(activities=[ProfilerActivity.CUDA, ProfilerActivity.CPU])
            self.profile.start()
        rows = super().step()
        if self.steps == PROFILED.stop:
            self.profile.stop()
            table = self.profile.key_averages().table(
                sort_by="self_cuda_time_total", row_limit=28, max_name_column_width=70
            )
            print(table, flush=True)
        return rows


@dataclass(frozen=True, slots=True)
class Point:
    """One setting of each tier."""

    engines: str  # a number, or auto
    mps: bool
    sequences: int
    batched: int | None
    kv: str
    eager: bool
    seeds: bool
    refill: float
    attention: str  # ours; vllm: its choice; or its name of a backend

    def __str__(self) -> str:
        parts = [
            f"{self.engines} engines{' with MPS' if self.mps else ''}",
            f"{self.sequences} sequences",
            f"{self.batched or 'default'} batched tokens",
        ]
        parts += [f"{self.kv} KV", "eager" if self.eager else "graphs", "seeds" if self.seeds else "no seeds"]
        parts += [f"refill {self.refill:g}"] * bool(self.refill)
        parts += [f"{self.attention} attention"]
        return ", ".join(parts)


@dataclass(frozen=True, slots=True)
class Subject:
    """The model under test."""

    name: str
    card: ModelCard
    engine: str
    prompts: dict[int, list[str]]  # by their tokens without the template's
    bytes_per_token: float


def main() -> int:
    options = _options()
    table = Table(options, subject_of(options))
    try:
        for _ in _sweep(options, table):
            pass
    except TimeoutError:
        print(f"--time-limit: {options.time_limit} s are nearly over; the same command goes on", flush=True)
    table.show()
    return 0 if table.rates else 1


def _sweep(options: argparse.Namespace, table: "Table") -> Iterator[float]:
    """Tier by tier; each yields its points' rates and leaves the best for the next."""
    tiers = {field.name: getattr(options, field.name) for field in dataclasses.fields(Point)}
    point = Point(**{name: values[0] for name, values in tiers.items()})
    for name, values in tiers.items():
        rates: dict[Point, float] = {}
        for value in values:
            tried = dataclasses.replace(point, **{name: value})
            yield rates.setdefault(tried, table.rate(tried))
        point = max(rates, key=rates.__getitem__)


class Table:
    """Measures points, once each."""

    def __init__(self, options: argparse.Namespace, subject: Subject) -> None:
        self.options, self.subject, self.began = options, subject, time.monotonic()
        self.figures = Figures("throughput", "python " + " ".join(sys.argv), processor(), options.commit)
        self.rates: dict[Point, float] = {}
        self.longest = 0.0

    def rate(self, point: Point) -> float:
        """Output tokens/s a GPU; 0 where the point cannot run. Raises TimeoutError where too little time is left."""
        if point not in self.rates:
            self.rates[point] = self._standing(point) or self._measure(point)
        return self.rates[point]

    def show(self) -> None:
        for point, rate in sorted(self.rates.items(), key=lambda item: -item[1]):
            print(f"{rate:>10,.0f} tokens/s a GPU   {point}")

    def _standing(self, point: Point) -> float:
        first = self.options.sampling[0]
        row = self.figures.rows.get(f"{self.subject.name}, {point}, {first}: output tokens/s a GPU")  # of LENGTH
        mine = row and row["commit"] == self.figures.commit and row["machine"].startswith(processor())
        return row["value"] if row and mine else 0.0

    def _measure(self, point: Point) -> float:
        left = self.options.time_limit - (time.monotonic() - self.began)
        if left < max(1.2 * self.longest, self.options.seconds + 30):
            raise TimeoutError
        began = time.monotonic()
        try:
            figures_by_way = measure(self.options, self.subject, point, left - 15)
        except (BackendError, ConfigError) as error:
            print(f"{self.subject.name}, {point}: {error}", flush=True)
            return 0.0
        self.longest = max(self.longest, time.monotonic() - began)
        for way, figures in figures_by_way.items():
            self.figures.machine = f"{processor()}; {figures.pop('machine')}"
            for name, value in figures.items():
                where = f"{self.subject.name}, {point}, {way}: {name}"
                self.figures.put(where, value, better=BETTER.get(name, "higher"))
        return next(iter(figures_by_way.values()))["output tokens/s a GPU"]


BETTER: dict[str, str] = dict.fromkeys(
    ("GPU-hours a GB of text", "USD a GB of text", "engines waiting %", "start s"), "lower"
)


def measure(options: argparse.Namespace, subject: Subject, point: Point, limit: float) -> dict[str, dict[str, Any]]:
    """One point through the fleet, by way of sampling and length of prompts. Raises TimeoutError after `limit` seconds,
    BackendError when nothing starts."""
    began = time.monotonic()
    vllm = schema.VllmOptions(
        engines_per_gpu="auto" if point.engines == "auto" else int(point.engines),
        mps=point.mps,
        max_num_seqs=point.sequences,
        max_num_batched_tokens=point.batched,
        kv_cache_dtype=point.kv,  # pyright: ignore[reportArgumentType] - pydantic checks it
        enforce_eager=point.eager,
        per_request_seeds=point.seeds,
        refill=point.refill,
        attention_backend=None if point.attention in ("ours", "vllm") else point.attention,
        decode_kernel=point.attention == "ours",
        start_timeout_s=limit,
        restarts=0,
    )
    vllm = vllm.model_copy(update={"max_lora_rank": 0})  # as the pipeline does where no adapter is trained
    config = schema.Generator(backend="vllm", model=subject.name, max_model_len=1024, vllm=vllm)
    generator = VllmGenerator(config, subject.card, 0, subject.engine)
    fleet, slots, figures_by_way = generator.fleet, point.sequences * len(generator.fleet.specs), {}
    try:
        _until(lambda: len(fleet.queue.engines_up) == len(fleet.specs), fleet, began + limit)
        started = time.monotonic() - began
        for sampling, length in product(options.sampling, options.prompt_tokens):
            way = sampling if length == LENGTH else f"{sampling}, passages of {length} tokens"
            with _asking(generator, subject, subject.prompts[length], options.tokens, slots, SAMPLING[sampling]):
                # of the prompts asked for before, and then each sequence once
                replaced = _answered(fleet) + slots * (3 if figures_by_way else 1)
                _until(lambda many=replaced: _answered(fleet) >= many, fleet, began + limit)
                before = _reading(generator)
                _until(lambda since=before: time.monotonic() - since["time"] > options.seconds, fleet, began + limit)
                after = _reading(generator)
            spent = {name: value - before[name] for name, value in after.items()}
            figures_by_way[way] = _figures_of(options, subject, generator, spent) | {"start s": started}
    except TimeoutError:
        if not figures_by_way:
            raise
    finally:
        fleet.close(abandon=True)
        generator.close()
    return figures_by_way


def _figures_of(
    options: argparse.Namespace, subject: Subject, generator: VllmGenerator, spent: dict[str, float]
) -> dict[str, Any]:
    gpus = max(len(generator.gpus), 1)
    rate = spent["output_tokens"] / spent["time"] / gpus
    hours = 1e9 / subject.bytes_per_token / rate / 3600
    figures: dict[str, Any] = {
        "output tokens/s a GPU": rate,
        "prompt tokens/s a GPU": spent["prompt_tokens"] / spent["time"] / gpus,
        "GPU-hours a GB of text": hours,
        "USD a GB of text": hours * options.gpu_hour,
        "engines waiting %": 100 * spent["waiting"] / max(spent["waiting"] + spent["generating"], 1e-9),
        "KV cache in use %": 100 * spent["kv usage"] / max(spent["kv samples"], 1),
        "pre-emptions": spent["preemptions"],
    }
    if spent.get("gpu samples"):
        figures["GPU utilisation %"] = spent["gpu percent"] / spent["gpu samples"]
        figures["watts a GPU"] = spent["gpu watts"] / spent["gpu samples"]
    if spent.get("gpu sm_samples"):
        figures["multiprocessors at work %"] = spent["gpu sm_percent"] / spent["gpu sm_samples"]
    versions = " ".join(f"{name} {version}" for name, version in generator.fleet.versions.items())
    names = ", ".join(gpu.name for gpu in generator.gpus) or "no GPU"
    return figures | {"machine": f"{names}; {versions}; weights {'dummy' if subject.engine != ENGINE else 'real'}"}


@contextmanager
def _asking(
    generator: VllmGenerator, subject: Subject, prompts: list[str], most: int, slots: int, sampling: dict[str, Any]
) -> Iterator[None]:
    """Two callers, which keep all engines full until the block ends."""
    stop = threading.Event()
    arguments = (generator, subject, prompts, most, slots, sampling, stop)
    for place in range(2):
        threading.Thread(target=_ask, args=(place, *arguments), daemon=True).start()
    try:
        yield
    finally:
        stop.set()


def _answered(fleet: Fleet) -> int:
    return sum(life.answers for life in fleet.processes if life)


def _ask(
    place: int,
    generator: VllmGenerator,
    subject: Subject,
    prompts: list[str],
    most: int,
    slots: int,
    way: dict[str, Any],
    stop: threading.Event,
) -> None:
    """One caller: as many prompts a call as all engines hold, so that two keep all full."""
    rng, dummy, call = random.Random(place), subject.engine != ENGINE, 0
    with suppress(BackendError):  # closed: the point is measured
        while not stop.is_set():
            requests = []
            for number in range(slots):
                length = rng.randint(most // 8, most) if dummy else most
                sampling = PLAIN.model_copy(update=way | {"max_tokens": length})
                text = prompts[rng.randrange(len(prompts))]
                messages = ({"role": "user", "content": f"Passage {rng.randrange(10**6)}.\n\n{text}\n\nExplain it."},)
                requests.append(Request(f"{place}-{call}-{number}", messages, sampling, rng.randrange(2**31)))
            call += 1
            generator.generate(requests)


def _reading(generator: VllmGenerator) -> dict[str, float]:
    fleet = generator.fleet
    engines = [asdict(engine) for engine in fleet.figures()]
    sums = {name: sum(engine[name] for engine in engines) for name in engines[0]}
    kv_cache = {f"kv {name}": value for name, value in asdict(fleet.kv_cache).items()}
    gpu = {f"gpu {name}": value for name, value in asdict(generator.meter.totals).items()} if generator.meter else {}
    return sums | {"time": time.monotonic()} | kv_cache | gpu


def _until(true: Any, fleet: Any, deadline: float) -> None:
    while not true():
        if time.monotonic() > deadline:
            raise TimeoutError
        if fleet.given_up:
            raise BackendError("an engine did not stay up; see its log above")
        time.sleep(0.05)


def subject_of(options: argparse.Namespace) -> Subject:
    """The model of `--shape`. One with random weights has a folder in the cache, since vLLM finds what it has compiled
    by the model's path."""
    from transformers import AutoTokenizer

    real = options.shape not in SHAPES
    try:
        source = resolve_model(options.shape if real else options.tokenizer, "vllm", None)
    except GristmillError as error:
        if real or not Path(options.tokenizer).is_dir():  # a tokenizer needs no weights
            sys.exit(str(error))
        source = ModelCard(options.tokenizer, "", "vllm", options.tokenizer, 0)
    card = source if real else _dummy(options.shape, Path(source.path), cache_folder() / "shapes" / options.shape)
    tokenizer: Any = AutoTokenizer.from_pretrained(card.path, local_files_only=True)
    prompts = {length: _prompts(tokenizer, length) for length in options.prompt_tokens}
    english = " ".join((ROOT / "LICENSE").read_text("utf-8").split())
    share = len(english.encode()) / len(tokenizer.encode(english))
    engine = ENGINE if real else f"benchmarks.throughput:{'Profiled' if options.profile else 'Dummy'}Engine"
    return Subject(options.shape if not real else card.name, card, engine, prompts, share)


def _dummy(shape: str, tokenizer: Path, folder: Path) -> ModelCard:
    """A folder with the shape's config and a tokenizer, and the number of its parameters."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in tokenizer.iterdir():
        if file.is_file() and file.stat().st_size < 50e6 and file.suffix in (".json", ".jinja", ".txt", ".model"):
            shutil.copy(file, folder)
    shape_config = SHAPES[shape]
    (folder / "config.json").write_text(json.dumps(shape_config))
    (folder / "model.safetensors.index.json").unlink(missing_ok=True)
    width, heads, shared = (
        shape_config["hidden_size"],
        shape_config["num_attention_heads"],
        shape_config["num_key_value_heads"],
    )
    attention = shape_config["head_dim"] * width * (2 * heads + 2 * shared)
    layer = attention + 3 * width * shape_config["intermediate_size"] + 2 * width
    parameters = shape_config["vocab_size"] * width + shape_config["num_hidden_layers"] * layer + width
    return ModelCard(shape, f"{shape}-dummy", "vllm", str(folder), parameters)


def _prompts(tokenizer: Any, tokens: int) -> list[str]:
    """Passages of about so many tokens out of the repository's pages."""
    text = "\n\n".join(path.read_text("utf-8") for path in sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]))
    words = text.split(" ")
    step = max(int(tokens * len(words) / len(tokenizer.encode(text))), 1)
    return [" ".join(words[at : at + step]) for at in range(0, len(words) - step, max(step // 4, 1))]


def _options() -> argparse.Namespace:
    def flag(text: str) -> bool:
        return {"yes": True, "no": False}[text]

    def batch(text: str) -> int | None:
        return None if text == "default" else int(text)

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", default="smollm2-135m", help=f"{', '.join(SHAPES)}, or a model")
    parser.add_argument("--tokenizer", default="smollm2-135m-instruct", help="a packaged model or a folder, for shapes")
    parser.add_argument("--engines", nargs="+", default=["4", "1", "2", "6"], help="a GPU; auto")
    parser.add_argument("--mps", nargs="+", type=flag, default=[False, True], help="yes, no")
    parser.add_argument("--sequences", nargs="+", type=int, default=[512, 256, 1024], help="at once, of one engine")
    parser.add_argument("--batched", nargs="+", type=batch, default=[8192, None, 16384], help="tokens a step; default")
    parser.add_argument("--kv", nargs="+", default=["auto", "fp8"])
    parser.add_argument("--eager", nargs="+", type=flag, default=[False, True], help="yes, no")
    parser.add_argument("--seeds", nargs="+", type=flag, default=[False, True], help="of each request: yes, no")
    parser.add_argument("--refill", nargs="+", type=float, default=[0.0, 0.125], help="share of the sequences")
    parser.add_argument(
        "--attention", nargs="+", default=["ours", "vllm"], help="ours, vllm: its choice, or its names of backends"
    )
    parser.add_argument(
        "--sampling", nargs="+", default=["top-p .95"], choices=SAMPLING, help="the first sets the tiers"
    )
    parser.add_argument("--profile", action="store_true", help="of one engine; its figures are then slower ones")
    parser.add_argument("--tokens", type=int, default=512, help="new tokens at most")
    parser.add_argument(
        "--prompt-tokens", nargs="+", type=int, default=[LENGTH], help="of the passage; the template adds some 30"
    )
    parser.add_argument("--seconds", type=float, default=25, help="measured a point")
    parser.add_argument("--time-limit", type=float, default=560, help="seconds of the whole call")
    parser.add_argument("--gpu-hour", type=float, default=2.5, help="USD")
    parser.add_argument("--commit", default="", help="where there is no git")
    parser.add_argument("--cpu", action="store_true", help="one small point for vLLM's CPU build")
    options = parser.parse_args()
    if options.cpu:
        for name, value in {"engines": "1", "sequences": 4, "batched": None, "kv": "auto", "eager": True}.items():
            setattr(options, name, [value])
        options.seeds, options.mps, options.tokens, options.seconds = [True], [False], 16, 10
        options.refill, options.attention = [0.0], ["vllm"]
    return options


if __name__ == "__main__":
    sys.exit(main())

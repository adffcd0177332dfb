"""Does the screen keep what trains better? The same small model on kept, on random and on dropped rows of one run.

    python benchmarks/selection.py CONFIG CANDIDATES OUT [STEPS] [SEEDS] [PRESET] [joined | matched]

CANDIDATES is a run's folder of candidates (runs/DATE/stages/generate) or one Parquet file of them (such as
benchmarks/rightness/samples.py writes); they are screened by CONFIG's filters of today, without those that need an
encoder if CONFIG has none. Of the rows' own text (all turns, without the passage) each arm gets as many bytes of each
domain as the scarcer of kept and dropped has, a text once; the tokenizer is learnt once from all. Perplexity is that
of real law and medicine, held out of everything: it should order kept < random < dropped. `joined` makes documents of
2,000 characters out of an arm's answers: long answers are dropped as cut off more often than short ones, and a model
that has seen short documents alone expects real ones to end early. `matched` gives each arm the same bytes of each
task and length besides: as many as the scarcer of kept and dropped has there.
PRESET is one of `gristmill train`, or `ngram`: a character model of each domain (order 6, Witten-Bell: Chen and Goodman
1998, section 2.5), a minute on a CPU, with perplexity by byte; STEPS is not read then.
Adds its rows to benchmarks/results/quality.json.
"""

import json
import math
import random
import statistics
import sys
from collections import Counter, defaultdict
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.figures import Figures, processor
from configs.load import load
from configs.schema import Config
from configs.schema.training import Training
from filters.build import build_filters, filter_class, reads_embeddings
from model.data.tokenizer_training import train_tokenizer
from model.encoder import open_encoder
from model.evaluation.held_out import read_corpora
from model.evaluation.perplexity import score
from model.lm.language_model import Model
from model.training.distributed import ProcessGroup
from model.training.loop import train
from stages.ports import judged_by
from stages.record import CANDIDATE, Candidate
from stages.screen import ROWS_PER_BATCH, judge_all

ARMS = ("kept", "random", "dropped")
DOMAINS = ("law", "medicine")
REAL = 200_000  # bytes a domain
DOCUMENT = 2_000  # characters of a joined document
ORDER = 6  # of the character model
WIDTH = 120  # characters: rows of like length lie in one such step
Rows = dict[str, list[dict[str, Any]]]


def screened(config: Config, candidates: list[Candidate]) -> list[str | None]:
    """Why each candidate is dropped; None where it is kept. The first filter that drops it is named."""
    encoder = config.screen.encoder
    specs = [
        spec
        for spec in config.screen.filters
        if spec.name != "contamination" and (encoder or not reads_embeddings(filter_class(spec.name, "")))
    ]
    judges = build_filters(specs, partial(open_encoder, encoder, 0) if encoder else None)
    reasons: list[str | None] = [None] * len(candidates)
    for begin in range(0, len(candidates), ROWS_PER_BATCH):
        left = list(range(begin, min(begin + ROWS_PER_BATCH, len(candidates))))
        for _, judge in judges:
            judged = judged_by(judge)
            asked = [index for index in left if candidates[index].writes in judged]
            verdicts = judge_all(judge, [candidates[index] for index in asked])
            for index, verdict in zip(asked, verdicts, strict=True):
                reasons[index] = "filter_error" if isinstance(verdict, Exception) else verdict.reason
            left = [index for index in left if reasons[index] is None]
    return reasons


def split(candidates: list[Candidate], reasons: list[str | None]) -> dict[str, Rows]:
    """By arm and domain the rows' own text, each once."""
    arms: dict[str, Rows] = {arm: defaultdict(list) for arm in ARMS}
    seen: set[str] = set()
    for candidate, reason in zip(candidates, reasons, strict=True):
        text = "\n".join(turn["content"].replace(candidate.passage, "").strip() for turn in candidate.messages)
        if text in seen:
            continue
        seen.add(text)
        row = {
            "text": text,
            "seed_id": candidate.seed_id,
            "domain": candidate.domain,
            "language": candidate.language,
        }
        row["task"] = candidate.task
        arms["random"][candidate.domain].append(row)
        arms["dropped" if reason else "kept"][candidate.domain].append(row)
    return arms


def kind(row: dict[str, Any], form: str) -> str:
    """What arms are to have alike: the domain, and with `matched` the task and the length too."""
    if form != "matched":
        return row["domain"]
    return f"{row['domain']} {row['task']} {min(len(row['text']) // WIDTH, 5)}"


def kinds(arms: dict[str, Rows], form: str) -> dict[str, Rows]:
    """Each arm's rows by `kind`."""
    sorted_: dict[str, Rows] = {arm: defaultdict(list) for arm in arms}
    for arm, rows_by_kind in arms.items():
        for row in (row for rows in rows_by_kind.values() for row in rows):
            sorted_[arm][kind(row, form)].append(row)
    return sorted_


def draw(rows: Rows, budget: dict[str, int], seed: int) -> list[dict[str, Any]]:
    """Rows of each kind, at random, until its budget of bytes is spent."""
    drawn = []
    for name, most in budget.items():
        left, order = most, sorted(rows[name], key=lambda row: row["text"])
        random.Random(seed).shuffle(order)
        for row in order:
            if left <= 0:
                break
            left -= len(row["text"].encode())
            drawn.append(row)
    return drawn


def joined(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Documents of equal length, in the rows' order and by domain; what is left over is left out."""
    documents = []
    for domain in DOMAINS:
        domain_rows = [row for row in rows if row["domain"] == domain]
        text = "\n\n".join(row["text"] for row in domain_rows)
        for start in range(0, len(text) - DOCUMENT + 1, DOCUMENT):
            documents.append(domain_rows[0] | {"text": text[start : start + DOCUMENT], "seed_id": f"{domain} {start}"})
    return documents


class Ngram:
    """Interpolated by Witten and Bell's estimate of how likely a character is that has not followed yet."""

    def __init__(self, texts: list[str]):
        self.counts: list[dict[str, Counter[str]]] = [defaultdict(Counter) for _ in range(ORDER)]
        for text in texts:
            for at in range(1, len(text)):
                for order in range(min(at, ORDER - 1) + 1):
                    self.counts[order][text[at - order : at]][text[at]] += 1
        self.sums = [
            {before: (following.total(), len(following)) for before, following in counts.items()}
            for counts in self.counts
        ]

    def probability(self, text: str, at: int) -> float:
        """Of the character there, after those before it."""
        p = 1 / 2**8
        for order in range(min(at, ORDER - 1) + 1):
            before = text[at - order : at]
            if before not in self.sums[order]:
                break
            total, kinds = self.sums[order][before]
            p = (self.counts[order][before][text[at]] + kinds * p) / (total + kinds)
        return p

    def perplexity(self, texts: list[str]) -> float:
        """By byte of UTF-8."""
        bits = -sum(math.log2(self.probability(text, at)) for text in texts for at in range(1, len(text)))
        return 2 ** (bits / sum(len(text.encode()) for text in texts))


def perplexities(out: Path, shard: Path, seed: int, steps: int, preset: str, real: dict[str, Any]) -> dict[str, float]:
    """Of real text by domain, after training on one arm's rows."""
    config = {
        "name": shard.stem,
        "out": str(out / shard.stem),
        "seed": seed,
        "steps": steps,
        "data": {"tokenizer": str(out / "tokenizer"), "held_out": 0.05},
        "model": {"preset": preset},
        "batch": {"length": 256, "sequences": 16, "micro": 16},
        "optimizer": {"name": "muon", "learning_rate": 3e-3, "matrix_learning_rate": 0.02},
        "schedule": {"kind": "wsd", "warmup": 10, "decay": 0.5, "floor": 0.0},
        "held_out": {"every": steps},
        "checkpoints": {"every": steps},
    }
    model = Model.from_pretrained(
        train(Training.model_validate(config), [shard], ProcessGroup.join(), lambda _: None)["model"]
    )
    perplexity_by_domain = {}
    for domain, texts in real.items():
        documents = [model.tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts.documents]
        perplexity_by_domain[domain] = score(model.network, documents, texts.bytes, 256, 128).perplexity
    return perplexity_by_domain


def main() -> int:
    config, source, out = load(sys.argv[1], []), sys.argv[2], Path(sys.argv[3])
    steps, seeds = int(sys.argv[4] if len(sys.argv) > 4 else 160), int(sys.argv[5] if len(sys.argv) > 5 else 3)
    preset, form = sys.argv[6] if len(sys.argv) > 6 else "tiny", sys.argv[7] if len(sys.argv) > 7 else "rows"
    out.mkdir(parents=True, exist_ok=True)
    parts = [Path(source)] if Path(source).is_file() else sorted(Path(source).glob("part-*.parquet"))
    files = [str(path) for path in parts if not path.name.endswith(".rejects.parquet")]
    rows = ds.dataset(files).to_table(columns=CANDIDATE.names).sort_by("id").to_pylist()
    candidates = [Candidate(**row) for row in rows]
    verdicts = out / "reasons.json"  # screened once a folder
    if not verdicts.exists():
        reasons = screened(config, candidates)
        verdicts.write_text(
            json.dumps({candidate.id: why for candidate, why in zip(candidates, reasons, strict=True)}, indent=0)
        )
    known = json.loads(verdicts.read_text())
    reason_by_candidate = [known[candidate.id] for candidate in candidates]
    print(len(candidates), "candidates:", dict(Counter(reason_by_candidate).most_common()), flush=True)
    arms = kinds(split(candidates, reason_by_candidate), form)
    size = {
        arm: {k: sum(len(row["text"].encode()) for row in rows_by_kind[k]) for k in sorted(rows_by_kind)}
        for arm, rows_by_kind in arms.items()
    }
    budget = {name: min(size["kept"][name], size["dropped"].get(name, 0)) for name in size["kept"]}
    print("bytes:", size, "each arm gets", budget, flush=True)
    everything = [row for _, rows_by_kind in sorted(arms["random"].items()) for row in rows_by_kind]
    pq.write_table(pa.Table.from_pylist(everything), out / "all.parquet")
    train_tokenizer([out / "all.parquet"], 2048, 0.0, out / "tokenizer")
    real = {domain: read_corpora(domain, REAL) for domain in DOMAINS}
    perplexities_by_case: dict[tuple[str, str], list[float]] = defaultdict(list)
    for seed in range(seeds):
        for arm in ARMS:
            shard = out / f"{arm}-{seed}.parquet"
            drawn = draw(arms[arm], budget, seed)
            pq.write_table(pa.Table.from_pylist(joined(drawn) if form == "joined" else drawn), shard)
            if preset == "ngram":
                texts = {domain: [row["text"] for row in drawn if row["domain"] == domain] for domain in DOMAINS}
                values = {
                    domain: Ngram(documents).perplexity(real[domain].documents) for domain, documents in texts.items()
                }
            else:
                values = perplexities(out, shard, seed, steps, preset, real)
            for domain, value in values.items():
                perplexities_by_case[arm, domain].append(value)
            print(
                seed, arm, {domain: round(perplexities_by_case[arm, domain][-1], 3) for domain in DOMAINS}, flush=True
            )
    command = f"python benchmarks/selection.py CONFIG CANDIDATES OUT {steps} {seeds} {preset} {form}"
    figures = Figures("quality", command, processor())
    for domain in DOMAINS:
        model_name = preset if preset == "ngram" else f"{preset}, {steps} steps"
        for worse, better in (("random", "kept"), ("dropped", "random"), ("dropped", "kept")):
            ratios = [
                a / b
                for a, b in zip(perplexities_by_case[worse, domain], perplexities_by_case[better, domain], strict=True)
            ]
            name = f"selection, {model_name}, {form}, {sum(budget.values()) // 1000} kB: real {domain}"
            aim = 1.0 if (worse, better) != ("dropped", "kept") else None
            figures.put(f"{name}, {worse} / {better}", math.exp(statistics.fmean(map(math.log, ratios))), aim)
            if seeds > 1:
                error = statistics.stdev(ratios) / seeds**0.5
                figures.put(f"{name}, {worse} / {better}, standard error", error, None, "lower")
    return 0


if __name__ == "__main__":
    sys.exit(main())

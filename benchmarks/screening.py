"""The screen's cost on the candidates of a run: the encoder and the whole cascade, against BERT as one would write it.

    python benchmarks/screening.py DATA_SET [ROWS]

DATA_SET is the folder of a `make run`: its last run's candidates are read. One thread; documents per CPU-second. The
baseline is transformers in float32 on batches of 32 in arrival order, padded to the longest, mean-pooled.
Writes benchmarks/results/quality.json.
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.figures import Figures, processor
from configs.load import load
from configs.schema import Config
from filters.build import build_filters
from filters.heads.features import prepared
from filters.heads.head import DEPTHS
from model.encoder import open_encoder
from stages.record import Candidate
from stages.screen import judge_all

BATCH = 512  # as the stage reads


def candidates(folder: Path, count: int) -> tuple[Config, list[Candidate]]:
    """The newest run's configuration, and candidates of its two rounds in the order they were made."""
    run = sorted(folder.glob("runs/*/config.yaml"))[-1].parent
    paths = [
        *sorted(run.glob("stages/generate/part-*.parquet")),
        *sorted(run.glob("stages/adapt-generate/part-*.parquet")),
    ]
    rows = [row for path in paths if path.name.count(".") == 1 for row in pq.read_table(path).to_pylist()]
    return load(str(run / "config.yaml"), []), [Candidate(**row) for row in rows[:count]]


def cpu_seconds(work: Callable[[], Any], repeats: int = 3) -> tuple[float, Any]:
    """The least of some runs, in CPU-seconds of this process, and what the last gave."""
    best, result = float("inf"), None
    for _ in range(repeats):
        began = time.process_time()
        result = work()
        best = min(best, time.process_time() - began)
    return best, result


def plain(path: str, prefix: str, limit: int, device: str = "cpu") -> Callable[[list[str]], np.ndarray]:
    """transformers as its documentation shows it."""
    from transformers import AutoModel, AutoTokenizer

    tokenizer, model = AutoTokenizer.from_pretrained(path), AutoModel.from_pretrained(path, dtype=torch.float32)
    model = model.to(device).eval()

    @torch.inference_mode()
    def encode(texts: list[str]) -> np.ndarray:
        embeddings = []
        for begin in range(0, len(texts), 32):
            some = [prefix + text for text in texts[begin : begin + 32]]
            batch = tokenizer(some, padding=True, truncation=True, max_length=limit, return_tensors="pt").to(device)
            mask = batch["attention_mask"][..., None]
            hidden = model(**batch).last_hidden_state
            embeddings.append(torch.nn.functional.normalize((hidden * mask).sum(1) / mask.sum(1), dim=1).cpu())
        return torch.cat(embeddings).numpy()

    return encode


def cascade(built: list[tuple[str, Any]], rows: list[Candidate]) -> int:
    """How many rows all filters keep, each judged by the filters before its drop alone."""
    kept = 0
    for begin in range(0, len(rows), BATCH):
        left = rows[begin : begin + BATCH]
        for _, judge in built:
            verdicts = judge_all(judge, left)
            left = [
                row
                for row, verdict in zip(left, verdicts, strict=True)
                if not isinstance(verdict, Exception) and verdict.reason is None
            ]
        kept += len(left)
    return kept


def main() -> int:
    folder, count = Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 400
    torch.set_num_threads(1)
    config, rows = candidates(folder, count)
    assert config.screen.encoder is not None
    # the weights of the baseline: an adapter makes another model of the same cost
    ours: Any = open_encoder(config.screen.encoder.model_copy(update={"adapter": "none"}), 1)
    figures = Figures("quality", f"python benchmarks/screening.py DATA_SET {count}", processor())
    texts = [prepared(row.reply, row.language) for row in rows]
    baseline = plain(ours.card.path, ours.prefix, ours.limit)
    baseline(texts[:32])
    ours.encode(texts[:32])
    slow, exact = cpu_seconds(lambda: baseline(texts), 2)
    fast, embeddings = cpu_seconds(lambda: ours.encode(texts))
    figures.put("encoder / padded float32 transformers, documents per CPU-second", slow / fast, 4.0)
    figures.put("encoder, documents per CPU-second", len(texts) / fast)
    figures.put("encoder, least cosine to float32", float((exact * embeddings).sum(1).min()), 0.999)
    shipped = open_encoder(config.screen.encoder, 1)
    shipped.encode(texts[:32])
    built = build_filters(config.screen.filters, lambda: shipped)
    seconds, kept = cpu_seconds(lambda: cascade(built, rows), 1)  # once: embeddings are remembered
    read, _ = cpu_seconds(lambda: ours.encode(texts, DEPTHS))
    print(f"{len(rows)} candidates, {kept} kept by {len(built)} filters")
    figures.put("whole cascade / padded float32 BERT on everything, documents per CPU-second", slow / seconds, 3.0)
    figures.put(
        "whole cascade / what its filters read of the encoder on everything, documents per CPU-second", read / seconds
    )
    figures.put("whole cascade, documents per CPU-second", len(rows) / seconds)
    return 0


if __name__ == "__main__":
    sys.exit(main())

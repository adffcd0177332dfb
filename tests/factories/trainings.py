"""Small trainings of the language model: shards, a configuration, a run in this process, its curve."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tests.factories.documents import passage

CONFIG = """
name: small
out: {out}
steps: 12
data: {{vocabulary: 320, held_out: 0.2}}
model: {{preset: tiny, hidden_size: 32, intermediate_size: 64, num_hidden_layers: 2, gate_dim: 8, block: 4, top: 5}}
batch: {{length: 64, sequences: 8, micro: 2}}
optimizer: {{name: muon, learning_rate: 3.0e-3, matrix_learning_rate: 0.02}}
schedule: {{kind: wsd, warmup: 2, decay: 0.5}}
log_every: 1
held_out: {{every: 4, batches: 2}}
checkpoints: {{every: 3, keep: 2}}
threads: 1
"""


def write_shard(path: Path, domain: str, numbers: range, **columns: list[Any]) -> Path:
    """A shard of one short document for each number."""
    rows = [{"text": f"{domain} {passage(n)}", "seed_id": f"{domain}{n}", "domain": domain} for n in numbers]
    table = pa.Table.from_pylist(rows)
    for name, values in columns.items():
        table = table.append_column(name, pa.array(values))
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)
    return path


def configured(folder: Path, *changes: str):
    """The configuration of a training in `folder/out`; the file is `folder/small.yaml`."""
    from configs.load import load_training

    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "small.yaml"
    path.write_text(CONFIG.format(out=folder / "out"))
    return load_training(str(path), changes)


def train_small(folder: Path, shards: Path, *changes: str, watch=None, allow_changes: bool = False) -> dict[str, Any]:
    """Trains in this process and returns the result. `shards`: their folder."""
    from model.training.distributed import ProcessGroup
    from model.training.loop import train

    files = sorted(shards.glob("*.parquet"))
    config = configured(folder, *changes)
    return train(config, files, ProcessGroup.join(), watch or (lambda line: None), allow_changes=allow_changes)


def curve(folder: Path) -> list[tuple]:
    """Step, loss, the gate's loss and held-out loss of each line of metrics."""
    lines = [json.loads(line) for line in (folder / "out" / "metrics.jsonl").read_text().splitlines()]
    return [(x["step"], x.get("loss"), x.get("gate_loss"), x.get("held_out")) for x in lines]

"""`gristmill train`: finds the shards, shows how it goes."""

import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from configs.errors import ConfigError
from configs.load import load_training


def find_shards(paths: Sequence[str]) -> list[Path]:
    """What a data set's pointer names, at a URL fetched into the cache; of other folders every Parquet file.

    Raises ConfigError, InputError, StoreError.
    """
    from model.data.shards import published_shards
    from stages.storage import snapshot
    from stages.storage.bucket import is_url

    found: list[Path] = []
    for given in paths:
        place = Path(given)
        if is_url(given):
            found += sorted(snapshot.fetch(given))
        elif (place / "manifests").is_dir():
            found += published_shards(place)
        elif place.is_dir():
            found += sorted(place.rglob("*.parquet"))
        elif place.is_file():
            found.append(place)
        else:
            raise ConfigError(f"--data: no such file or folder {str(place)!r}; name a data set that gristmill run made")
    if not found:
        raise ConfigError(f"--data: no Parquet files in {', '.join(paths)}; name a data set that gristmill run made")
    return found


def train(config: str, overrides: Sequence[str], out: str | None, data: Sequence[str], *, as_json: bool) -> int:
    """Returns the exit code. The progress goes to standard error, the result to standard output."""
    extra = [*overrides, *([f"out={json.dumps(out)}"] if out is not None else [])]
    asked = load_training(config, extra)
    shards = find_shards(data)
    from model.training.distributed import ProcessGroup
    from model.training.loop import train as work

    ranks = ProcessGroup.join()
    try:
        result = work(asked, shards, ranks, _show)
    finally:
        ranks.leave()
    if ranks.rank:
        return 0
    if as_json:
        print(json.dumps(result))
    else:
        print(
            f"{result['steps']} steps, {result['tokens']:,} tokens ({result['epochs']} epochs), "
            f"{result['parameters'] / 1e6:.2f} M parameters\n"
            f"held-out perplexity {result['perplexity']:.1f}, of a unigram model {result['unigram_perplexity']:.1f}\n"
            f"model     {result['model']}\ncurves    {asked.out}/curves.png"
        )
    return 0


def _show(line: dict[str, Any]) -> None:
    if "held_out" in line:
        text = f"held out {line['held_out']:.4f}, perplexity {math.exp(min(line['held_out'], 50)):.1f}"
    else:
        mfu = "" if line["mfu"] is None else f"  MFU {line['mfu']:.1%}"
        gate = f"  gate {line['gate_loss']:.4f}" if line["gate_loss"] else ""
        minutes, seconds = divmod(round(line["eta_s"]), 60)
        speed = line["tokens_per_second"]
        text = f"loss {line['loss']:.4f}{gate}  {speed:,.0f} tokens/s{mfu}  ETA {minutes}:{seconds:02d}"
    print(f"step {line['step']}/{line['steps']}  {text}", file=sys.stderr, flush=True)

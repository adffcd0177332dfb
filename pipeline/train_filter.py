"""`gristmill filter train`: the quality and domain heads, trained on the passages of a config's own sources."""

import json
import os
import sys
from itertools import islice
from pathlib import Path

from configs.errors import ConfigError, InputError
from configs.schema import Config
from filters.domain_training import train_domains
from filters.head_file import HEADS
from filters.language import identify
from filters.memo import Memo
from filters.quality_training import examples, train_and_report
from stages import seeds
from stages.record import Seed
from stages.seed_sources import read_seeds


def train(config: Config, head: str | None, per_source: int, *, as_json: bool) -> int:
    """Trains, writes the heads and prints their AUCs; `head` is the quality head's file, the domain head stands beside.

    Raises ConfigError without an encoder, InputError with fewer than two sources or a head that cannot be written.
    """
    from model.encoder import open_encoder

    if config.screen.encoder is None:
        raise ConfigError("screen.encoder: missing; name the encoder that the head is for, as multilingual-e5-small")
    pages: list[Seed] = []
    for file in seeds.list_files(config):
        domain = config.domains[file.domain]
        found = read_seeds(domain.seeds[file.place], file.file, file.domain, domain.passages, identify)
        # more than are trained on: the trainer draws its pages from all over the source
        pages += islice((seed for seed in found if isinstance(seed, Seed)), 20 * per_source)
    encoder = Memo(open_encoder(config.screen.encoder, len(os.sched_getaffinity(0))), sys.maxsize)
    path = Path(head) if head else HEADS / f"quality-{encoder.card.name}.json"
    beside = path.with_name(f"domain-{path.name.removeprefix('quality-')}")
    try:
        rows = examples(pages, config.seed, per_source)
        report = train_and_report(pages, rows, encoder, path, config.seed)
        report += train_domains(rows, encoder, beside, config.seed)
    except ValueError as error:
        raise InputError(f"filter train: {error}; name more sources in the config") from None
    except OSError as error:
        if error.filename and Path(error.filename) not in (path, beside, *path.parents):  # a full disk names no file
            raise
        raise InputError(f"--head: cannot write {path} ({error.strerror}); name a file that you may write") from None
    if as_json:
        made = {"head": str(path), "domain_head": str(beside) if beside.exists() else None, "report": report}
        print(json.dumps(made, ensure_ascii=False))
        return 0
    from rich.console import Console
    from rich.table import Table

    table = Table(
        "split", "group", "rows", "AUC", "by length", "by distinct words", title=str(path), title_justify="left"
    )
    for row in report:
        figures = (row["auc"], row["auc_length"], row["auc_distinct"])
        table.add_row(
            row["split"], row["group"], str(row["rows"]), *("–" if f is None else f"{f:.3f}" for f in figures)
        )
    Console().print(table)
    return 0

"""`gristmill filter train` and `evaluate`: the quality and domain heads on the passages of a config's own sources."""

import json
import sys
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from configs.errors import ConfigError, InputError
from configs.schema import Config
from filters.heads.cached_encoder import CachedEncoder
from filters.heads.domain_training import train_domains
from filters.heads.evaluation import BASELINES
from filters.heads.examples import CORRUPTION, draw_pages, labelled_examples, page_examples
from filters.heads.head import DEPTHS, SHIPPED_HEADS
from filters.heads.labels import read_labels
from filters.heads.training import HeadTrainingOptions, Trainer
from filters.language import identify
from stages import seeds
from stages.cores import usable_cores
from stages.record import Seed
from stages.sources.seed_source import read_seeds


def trainer_of(config: Config, options: HeadTrainingOptions) -> tuple[Trainer, list[Seed]]:
    """A trainer on the config's sources, and their passages. Raises ConfigError without an encoder."""
    from model.encoder import open_encoder
    from model.encoder.tuning import tune

    if config.screen.encoder is None:
        raise ConfigError("screen.encoder: missing; name the encoder that the head is for, as multilingual-e5-small")
    pages: list[Seed] = []
    for file in seeds.list_sources(config).files:
        domain = config.domains[file.domain]
        passages = read_seeds(domain.seeds[file.place], file.file, file.domain, domain.passages, identify)
        # more than are trained on: the trainer draws its pages from all over the source
        pages += islice((seed for seed in passages if isinstance(seed, Seed)), 20 * options.per_source)
    labels = [label for path in options.labels for label in read_labels(path)]
    encoder = CachedEncoder(open_encoder(config.screen.encoder, usable_cores()), sys.maxsize)
    try:
        rows = page_examples(pages, config.seed, options.per_source) + labelled_examples(labels)
        tuner = partial(tune, config.screen.encoder, max(DEPTHS)) if options.tune else None
        chosen, further = draw_pages(pages, config.seed, options.per_source)
        return Trainer(rows, encoder, config.seed, tuner, options.folds, [*chosen, *further], _tell), pages
    except ValueError as error:
        raise InputError(f"filter train: {error}; name more sources in the config") from None


def _tell(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


def train(config: Config, head: str | None, options: HeadTrainingOptions, *, as_json: bool) -> int:
    """Trains, writes the heads and prints their AUCs. `head`: the quality head's file; the domain head's is beside it.

    A tuned encoder's adapter goes to a folder beside them; the shipped head's to where it is shipped. Raises
    ConfigError without an encoder, InputError with fewer than two sources or a head that cannot be written.
    """
    from model.encoder.tuning import TunedEncoder
    from model.encoder.weights import SHIPPED_ADAPTERS

    trainer, pages = trainer_of(config, options)
    path = Path(head) if head else SHIPPED_HEADS / f"quality-{trainer.encoder.card.name}.json"
    beside = path.with_name(f"domain-{path.name.removeprefix('quality-')}")
    adapter = path.with_name(f"encoder-{path.stem.removeprefix('quality-')}") if head else None
    try:
        encoder, report = trainer.train(pages, path)
        if isinstance(encoder, TunedEncoder):
            encoder.write(adapter or SHIPPED_ADAPTERS / encoder.card.name)
        corruptions = [row for row in trainer.rows if row.by == CORRUPTION]
        report += train_domains(corruptions, encoder, beside, config.seed)
    except OSError as error:
        if error.filename and Path(error.filename) not in (path, beside, *path.parents):  # a full disk names no file
            raise
        raise InputError(f"--head: cannot write {path} ({error.strerror}); name a file that you may write") from None
    if as_json:
        line = {"head": str(path), "domain_head": str(beside) if beside.exists() else None, "report": report}
        line |= {"encoder_adapter": str(adapter or SHIPPED_ADAPTERS)} if options.tune else {}
        print(json.dumps(line, ensure_ascii=False))
        return 0
    print_report(report, str(path))
    return 0


def print_report(report: list[dict[str, Any]], title: str) -> None:
    """The report's rows as a table."""
    from rich.console import Console
    from rich.table import Table

    figures = ("auc", "f1", "spearman", *(f"auc_{name}" for name in BASELINES))
    table = Table("split", "group", "rows", "AUC", "F1", "ρ", *BASELINES, title=title, title_justify="left")
    for row in report:
        shown = ("–" if row.get(name) is None else f"{row[name]:.3f}" for name in figures)
        table.add_row(row["split"], row["group"], str(row["rows"]), *shown)
    Console().print(table)

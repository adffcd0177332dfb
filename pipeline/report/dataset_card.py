"""The data-set card: a README.md for the Hugging Face Hub, in the root of the data set. Each date writes it again."""

from collections import Counter
from collections.abc import Sequence

import yaml

from configs.catalogue import corpora
from configs.schema import Config
from pipeline.report.rightness import NOT_AUDITED, rightness
from pipeline.report.summary import size
from pipeline.store.layout import shard_folder
from pipeline.store.manifest import Manifest, Rate

MAX_DATES_LISTED = 60  # the newest
MAX_SOURCES_LISTED = 40  # those with the most rows


def dataset_card(config: Config, manifests: Sequence[Manifest]) -> str:
    """Returns the card as Markdown with a YAML head.

    Args:
        config: of the newest date.
        manifests: of all finished dates, oldest first; at least one.
    """
    rows = sum(manifest.accepted for manifest in manifests)
    rows_by_domain: Counter[str] = Counter()
    rows_by_licence: Counter[str] = Counter()
    rows_by_source: Counter[str] = Counter()
    for manifest in manifests:
        rows_by_licence.update(manifest.licences)
        rows_by_source.update(manifest.sources)
        rows_by_domain.update({name: domain.accepted for name, domain in manifest.domains.items()})
    head = {
        "language": sorted({language for domain in config.domains.values() for language in domain.languages}),
        "license": "other",
        "license_name": "per-row",
        "task_categories": ["text-generation"],
        "tags": ["synthetic", *sorted(config.domains)],
        "size_categories": [_size_category(rows)],
        "configs": [
            {"config_name": "default", "data_files": "data/*/*/*.parquet"},
            *(
                {"config_name": name, "data_files": f"{shard_folder(name, '*')}/*.parquet"}
                for name in sorted(rows_by_domain)
                if rows_by_domain[name]
            ),
        ],
    }
    newest = manifests[-1]
    generator, encoder = newest.generator, newest.encoder
    corpus_names = {source.corpus for domain in config.domains.values() for source in domain.seeds if source.corpus}
    lines = [
        f"---\n{yaml.safe_dump(head, sort_keys=False, allow_unicode=True)}---",
        f"# {config.name}",
        f"{rows} rows of synthetic text over {len(manifests)} dates ({manifests[0].date} to {newest.date}), "
        f"{size(sum(m.bytes for m in manifests))} of Parquet, made by Gristmill from real seed passages. "
        "Synthetic text can be wrong: it is training material, not legal or medical advice.",
        "## Figures",
        _markdown_table(
            ["date", *sorted(rows_by_domain), "generated", "accepted", "bytes", "right"],
            [_figures_of_date(m, sorted(rows_by_domain)) for m in manifests[-MAX_DATES_LISTED:]],
        ),
        *_rightness(manifests),
        "## How it was made",
        f"- Generator: {generator.name} ({generator.backend}), weights sha256 `{generator.sha256}`",
        *([f"- Quality encoder: {encoder.name}, weights sha256 `{encoder.sha256}`"] if encoder else []),
        *(f"- Adapter {row.domain}: {'used' if row.used else 'not used'}, {row.reason}" for row in newest.adapters),
        f"- Filters: {', '.join(spec.name for spec in config.screen.filters)}; then exact and MinHash deduplication "
        + (f"and one by embeddings (cosine {config.dedup.semantic:g}) " if config.dedup.semantic else "")
        + "within the run and against all earlier dates",
        *(
            f"- Task {name}: {config.tasks[name].description}"
            for name in sorted({task for domain in config.domains.values() for task in domain.tasks})
        ),
        f"- Rejected on {newest.date}: "
        + (", ".join(f"{count} {reason}" for reason, count in newest.rejected.items()) or "none"),
        "",
        "Each row names its seed, prompt hash, generator and adapter hash, sampling, filter scores and run.",
        "## Licences of the seeds",
        "The column `licence` has the licence of each row's seed document.",
        _markdown_table(["licence", "rows"], [[name, str(count)] for name, count in rows_by_licence.most_common()]),
        _markdown_table(
            ["source", "rows"], [[name, str(count)] for name, count in rows_by_source.most_common(MAX_SOURCES_LISTED)]
        ),
        *(f"- {name}: {corpora()[name].attribution}" for name in sorted(corpus_names)),
    ]
    return "\n\n".join(lines) + "\n"


def _figures_of_date(manifest: Manifest, domains: list[str]) -> list[str]:
    accepted = [str(manifest.domains[name].accepted if name in manifest.domains else 0) for name in domains]
    rate = manifest.audit and manifest.audit.accepted
    right = f"{rate.share:.1%} ({_interval(rate)})" if rate else NOT_AUDITED
    return [manifest.date, *accepted, str(manifest.generated), str(manifest.accepted), size(manifest.bytes), right]


def _rightness(manifests: Sequence[Manifest]) -> list[str]:
    """How many rows people found right, on the newest audited date."""
    newest = next((manifest for manifest in reversed(manifests) if manifest.audit and manifest.audit.accepted), None)
    heading = "## Rightness"
    if newest is None or newest.audit is None:
        return [heading, "Not audited: nobody has compared a sample of the rows with their passages."]
    audit = newest.audit
    groups = {"domain": audit.domains, "task": audit.tasks, "language": audit.languages}
    return [
        heading,
        f"On {newest.date}, the newest audited date, readers compared accepted rows with their passages: "
        f"{rightness(audit)}. A row is right if each of its readers calls it faithful to the passage, complete, and "
        "useful (3 or more of 5).",
        _markdown_table(
            ["", "labelled", "right", "rate", "95% interval"],
            [
                [f"{what} {name}", str(rate.rows), str(rate.right), f"{rate.share:.1%}", _interval(rate)]
                for what, rates in groups.items()
                for name, rate in rates.items()
            ],
        ),
    ]


def _interval(rate: Rate) -> str:
    return f"{rate.low:.1%} to {rate.high:.1%}"


def _markdown_table(head: list[str], rows: list[list[str]]) -> str:
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [head, ["---"] * len(head), *rows])


def _size_category(rows: int) -> str:
    """The size category that the Hub uses for so many rows."""
    for limit, name in (
        (1_000, "n<1K"),
        (10_000, "1K<n<10K"),
        (100_000, "10K<n<100K"),
        (1_000_000, "100K<n<1M"),
        (10_000_000, "1M<n<10M"),
    ):
        if rows < limit:
            return name
    return "n>10M"

"""Prints a finished date, or the lineage of a row, in a terminal."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from configs.errors import InputError
from pipeline.report.control_characters import without_control_characters
from pipeline.report.evolution import evolution_lines
from pipeline.report.rightness import rightness_lines
from pipeline.report.summary import prices, size
from pipeline.store.dataset import DataSet
from pipeline.store.lineage import lineage
from pipeline.store.manifest import DomainFigures, EngineFigures, Manifest
from pipeline.store.run_record import why_unfinished
from stages.sources.documents import UNREADABLE_REASONS


def print_date_or_row(data: DataSet, what: str, *, as_json: bool) -> int:
    """Prints a date, or the lineage of a row.

    Args:
        data: the data set.
        what: a finished date, YYYY-MM-DD, or the id of a row: its first 8 characters or more.
        as_json: print one line of JSON.

    Returns the exit code. Raises InputError if there is no such date or row.
    """
    is_date = len(what) == 10 and what[4] == what[7] == "-"
    manifest = data.manifest(what) if is_date else None
    if manifest is None and what in data.started():
        raise InputError(why_unfinished(data.run_folder(what)))
    if as_json:
        content = manifest.to_dict() if manifest else lineage(data, what)
        print(json.dumps(content, ensure_ascii=False, default=str))
    elif manifest:
        print_manifest(manifest, str(data.root), [])
    else:
        print_lineage(lineage(data, what))
    return 0


def print_lineage(trace: dict[str, Any]) -> None:
    """Prints the lineage of a row, one field a line. `trace` is that of `pipeline.store.lineage.lineage`."""
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False)

    def print_lines(values: dict[str, Any], indent: int) -> None:
        for key, item in values.items():
            if isinstance(item, dict):
                console.print(Text(f"{' ' * indent}{key}", style="bold"))
                print_lines(item, indent + 2)
            else:
                text = "\n".join(f"{m['role']}: {m['content']}" for m in item) if key == "messages" else str(item)
                console.print(Text(without_control_characters(f"{' ' * indent}{key}: {text}")), soft_wrap=True)

    print_lines(trace, 0)


def print_manifest(manifest: Manifest, root: str, samples: Sequence[dict[str, Any]]) -> None:
    """Prints the last screen of a run.

    Args:
        manifest: of the date.
        root: the data set's folder, as it is printed before the names of files.
        samples: published rows to print in full.
    """
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.panel import Panel
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    table = Table(
        title=f"{manifest.date}  run {manifest.run_id}",
        title_justify="left",
        box=SIMPLE,
        show_edge=False,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    for name in ("domain", "generated", "accepted", "rejected", "text", "Parquet", "tok/s", manifest.currency):
        table.add_column(name, justify="left" if name == "domain" else "right", no_wrap=True)
    for name, domain in manifest.domains.items():
        table.add_row(name, *_cells(domain))
    console.print(table)
    for name, domain in manifest.domains.items():
        for line in _domain_lines(name, domain):
            console.print(Text(line))
    if manifest.engines:
        console.print(Text(_engines_line(manifest.engines)))
    times = ", ".join(f"{name} {seconds:.1f}" for name, seconds in manifest.seconds.items())
    console.print(Text(f"seconds   {times}"))
    if line := prices(manifest):
        console.print(Text(f"cost      {line}"))
    unread = [f"{reason} {rows}" for reason, rows in manifest.seeds_passed_over.items() if reason in UNREADABLE_REASONS]
    if unread:
        console.print(Text(f"unread    rows and files of the sources: {', '.join(unread)}"))
    for adapter in manifest.adapters:
        state = "used" if adapter.used else "not used"
        console.print(Text(f"adapter   {adapter.domain}: {state}; {adapter.reason}"))
    data = DataSet.open(root)
    for line in evolution_lines(data, manifest.date, manifest.champions):
        console.print(Text(without_control_characters(line)), soft_wrap=True)
    for line in rightness_lines(data, manifest):
        console.print(Text(line), soft_wrap=True)
    for note in manifest.notes:
        console.print(Text(without_control_characters(f"note      {note}")))
    for alarm in manifest.alarms:
        console.print(Text(f"alarm     {alarm}", style="yellow"))
    for shard in manifest.shards:
        line = f"shard     {root}/{shard.file}  {shard.rows} rows, {size(shard.bytes)}"
        console.print(Text(line), soft_wrap=True)
    if (page := Path(root, "runs", manifest.date, "report.html")).exists():
        console.print(Text(f"report    {page}"), soft_wrap=True)
    for row in samples:
        scores = "  ".join(f"{score['filter']} {score['score']:.2f}" for score in row["scores"])
        title = f"{row['domain']} · {row['task']} · {row['language']} · {row['source']} · {row['id'][:12]}"
        text = Text(without_control_characters(row["messages"][-1]["content"]))
        console.print(Panel(text, title=Text(without_control_characters(title)), subtitle=scores, title_align="left"))


def _cells(domain: DomainFigures) -> list[str]:
    return [
        str(domain.generated),
        f"{domain.accepted} ({domain.accepted / max(domain.generated, 1):.0%})",
        str(sum(domain.rejected.values())),
        size(domain.text_bytes),
        size(domain.shard_bytes),
        f"{domain.tokens_per_second:.0f}",
        f"{domain.cost:.4f}",
    ]


def _domain_lines(name: str, domain: DomainFigures) -> Iterator[str]:
    reasons = [f"{reason} {count}" for reason, count in domain.rejected.items()]
    reasons += [f"quarantined {domain.quarantined}"] if domain.quarantined else []
    yield f"rejected  {name}: {', '.join(reasons) or 'none'}"
    if findings := ", ".join(f"{what} {count}" for what, count in domain.findings.items()):
        yield f"found     {name}: {findings}"
    if domain.accepted and (diversity := domain.diversity):
        yield (
            f"diversity {name}: compression ratio {diversity.compression_ratio:.2f}, "
            f"{diversity.distinct_3:.0%} distinct 3-grams, {diversity.shared_8:.1%} shared 8-grams"
        )


def _engines_line(engines: EngineFigures) -> str:
    line = f"engines   {len(engines.each)}: {engines.tokens_per_second:.0f} tok/s, waiting {engines.waiting:.0%}"
    if engines.gpu_utilisation is not None:
        line += f", GPU {engines.gpu_utilisation:.0%}, {engines.gpu_watts:.0f} W"
    if engines.sm_activity is not None:
        line += f", multiprocessors {engines.sm_activity:.0%}"
    if engines.kv_usage is not None:
        line += f", KV cache {engines.kv_usage:.0%}"
    return f"{line}, pre-emptions {engines.preemptions}, restarts {engines.restarts}"

"""Show what a run would generate from a few passages, and what every filter says about it.

Nothing is written. Rows appear as they are ready. All filters are asked, also those after the first that drops the row.
Duplicates are not looked for.
"""

import json
import logging
import warnings
from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.command_line.flags import ConfigFlag, JsonFlag, OutFlag, OverridesFlag, load_config
from pipeline.command_line.output import print_notice

if TYPE_CHECKING:
    from pipeline.run.preview import PreviewRow

HELP_GROUP = "Data engine"
PASSAGE_END_CHARS = 400
app = typer.Typer()


@app.command()
def preview(
    config: ConfigFlag,
    overrides: OverridesFlag = None,
    out: OutFlag = None,
    as_json: JsonFlag = False,
    rows: Annotated[int, typer.Option("--rows", "-n", metavar="N", min=1, help="How many rows.")] = 5,
    task: Annotated[
        str | None, typer.Option("--task", metavar="TASK", help="Use this task for all rows; else as a run would.")
    ] = None,
    domain: Annotated[
        str | None, typer.Option("--domain", metavar="DOMAIN", help="Use passages of this domain; else of all in turn.")
    ] = None,
    date: Annotated[
        str, typer.Option("--date", metavar="DAY", help="Take the passages that a run of this date would.")
    ] = "today",
) -> None:
    """Prints a few rows as a run would create them, with the verdicts of all filters."""
    from pipeline.run.dates import day

    loaded, previewed_date = load_config(config, overrides, {"out": out}), day(date, "--date", datetime.now(UTC))
    logging.getLogger().setLevel(logging.ERROR)  # advice of libraries for their own developers
    warnings.filterwarnings("ignore", category=FutureWarning)
    from pipeline.run.preview import preview_rows

    kept = shown_rows = 0
    reasons: Counter[str] = Counter()
    for row in preview_rows(loaded, previewed_date, rows, task=task, domain=domain, notice=print_notice):
        shown_rows += 1
        kept += row.dropped_by is None
        reasons.update([f"{row.dropped_by}: {row.reason}"] if row.dropped_by else [])
        if as_json:
            print(json.dumps(row.to_json(), ensure_ascii=False, default=str), flush=True)
        else:
            _print_row(row)
    print_notice(f"{kept} of {shown_rows} rows pass all filters; nothing was written")
    if reasons and not kept:
        ((reason, count),) = reasons.most_common(1)
        print_notice(f"a run with this configuration may make no rows: {count} of {shown_rows} dropped by {reason}")


def _print_row(row: "PreviewRow") -> None:
    from rich.console import Console
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    from pipeline.report.control_characters import without_control_characters

    console = Console(highlight=False)
    seed, generated = row.seed, row.generated
    passage_end = ("…" if len(seed.text) > PASSAGE_END_CHARS else "") + seed.text[-PASSAGE_END_CHARS:]
    title = f"{row.number}  {seed.domain} · {generated.task} · {seed.language} · {seed.source} {seed.location}"
    console.rule(Text(without_control_characters(title)), align="left")
    parts = {"passage": passage_end, "prompt": generated.prompt.instruction, "answer": generated.completion.text}
    if generated.candidate is not None:  # what the task makes of the answer
        turns = [
            (turn["role"], turn["content"].replace(seed.text, "[passage]")) for turn in generated.candidate.messages
        ]
        parts["row"] = "\n".join(f"{role}: {text}" for role, text in turns)
    for name, text in parts.items():
        console.print(Text(name, style="bold"))
        console.print(Padding(Text(without_control_characters(text)), (0, 0, 1, 2)))
    if row.filters:
        table = Table("filter", "verdict", "score", "detail")
        for verdict in row.filters:
            score = "" if verdict.score is None else f"{verdict.score:.3f}"
            detail = "; ".join(filter(None, [verdict.detail, ", ".join(verdict.findings)]))
            style = None if verdict.keeps else "red"
            table.add_row(
                verdict.filter,
                Text(without_control_characters(verdict.verdict)),
                score,
                Text(without_control_characters(detail)),
                style=style,
            )
        console.print(table)
    result = "kept" if row.dropped_by is None else f"dropped by {row.dropped_by}: {row.reason}"
    if generated.parsed.detail:
        result += f" ({generated.parsed.detail})"
    figures = [
        f"{row.seconds:.1f} s",
        f"{generated.prompt_tokens} prompt tokens",
        f"{generated.output_tokens} output tokens",
        *([f"{generated.attempts} attempts"] if generated.attempts > 1 else []),
    ]
    console.print(Text(without_control_characters(f"{result}  ·  {', '.join(figures)}")), soft_wrap=True)
    console.print()

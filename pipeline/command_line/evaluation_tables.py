"""The result of `gristmill evaluate` as tables."""

from pathlib import Path
from typing import Any

LOOK: dict[str, Any] = {"title_justify": "left", "padding": (0, 1, 0, 0)}  # six columns fit a terminal of 80


def print_evaluation(result: dict[str, Any], out: str) -> None:
    """The tables of perplexity, retrieval and tasks, a row a group of models."""
    from rich.console import Console
    from rich.table import Column, Table
    from rich.text import Text

    console = Console(highlight=False)
    groups = result["groups"]
    table = Table(Column("text", no_wrap=True), Column("model", no_wrap=True), title="held-out text", **LOOK)
    for name in ("perplexity", "bits a byte", "to dense", "unigram"):
        table.add_column(name, justify="right")
    for place, text in enumerate(result["texts"]):
        if place:
            table.add_section()
        for group in groups:
            row = group["perplexity"][text]
            dense = "to_dense" in row and group["name"] != group["dense_twin"]
            table.add_row(
                text,
                _named(group),
                _figure(row["perplexity"], row["perplexity_se"], 1),
                _figure(row["bits_per_byte"], row["bits_per_byte_se"], 3),
                _figure(row["to_dense"], row["to_dense_se"], 3) if dense else "–",
                f"{row['unigram_perplexity']:.1f}" if "unigram_perplexity" in row else "–",
            )
    console.print(table)
    if groups[0]["retrieval"]:
        table = Table("length", "model", title="passkey retrieval", **LOOK)
        for name in ("keys given back", "share", "nats a token"):
            table.add_column(name, justify="right")
        for place, retrieval in enumerate(groups[0]["retrieval"]):
            for group in groups:
                row = group["retrieval"][place]
                share = _figure(row["share"], row["share_se"], 2)
                count = f"{row['found']} of {row['trials']}"
                table.add_row(str(retrieval["length"]), _named(group), count, share, f"{row['nats']:.2f}")
        console.print(table)
        if not any(row["found"] for group in groups for row in group["retrieval"]):
            console.print(Text("No model gives any key back: none of them has learnt to retrieve."))
    if result["tasks"]:
        table = Table(
            Column("task", no_wrap=True),
            Column("model", no_wrap=True),
            title="lm-eval, no examples",
            **LOOK,
        )
        for name in ("accuracy", "per byte", "chance", "majority", "asked"):
            table.add_column(name, justify="right")
        for task, levels_of_task in result["tasks"].items():
            for group in groups:
                row = group["tasks"][task]
                figures = [_figure(row[key], row[f"{key}_se"], 2) for key in ("accuracy", "accuracy_per_byte")]
                levels = [f"{levels_of_task[key]:.2f}" for key in ("chance", "majority")]
                table.add_row(task, _named(group), *figures, *levels, str(levels_of_task["questions"]))
        console.print(table)
    for row in result["models"]:
        size = f"{row['parameters'] / 1e6:.2f} M parameters, windows of {row['window']} tokens by {row['stride']}"
        console.print(Text(f"model     {row['model']}  {row['attention']}, {size}"), soft_wrap=True)
    for name, text in result["texts"].items():
        about = f"{text['documents']} documents, {text['bytes'] / 1000:.0f} kB of {', '.join(text['sources'])}"
        console.print(Text(f"text      {name}: {about}"), soft_wrap=True)
    for name in ("evaluation.json", "evaluation.png"):
        console.print(Text(f"written   {Path(out) / name}"), soft_wrap=True)


def _named(group: dict[str, Any]) -> str:
    count = len(group["models"])
    return group["name"] if count == 1 else f"{group['name']} ×{count}"


def _figure(value: float, error: float | None, digits: int) -> str:
    return f"{value:.{digits}f}" if error is None else f"{value:.{digits}f}±{error:.{digits}f}"

"""The figures of an evaluation as a picture: perplexity by text, retrieval over length."""

from pathlib import Path
from typing import Any


def draw(result: dict[str, Any], picture: Path) -> None:
    """Bars with the error over seeds for each group, on a log scale with the unigram baseline; lines of retrieval."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    groups = result["groups"]
    retrieval = bool(groups[0]["retrieval"])
    names = list(groups[0]["perplexity"])
    width = 3 + max(len(names), 2) * (0.8 + 0.35 * len(groups))
    sizes = [width, 5.5] if retrieval else [width]
    figure, axes = pyplot.subplots(
        1, len(sizes), figsize=(sum(sizes), 4.2), width_ratios=sizes, squeeze=False, layout="constrained"
    )
    _bars(axes[0][0], groups, names)
    if retrieval:
        _lines(axes[0][1], groups)
    for axis in axes[0]:
        axis.grid(alpha=0.3, axis="y")
        axis.set_axisbelow(True)
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(picture, dpi=130)
    pyplot.close(figure)


def _bars(axis: Any, groups: list[dict[str, Any]], names: list[str]) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    each = 0.8 / len(groups)
    for number, group in enumerate(groups):
        rows = [group["perplexity"][name] for name in names]
        places = [place + (number - (len(groups) - 1) / 2) * each for place in range(len(names))]
        errors = [row["perplexity_se"] or 0.0 for row in rows]
        values = [row["perplexity"] for row in rows]
        label = f"{group['name']} ({len(group['models'])})" if len(group["models"]) > 1 else group["name"]
        bars = axis.bar(places, values, each * 0.92, yerr=errors, capsize=2, label=label, color=f"C{number}")
        axis.bar_label(bars, labels=[_short(value) for value in values], padding=3, fontsize=8)
        for place, row in zip(places, rows, strict=True):
            if "unigram_perplexity" in row:
                of, half = row["unigram_perplexity"], each * 0.46
                first = number == 0 and row is next(r for r in rows if "unigram_perplexity" in r)
                label = "unigram" if first else None
                axis.hlines(of, place - half, place + half, color="0.35", ls="--", lw=1.2, label=label)
    axis.set_yscale("log")
    seen = [row[key] for g in groups for row in g["perplexity"].values() for key in row if key.endswith("perplexity")]
    axis.set_ylim(max(min(seen) / 3, 1), max(seen) * 2.2)
    axis.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axis.yaxis.set_minor_formatter(NullFormatter())
    axis.set_xticks(range(len(names)), [name.replace(", ", "\n") for name in names])
    axis.set(ylabel="perplexity (log scale)", title="Held-out text")
    axis.legend(loc="upper left", ncols=len(groups) + 1, fontsize=8, frameon=False)


def _lines(axis: Any, groups: list[dict[str, Any]]) -> None:
    for number, group in enumerate(groups):
        rows = group["retrieval"]
        shift = 1 + 0.03 * (number - (len(groups) - 1) / 2)  # lines of equal values stay apart
        axis.errorbar(
            [row["length"] * shift for row in rows],
            [row["share"] for row in rows],
            [row["share_se"] or 0.0 for row in rows],
            fmt="o-", ms=4, capsize=2, label=group["name"], color=f"C{number}",
        )  # fmt: skip
    lengths = [row["length"] for row in groups[0]["retrieval"]]
    axis.set_xscale("log", base=2)
    axis.set_xticks(lengths, [f"{length:,}" for length in lengths])
    axis.minorticks_off()
    axis.set_ylim(-0.04, 1.04)
    axis.set(xlabel="length, tokens", ylabel="keys given back whole", title="Passkey retrieval")
    axis.legend(fontsize=8, frameon=False)


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"

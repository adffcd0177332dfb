"""An evaluation as a picture: perplexity of each text, retrieval over length."""

from pathlib import Path
from typing import Any


def draw_evaluation(evaluation: dict[str, Any], picture: Path) -> None:
    """Draws each group's perplexities as bars with their errors over seeds, and its retrieval as a line.

    Args:
        evaluation: what evaluation.json contains.
        picture: the file to write, a PNG whatever its name.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    groups = evaluation["groups"]
    has_retrieval = bool(groups[0]["retrieval"])
    texts = list(groups[0]["perplexity"])
    width = 3 + max(len(texts), 2) * (0.8 + 0.35 * len(groups))
    widths = [width, 5.5] if has_retrieval else [width]
    figure, axes = pyplot.subplots(
        1, len(widths), figsize=(sum(widths), 4.2), width_ratios=widths, squeeze=False, layout="constrained"
    )
    _draw_perplexity(axes[0][0], groups, texts)
    if has_retrieval:
        _draw_retrieval(axes[0][1], groups)
    for axis in axes[0]:
        axis.grid(alpha=0.3, axis="y")
        axis.set_axisbelow(True)
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(picture, dpi=130, format="png")
    pyplot.close(figure)


def _draw_perplexity(axis: Any, groups: list[dict[str, Any]], texts: list[str]) -> None:
    """Bars on a log scale, with the unigram baseline as a dashed line across each."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    bar_width = 0.8 / len(groups)
    drawn: list[float] = []
    unigram_label: str | None = "unigram"  # once in the legend
    for number, group in enumerate(groups):
        scores = [group["perplexity"][text] for text in texts]
        places = [place + (number - (len(groups) - 1) / 2) * bar_width for place in range(len(texts))]
        values = [score["perplexity"] for score in scores]
        errors = [0.0 if score["perplexity_se"] is None else score["perplexity_se"] for score in scores]
        seeds = len(group["models"])
        label = f"{group['name']} ({seeds})" if seeds > 1 else group["name"]
        bars = axis.bar(places, values, bar_width * 0.92, yerr=errors, capsize=2, label=label, color=f"C{number}")
        axis.bar_label(bars, labels=[_short(value) for value in values], padding=3, fontsize=8)
        drawn += values
        for place, score in zip(places, scores, strict=True):
            if "unigram_perplexity" in score:
                value, half = score["unigram_perplexity"], bar_width * 0.46
                axis.hlines(value, place - half, place + half, color="0.35", ls="--", lw=1.2, label=unigram_label)
                unigram_label = None
                drawn.append(value)
    axis.set_yscale("log")
    axis.set_ylim(max(min(drawn) / 3, 1), max(drawn) * 2.2)
    axis.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axis.yaxis.set_minor_formatter(NullFormatter())
    axis.set_xticks(range(len(texts)), [text.replace(", ", "\n") for text in texts])
    axis.set(ylabel="perplexity (log scale)", title="Held-out text")
    axis.legend(loc="upper left", ncols=len(groups) + 1, fontsize=8, frameon=False)


def _draw_retrieval(axis: Any, groups: list[dict[str, Any]]) -> None:
    for number, group in enumerate(groups):
        rows = group["retrieval"]
        shift = 1 + 0.03 * (number - (len(groups) - 1) / 2)  # so that equal lines do not cover each other
        axis.errorbar(
            [row["length"] * shift for row in rows],
            [row["share"] for row in rows],
            [row["share_se"] for row in rows],
            fmt="o-",
            ms=4,
            capsize=2,
            label=group["name"],
            color=f"C{number}",
        )
    lengths = [row["length"] for row in groups[0]["retrieval"]]
    axis.set_xscale("log", base=2)
    axis.set_xticks(lengths, [f"{length:,}" for length in lengths])
    axis.minorticks_off()
    axis.set_ylim(-0.04, 1.04)
    axis.set(xlabel="length, tokens", ylabel="share of keys found", title="Passkey retrieval")
    axis.legend(fontsize=8, frameon=False)


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"

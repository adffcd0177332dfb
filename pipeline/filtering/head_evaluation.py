"""`gristmill filter evaluate`: how well quality heads judge sources they have not seen, as a table and two pictures."""

import json
import math
from pathlib import Path
from typing import Any

from configs.errors import InputError
from configs.schema import Config
from filters.heads.evaluation import BASELINES
from filters.heads.training import HeadTrainingOptions
from pipeline.filtering.head_training import print_report, trainer_of
from stages.storage.atomic import write_text

NAMES = {"auc": "AUC", "f1": "F1", "spearman": "ρ", "caught": "caught"}


def evaluate(config: Config, out: str, options: HeadTrainingOptions, *, as_json: bool) -> int:
    """Trains heads that leave out sources and corruptions, and measures them on these.

    Writes evaluation.json, evaluation.md, auc.png and reliability.png to the folder `out`.

    Nothing of it is kept for use. Raises as `head_training.train`, and InputError for a folder that cannot be written.
    """
    folder = Path(out)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--to: cannot write {folder} ({error.strerror}); name a folder that you may write") from None
    trainer, _ = trainer_of(config, options)
    held_out, report = trainer.evaluate()
    evaluation = {
        "encoder": trainer.encoder.card.name,
        "tuned": options.tune,
        "rows": len(trainer.rows),
        "report": report,
        "calibration": trainer.calibration(held_out),
    }
    write_text(folder / "evaluation.json", json.dumps(evaluation, indent=1, ensure_ascii=False) + "\n")
    write_text(folder / "evaluation.md", markdown(evaluation))
    draw(evaluation, folder)
    if as_json:
        print(json.dumps(evaluation, ensure_ascii=False))
    else:
        print_report(report, str(folder))
    return 0


def markdown(evaluation: dict[str, Any]) -> str:
    """The report and the calibration as tables."""
    titles = [*NAMES.values(), *(f"AUC of {name} alone" for name in BASELINES)]
    tuned = "fine-tuned" if evaluation["tuned"] else "frozen"
    lines = [
        f"# Quality head on {evaluation['encoder']}, {tuned}, {evaluation['rows']} texts",
        "",
        "| split | group | rows | " + " | ".join(titles) + " |",
        "|---|---|--:|" + "--:|" * len(titles),
    ]
    for row in evaluation["report"]:
        values = [row[name] for name in (*NAMES, *(f"auc_{name}" for name in BASELINES))]
        shown = " | ".join("–" if value is None else f"{value:.3f}" for value in values)
        lines.append(f"| {row['split']} | {row['group']} | {row['rows']} | {shown} |")
    lines += ["", "| group | rows | calibration error before | after |", "|---|--:|--:|--:|"]
    lines += [
        f"| {c['group']} | {c['rows']} | {c['ece_before']:.3f} | {c['ece_after']:.3f} |"
        for c in evaluation["calibration"]
    ]
    return "\n".join(lines) + "\n"


def draw(evaluation: dict[str, Any], folder: Path) -> None:
    """auc.png: each domain and language, held out, beside the baselines; reliability.png: before and after scaling."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows = [r for r in evaluation["report"] if r["split"] == "held_out" and r["group"].startswith("domain, language")]
    figure, axis = pyplot.subplots(figsize=(7, 1 + 0.55 * len(rows)), layout="constrained")
    places = range(len(rows))
    axis.barh(places, [math.nan if row["auc"] is None else row["auc"] for row in rows], 0.5, color="C0", label="head")
    for name, mark in zip(BASELINES, "ox^D", strict=True):
        axis.plot([row[f"auc_{name}"] for row in rows], places, mark, color="0.25", ms=5, ls="", label=f"{name} alone")
    axis.set_yticks(places, [row["group"].removeprefix("domain, language ") for row in rows])
    axis.invert_yaxis()
    axis.axvline(0.5, color="0.6", lw=1)
    axis.set(xlim=(0.0, 1.0), xlabel="AUC on sources left out")
    axis.legend(fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(folder / "auc.png", dpi=130)
    pyplot.close(figure)
    curves = evaluation["calibration"]
    if not curves:
        return
    figure, axes = pyplot.subplots(
        1, len(curves), figsize=(2.6 * len(curves) + 0.6, 3.1), sharey=True, squeeze=False, layout="constrained"
    )
    for panel, curve in zip(axes[0], curves, strict=True):
        panel.plot([0, 1], [0, 1], color="0.7", lw=1)
        for key, color, mark in (("before", "0.45", "s"), ("after", "C0", "o")):
            x, y, _ = zip(*curve[key], strict=True)
            panel.plot(x, y, marker=mark, color=color, ms=4, lw=1.2, label=f"{key} ({curve[f'ece_{key}']:.3f})")
        panel.set(title=curve["group"], xlim=(0, 1), ylim=(0, 1), xlabel="probability said")
        panel.legend(fontsize=7, frameon=False, loc="upper left")
        panel.spines[["top", "right"]].set_visible(False)
    axes[0][0].set_ylabel("share that is good")
    figure.savefig(folder / "reliability.png", dpi=130)
    pyplot.close(figure)

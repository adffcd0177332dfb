"""`gristmill filter evaluate grounded`: a verifier on labelled answers, and on sources and kinds left out."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from configs.errors import InputError
from configs.schema import Config
from filters.heads.grounded.evaluation import label_report, label_scores, limit_of, pair_report
from filters.heads.grounded.labels import read_grounded_labels
from filters.heads.grounded.verifier_card import JUDGE, OWN, judge_scale, located
from pipeline.filtering.grounded_training import print_rows, trained, training_data
from stages.cores import usable_cores
from stages.storage.atomic import write_text


def evaluate_grounded(
    config: Config,
    to: str,
    head: str | None,
    data: str | None,
    label_files: Sequence[str],
    *,
    judge: str = "",
    tune: bool,
    as_json: bool,
) -> int:
    """Writes evaluation.json and evaluation.md. Raises ConfigError and InputError.

    Args:
        config: its sources are read with `tune` only.
        to: a folder.
        head: the verifier's folder, or a model's name; the shipped one if left out.
        data: a data set whose candidates are answers to train on, with `tune`.
        label_files: labelled answers.
        judge: a language model that is asked besides.
        tune: train again without each source of people's statements, and without each kind of pairs.
    """
    from model.encoder import open_verifier

    labels = [label for path in label_files for label in read_grounded_labels(path)]
    if not labels and not tune:
        raise InputError("filter evaluate grounded: nothing to measure; name --labels, or --tune for sources left out")
    folder = Path(to)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--to: cannot write {folder} ({error.strerror}); name a folder that you may write") from None
    evaluation: dict[str, Any] = {"labels": [], "left_out": []}
    if labels:
        model, adapter, card = located(head or "")
        verifier = open_verifier(model, adapter, usable_cores())
        if card is not None:
            card.check(verifier.card)
        scales, asked = dict(card.scales) if card else {}, None
        if judge:
            scales[JUDGE] = judge_scale(card, judge)
            asked = open_verifier(judge, "", usable_cores())
        scores = label_scores(verifier, labels, scales, asked)
        evaluation["labels"] = label_report(labels, scores)
        good = np.array([label.good for label in labels])
        evaluation["limits"] = {name: limit_of(scores[name], good) for name in (OWN, "combined")}
    if tune:
        evaluation["left_out"] = left_out_report(config, data, label_files)
    write_text(folder / "evaluation.json", json.dumps(evaluation, indent=1) + "\n")
    write_text(folder / "evaluation.md", markdown(evaluation))
    if as_json:
        print(json.dumps(evaluation))
    else:
        rows = [
            {"split": scorer, "group": row["group"], "rows": row["rows"], "auc": value}
            for row in evaluation["labels"]
            for scorer, value in row["auc"].items()
        ]
        print_rows([*rows, *evaluation["left_out"]], str(folder))
    return 0


def left_out_report(config: Config, data: str | None, label_files: Sequence[str]) -> list[dict[str, Any]]:
    """`pair_report` of each source that people wrote about, and of each kind, by a verifier trained without it."""
    quadruples, _ = training_data(config, data, label_files).split()
    rows: list[dict[str, Any]] = []
    for source in sorted({item.source for item in quadruples if item.human}):
        verifier = trained(config, [item for item in quadruples if item.source != source])
        rows += pair_report(verifier, [item for item in quadruples if item.source == source], f"without {source}")
    for kind in sorted({item.kind for item in quadruples if item.sure}):
        verifier = trained(config, [item for item in quadruples if item.kind != kind])
        rows += pair_report(verifier, [item for item in quadruples if item.kind == kind], f"without {kind}")[:1]
    return rows


def markdown(evaluation: dict[str, Any]) -> str:
    """The evaluation as tables."""
    lines = ["# Verifier", ""]
    if evaluation["labels"]:
        scorers = list(evaluation["labels"][0]["auc"])
        lines += [f"| group | rows | good | {' | '.join(scorers)} |", f"|---|--:|--:|{'--:|' * len(scorers)}"]
        for row in evaluation["labels"]:
            shown = " | ".join(f"{row['auc'][name]:.3f}" for name in scorers)
            lines.append(f"| {row['group']} | {row['rows']} | {row['good']} | {shown} |")
        lines += ["", "| score | limit |", "|---|--:|"]
        for name, limit in evaluation["limits"].items():
            lines.append(f"| {name} | {'–' if limit is None else f'{limit:.3f}'} |")
    if evaluation["left_out"]:
        lines += ["", "| left out | group | quadruples | AUC |", "|---|---|--:|--:|"]
        lines += [f"| {r['split']} | {r['group']} | {r['rows']} | {r['auc']:.3f} |" for r in evaluation["left_out"]]
    return "\n".join(lines) + "\n"

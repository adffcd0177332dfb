"""How many rows pass an hour, by the number of samples of a passage: generation, likelihood and filters, without Beam.

    python benchmarks/rightness/samples.py CONFIG PASSAGES OUT [SAMPLES …]

PASSAGES is a Parquet file of passages (a run's stages/seeds). For each number of samples the same passages are asked
about by CONFIG's tasks, in shards of `generate.shard_rows`; CONFIG's filters that need no encoder judge the answers,
and the best sample of each passage is kept. Prints passages, accepted rows by task, seconds of each part and accepted
rows an hour; writes the accepted rows of the last number to OUT as JSON lines, and all its candidates to
OUT.candidates.parquet, which benchmarks/selection.py reads.
"""

import json
import sys
import time
from collections import Counter
from dataclasses import asdict, replace
from itertools import groupby
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).parents[2]))

from configs.load import load
from configs.schema import Config
from filters.build import build_filters, filter_class, reads_embeddings
from model.backends import identify, open_generator
from stages.generate import Generate
from stages.ports import Filter, judged_by
from stages.record import CANDIDATE, Candidate, Seed
from stages.screen import judge_all

WITHOUT = ("contamination",)  # reads evaluation sets, which a machine without a network lacks


def judged(filters: list[tuple[str, Filter]], rows: list[Candidate]) -> list[Candidate]:
    """The rows that all filters keep, with their scores."""
    for name, judge in filters:
        asked = [row for row in rows if row.writes in judged_by(judge)]
        verdicts = dict(zip(map(id, asked), judge_all(judge, asked), strict=True))
        kept = []
        for row in rows:
            verdict = verdicts.get(id(row))
            if verdict is None:
                kept.append(row)
            elif not isinstance(verdict, Exception) and verdict.reason is None:
                score = [] if verdict.score is None else [{"filter": name, "score": verdict.score}]
                kept.append(replace(verdict.row or row, scores=[*row.scores, *score]))
        rows = kept
    return rows


def best(config: Config, rows: list[Candidate]) -> list[Candidate]:
    """The best sample of each passage, by the scores that `screen.prefer` names."""

    def rank(row: Candidate) -> float:
        scores = {score["filter"]: float(score["score"]) for score in row.scores}
        return next((scores[name] for name in config.screen.prefer if name in scores), 0.0)

    return [max(group, key=rank) for _, group in groupby(rows, key=lambda row: row.seed_id)]


def main(config_path: str, passages: str, out: str, *samples: str) -> None:
    seeds = [Seed(**row) for row in pq.read_table(passages).to_pylist()]
    for count in map(int, samples or ("1", "4", "8")):
        config = load(config_path, [f"generate.samples={count}"])
        card = identify(config.generator)
        config = config.model_copy(update={"generator": config.generator.model_copy(update={"backend": card.backend})})
        specs = [
            spec
            for spec in config.screen.filters
            if spec.name not in WITHOUT and not reads_embeddings(filter_class(spec.name, ""))
        ]
        filters = build_filters(specs)
        generator = open_generator(config.generator, card, config.generator.threads)
        body = Generate(config, card, lambda generator=generator: generator, lambda text, language: text)
        body.load()
        accepted: list[Candidate] = []
        candidates: list[Candidate] = []
        seconds = {"generate": 0.0, "screen": 0.0}
        for domain in config.domains:
            chosen = [seed for seed in seeds if seed.domain == domain]
            for start in range(0, len(chosen), config.generate.shard_rows):
                shard = chosen[start : start + config.generate.shard_rows]
                place = {seed.id: number for number, seed in enumerate(shard)}
                began = time.perf_counter()
                rows = [row.candidate for row in body.answer(domain, shard) if row.candidate is not None]
                rows.sort(key=lambda row: place[row.seed_id])
                seconds["generate"] += time.perf_counter() - began
                began = time.perf_counter()
                candidates += rows
                accepted += best(config, judged(filters, rows))
                seconds["screen"] += time.perf_counter() - began
        an_hour = len(accepted) / sum(seconds.values()) * 3600
        print(
            f"{count} samples: {len(seeds)} passages, {len(candidates)} candidates, {len(accepted)} accepted "
            f"{dict(Counter(row.task for row in accepted))}; "
            f"generate {seconds['generate']:.1f} s, screen {seconds['screen']:.1f} s; {an_hour:,.0f} accepted an hour",
            flush=True,
        )
        generator.close()
        text_of = {seed.id: seed.text for seed in seeds}
        with Path(out).open("w", encoding="utf-8") as stream:
            for row in accepted:
                line = {"passage": text_of[row.seed_id], "title": "", "task": row.task, "domain": row.domain}
                line |= {"scores": {score["filter"]: score["score"] for score in row.scores}}
                line |= {"user": row.messages[0]["content"], "assistant": row.messages[-1]["content"]}
                stream.write(json.dumps(line, ensure_ascii=False) + "\n")
        table = pa.Table.from_pylist([asdict(row) for row in candidates], CANDIDATE)
        pq.write_table(table, f"{out}.candidates.parquet", compression="zstd")


if __name__ == "__main__":
    main(*sys.argv[1:])

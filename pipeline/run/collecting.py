"""The stage that collects the answers of a date, from the files of all its rounds and waves."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial

from filters import build
from pipeline.run.stage_specs import Context, ShardInput, Stage, build_stage
from stages.evolve.collect import COLLECTED, CollectAnswers, JudgedFiles
from stages.storage.records import StageResult
from stages.storage.stage import StageName

CANDIDATES_PER_SHARD = 20_000


def judged_files(
    generated: StageResult, screened: StageResult, signed: StageResult, unique: StageResult
) -> Iterator[tuple[str, JudgedFiles]]:
    """For each shard of candidates that was not quarantined on its way: its domain, and the files of all stages."""
    signs, drops = iter(signed.records), iter(unique.records)
    for (domain, candidates), screen_record in zip(generated.kept_files, screened.records, strict=True):
        if screen_record.kept is None:
            continue
        drop = next(drops) if next(signs).kept is not None else None
        if drop is not None and drop.kept is not None:
            scores = screen_record.sides.get("scores")
            yield domain, JudgedFiles(candidates, scores, screen_record.rejects, drop.rejects)


def collect_answers(run: Context, judged: Mapping[str, Sequence[JudgedFiles]]) -> Stage:
    """`judged`: by domain, the files of each shard of candidates."""
    inputs = []
    for domain, shards in judged.items():
        start, rows = 0, 0
        for stop, shard in enumerate(shards, 1):
            rows += shard.candidates.rows
            if rows >= CANDIDATES_PER_SHARD or stop == len(shards):
                inputs.append(ShardInput({"files": shards[start:stop], "date": run.date}, rows, domain))
                start, rows = stop, 0
    body = CollectAnswers(partial(build.redact, run.config.screen.filters))
    return build_stage(run, StageName, body, COLLECTED, inputs, run.config_sections("screen"))

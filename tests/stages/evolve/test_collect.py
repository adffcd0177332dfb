"""Which answers a date keeps for training: all that were judged, of the passages that got several."""

import json

import pyarrow.parquet as pq

from stages.evolve.answer import CollectedAnswer
from stages.evolve.collect import COLLECTED, CollectAnswers, JudgedFiles
from stages.ports import KEEP, Verdict
from stages.record import CANDIDATE, reject_row
from stages.screen import Screen
from stages.storage.shard import ShardSpec
from stages.storage.writer import ShardWriter
from tests.factories.candidates import candidate

PROMPT = json.dumps([{"role": "user", "content": 'Ask "Ann"'}, {"role": "assistant", "content": "Ann says"}])


def masked(text, language):
    return text.replace("Ann", "[NAME]")


def judge(batch):
    verdicts = {"bad": Verdict("refusal"), "odd": Verdict(score=float("nan"))}  # a score that is none: the filter failed
    return [verdicts.get(row.answer.split()[0], KEEP) if row.answer else KEEP for row in batch]


def answer(passage, text, gain=0.0):
    scores = [{"filter": "gain", "score": gain}]
    row = candidate(text, seed_id=passage, id=f"{passage} {text}", scores=scores, prompt=PROMPT, answer=text)
    return row


def written(tmp_path, stage, schema, spec_rows, write):
    spec = ShardSpec(str(tmp_path), f"runs/{stage}", 0, 1, "f", len(spec_rows), "{}", "law")
    out = ShardWriter(spec, schema)
    write(spec, out)
    return out.commit()


def collected(tmp_path, rows, duplicates=()):
    """The rows that are kept, by id, after a screen and a dedup of these candidates."""

    def write(spec, out):
        out.rows_in = len(rows)
        out.keep_rows(rows)

    generated = written(tmp_path, "generate", CANDIDATE, rows, write)
    screen = Screen(lambda: [("odd", judge)], ("gain",), masked, keep_scores=True)
    screen.load()
    payload = {"input": generated.kept}
    screened = written(
        tmp_path,
        "screen",
        CANDIDATE,
        rows,
        lambda spec, out: screen.process(spec._replace(number=1, payload=json.dumps(payload)), out),
    )

    def drop(spec, out):
        out.rows_in = len(duplicates)
        for row in rows:
            if row.id in duplicates:
                out.reject([reject_row(row, "dedup", "near_duplicate", "")])

    dropped = written(tmp_path, "dedup", CANDIDATE, duplicates, drop)
    files = JudgedFiles(generated.kept, screened.sides.get("scores"), screened.rejects, dropped.rejects)
    body = CollectAnswers(masked)
    payload = json.dumps({"files": [files], "date": "2026-01-02"})
    record = written(
        tmp_path, "answers", COLLECTED, rows, lambda spec, out: body.process(spec._replace(payload=payload), out)
    )
    found = [CollectedAnswer(**row) for row in pq.read_table(tmp_path / record.kept.file).to_pylist()]
    return {row.id: row for row in found}


def test_accepted_and_rejected_answers_are_kept_with_reason_and_score(tmp_path):
    rows = [answer("a", "one", 1), answer("a", "two", 2), answer("a", "bad three", 9), answer("a", "odd four")]
    found = collected(tmp_path, rows)
    assert {row.id: (row.accepted, row.reason, row.score) for row in found.values()} == {
        "a one": (True, "", 1.0),  # another sample was published in its place
        "a two": (True, "", 2.0),
        "a bad three": (False, "refusal", 0.0),
    }  # a filter failed on the fourth: nobody knows
    assert {(row.domain, row.date) for row in found.values()} == {("law", "2026-01-02")}


def test_passages_with_one_answer_are_left_out(tmp_path):
    rows = [answer("a", "one"), answer("b", "bad two"), answer("c", "three"), answer("c", "bad four")]
    assert collected(tmp_path, rows).keys() == {"c three", "c bad four"}


def test_an_edit_that_was_known_without_the_generator_is_no_answer(tmp_path):
    rows = [answer("a", ""), answer("a", "one"), answer("b", ""), answer("b", "two"), answer("b", "three")]
    assert collected(tmp_path, rows).keys() == {"b two", "b three"}


def test_a_duplicate_is_accepted_but_named(tmp_path):
    found = collected(tmp_path, [answer("a", "one", 1), answer("a", "two", 2)], duplicates=["a two"])
    assert (found["a two"].accepted, found["a two"].reason) == (True, "near_duplicate")
    assert (found["a one"].accepted, found["a one"].reason) == (True, "")


def test_personal_data_is_masked_in_prompts_and_answers(tmp_path):
    found = collected(tmp_path, [answer("a", "Ann one"), answer("a", "bad Ann")])
    assert {row.answer for row in found.values()} == {"[NAME] one", "bad [NAME]"}
    for row in found.values():
        assert [turn["content"] for turn in json.loads(row.prompt)] == ['Ask "[NAME]"', "[NAME] says"]

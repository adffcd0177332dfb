"""Students of arms: paired halves, budgets spent to the byte, and figures that copies do not improve."""

import json
from collections import defaultdict
from dataclasses import replace

import pyarrow.parquet as pq
import pytest

from stages.evolve.answer import ProbeAnswer, arrow_schema
from stages.evolve.students import STUDENT, TrainStudents, draw_rows, random_half, train_students
from stages.record import SEED, Seed
from tests.factories.shards import WriteRows, commit_shard


def seed(number, text, domain="law"):
    location = f"case {number}"
    return Seed.create(text, title="", source="cases", location=location, licence="", language="en", domain=domain)


def answer(passage, text, generator="champion", **more):
    values = {"accepted": True, "reason": "", "copied": 0.1, "rightness": 1.0, "hidden": True, "tokens": 10}
    return ProbeAnswer(
        generator, passage.domain, passage.id, passage.document_id, passage.source, "explain", text, text,
        **values | more,
    )  # fmt: skip


def sentence(number):
    return f"The tenant of house {number} gave notice in writing {number} weeks before the lease ended."


PASSAGES = [seed(number, sentence(number)) for number in range(12)]
CORE = [seed(f"core {number}", f"In case {number} the court awarded {number}00 euros.") for number in range(3)]
HELD_OUT = [seed(f"held out {number // 2}", sentence(50 + number)) for number in range(6)]  # two passages a document


def write(generator, **more):
    rows = [answer(p, f"{generator} says of {n}: notice is given.", generator, **more) for n, p in enumerate(PASSAGES)]
    return {generator: rows}


def by_budget(arms, ids):
    drawn = defaultdict(dict)
    for generator, budget, texts in draw_rows(arms, ids):
        drawn[budget][generator] = texts
    return drawn


def test_halves_are_random_and_depend_on_ids_and_salt_alone():
    half = random_half(PASSAGES, "2026-11-21 law 0")
    assert half == random_half(PASSAGES[::-1], "2026-11-21 law 0")
    assert len(half) == 6
    assert len({tuple(p.id for p in random_half(PASSAGES, str(draw))) for draw in range(8)}) == 8


def test_equal_bytes_of_accepted_text_and_each_arm_in_the_same_order():
    long, short = write("champion", tokens=3), write("challenger", tokens=9)
    short["challenger"] = [replace(row, text=row.text[:20]) for row in short["challenger"]]
    ids = [passage.id for passage in random_half(PASSAGES, "")]
    drawn = by_budget(long | short, ids)
    sizes = {generator: sum(map(len, texts)) for generator, texts in drawn["tokens"].items()}
    assert sizes == {"champion": 120, "challenger": 120}  # half of the passages, 20 characters each
    assert "".join(drawn["tokens"]["champion"]).startswith(next(
        row.text for row in long["champion"] if row.seed_id == ids[0]
    ))  # fmt: skip


def test_equal_cost_gives_the_arm_that_is_accepted_more_often_more_text():
    often, seldom = write("challenger"), write("champion")
    seldom["champion"][::2] = [replace(row, accepted=False) for row in seldom["champion"][::2]]
    drawn = by_budget(often | seldom, [passage.id for passage in PASSAGES])
    assert [len(drawn["cost"][generator]) for generator in ("challenger", "champion")] == [12, 6]
    assert len(drawn["tokens"]["challenger"]) == 6


def test_a_dearer_arm_has_fewer_rows_at_equal_cost_and_its_last_one_is_cut():
    cheap, dear = write("champion", tokens=10), write("challenger", tokens=16)
    drawn = by_budget(cheap | dear, [passage.id for passage in PASSAGES])
    assert len(drawn["cost"]["champion"]) == 12
    cut, whole = drawn["cost"]["challenger"][-1], dear["challenger"][7].text
    assert len(drawn["cost"]["challenger"]) == 8  # 120 tokens pay for seven and a half
    assert cut == whole[: len(whole) // 2]


def test_characters_are_not_cut_apart():
    one, other = write("champion"), write("challenger")
    one["champion"] = [replace(row, text="é" * 5) for row in one["champion"]]
    other["challenger"] = [replace(row, text="x") for row in other["challenger"]]
    drawn = by_budget(one | other, [PASSAGES[0].id])
    assert drawn["tokens"] == {"champion": [], "challenger": ["x"]}


@pytest.mark.parametrize("empty", ["no answers", "none accepted"])
def test_an_arm_without_rows_leaves_nobody_any(empty):
    rows = [] if empty == "no answers" else write("challenger", accepted=False)["challenger"]
    drawn = by_budget(write("champion") | {"challenger": rows}, [passage.id for passage in PASSAGES])
    assert drawn["tokens"] == {"champion": [], "challenger": []}


def figures(arms, draws=(0, 1, 2)):
    sums = defaultdict(float)
    for row in train_students(arms, PASSAGES, CORE, HELD_OUT, draws=draws, salt="2026-11-21"):
        sums[row.generator, row.budget] += row.bits / row.bytes
    return sums


def test_copies_of_the_passages_teach_less_than_fresh_text():
    fresh = {"challenger": [answer(p, sentence(80 + n) + " " * (n < 10), "challenger") for n, p in enumerate(PASSAGES)]}
    copies = {"champion": [answer(p, p.text, "champion") for p in PASSAGES]}
    sums = figures(fresh | copies)
    assert sums["challenger", "tokens"] < sums["champion", "tokens"]


def test_figures_are_sums_over_the_passages_of_a_document_and_do_not_depend_on_order():
    arms = write("champion") | write("base")
    rows = train_students(arms, PASSAGES, CORE, HELD_OUT, draws=[4], salt="x")
    assert len(rows) == 2 * 2 * 3
    assert {row.bytes for row in rows} == {sum(len(p.text) for p in HELD_OUT[:2])}
    turned = {generator: answers[::-1] for generator, answers in arms.items()}
    again = train_students(turned, PASSAGES[::-1], CORE[::-1], HELD_OUT, draws=[4], salt="x")
    assert [row.bits for row in again] == pytest.approx([row.bits for row in rows])
    assert train_students(arms, PASSAGES, CORE, [], draws=[4], salt="x") == []


def test_the_stage_reads_its_files_and_writes_only_its_domain(tmp_path):
    arms = write("champion") | write("challenger")
    other = seed("elsewhere", "Take two tablets a day.", "medicine")
    answers = [row for rows in arms.values() for row in rows] + [answer(other, "Two.", "champion")]
    refs = {}
    for number, (name, rows, schema) in enumerate(
        [
            ("answers", answers, arrow_schema(ProbeAnswer)),
            ("passages", [*PASSAGES, other], SEED),
            ("core", [*CORE, other], SEED),
            ("held_out", [*HELD_OUT, other], SEED),
        ]
    ):
        refs[name] = [commit_shard(tmp_path, "x/in", number, schema, WriteRows(rows), {}).kept]
    payload = refs | {"domain": "law", "draws": [0, 2], "salt": "2026-11-21"}
    record = commit_shard(tmp_path, "x/students", 0, STUDENT, TrainStudents(), payload)
    expected = train_students(arms, PASSAGES, CORE, HELD_OUT, draws=[0, 2], salt="2026-11-21")
    assert record.kept is not None
    rows = pq.read_table(tmp_path / record.kept.file).to_pylist()
    assert [json.dumps(row) for row in rows] == [
        json.dumps({name: getattr(figure, name) for name in STUDENT.names}) for figure in expected
    ]

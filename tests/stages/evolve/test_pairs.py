"""What candidates are trained on: never a measured document, few rows a passage, real text, comparable pairs."""

import json
import random
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from configs.schema import Evolve, Lora
from stages.evolve import known_answers
from stages.evolve.pairs import CHOICE, EXAMPLE, ChoosePairs
from stages.evolve.real_text import continuation
from stages.evolve.roles import is_held_out, is_measured
from stages.storage.shard import ShardSpec
from stages.storage.writer import ShardWriter
from tests.factories.evolve.collected import SENTENCES, collected, real_passage, write_answers, write_passages

OPTIONS = {"min_rows": 4, "measured_share": 0.3}
PROPERTY = settings(
    max_examples=10,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    phases=(Phase.explicit, Phase.generate),
)


class Chosen:
    """What the stage wrote about files of answers and passages."""

    def __init__(
        self, root: Path, kind: str, answers, passages=(), redact=lambda text, language: text, measured=(), **options
    ):
        files = [write_answers(root, f"{number}", rows) for number, rows in enumerate(answers)]
        seeds = [write_passages(root, f"{number}", rows) for number, rows in enumerate(passages)]
        held_back = [write_passages(root, "measured", measured)] if measured else []
        payload = {"kind": kind, "answers": files, "passages": seeds, "measured": held_back}
        spec = ShardSpec(str(root), "evolve/D/stages/pairs", 0, 1, "f", 1, json.dumps(payload), "law")
        out = ShardWriter(spec, EXAMPLE)
        body = ChoosePairs(Evolve(**OPTIONS | options), redact)
        body.load()
        body.process(spec, out)
        self.record = out.commit()
        assert self.record.kept is not None
        self.rows = pq.read_table(root / self.record.kept.file).to_pylist()
        table = pq.read_table(root / self.record.sides["choice"].file)
        assert table.schema.equals(CHOICE)
        (self.choice,) = table.to_pylist()

    @property
    def generated(self):
        return [row for row in self.rows if not row["real"]]

    @property
    def real(self):
        return [row for row in self.rows if row["real"]]


def documents(count: int, *, measured: bool = False, held_out: bool | None = None) -> list[int]:
    """Numbers of passages, as of the factory, whose documents are (not) measured."""
    numbers = (
        number
        for number in range(10_000)
        if is_measured(f"document {number}", OPTIONS["measured_share"]) is measured
        and held_out in (None, is_held_out(f"document {number}"))
    )
    return [next(numbers) for _ in range(count)]


TRAIN, HELD_OUT, MEASURED = documents(40, held_out=False), documents(4, held_out=True), documents(6, measured=True)
TAUGHT = ("unsupported_number", "ungrounded", "repeated_ngrams")
PASSAGES = [real_passage(number) for number in range(60)]


@st.composite
def answer_sets(draw):
    """Answers to passages of every role, of all outcomes, lengths, scores and prompts, in several files."""
    rows = []
    reasons = [*TAUGHT, *TAUGHT, "truncated", "better_sample"]
    for passage in draw(st.permutations(TRAIN[:10] + HELD_OUT + MEASURED[:3])):
        for number in range(draw(st.integers(2, 6))):
            accepted = draw(st.booleans())
            style = draw(st.sampled_from([0, 0, 0, 1]))
            rows.append(
                collected(
                    passage,
                    number,
                    accepted=accepted,
                    reason="" if accepted else draw(st.sampled_from(reasons)),
                    score=draw(st.sampled_from([0.0, 0.5, 1.0])),
                    answer=draw(st.sampled_from("abcd")) * draw(st.sampled_from([0, 8, 9, 10, 11, 20])),
                    prompt=json.dumps([{"role": "user", "content": f"Explain {passage} in style {style}"}]),
                )
            )
    cut = draw(st.integers(0, len(rows)))
    return [rows[:cut], rows[cut:]]


@given(answer_sets(), st.sampled_from(["sft", "dpo"]), st.integers(1, 3), st.sampled_from([0.0, 0.3, 0.6]))
@PROPERTY
def test_what_every_choice_keeps(tmp_path, answers, kind, limit, share):
    chosen = Chosen(tmp_path, kind, answers, [PASSAGES], rows_per_passage=limit, real_share=share)
    rows = [row for part in answers for row in part]
    rows.sort(key=lambda row: (row.accepted, row.reason in TAUGHT))  # of equal answers the last one counts
    by_text = {(row.seed_id, row.prompt, row.answer): row for row in rows}
    assert bool(chosen.rows) is not bool(chosen.choice["reason"])
    for row in chosen.rows:
        assert not is_measured(row["document_id"], OPTIONS["measured_share"])
        assert row["held_out"] is is_held_out(row["document_id"])
    for row in chosen.generated:
        prompt = row["messages"]
        assert by_text[row["seed_id"], prompt, row["answer"]].accepted
        if kind == "dpo":
            rejected = by_text[row["seed_id"], prompt, row["rejected"]]
            assert rejected.reason in TAUGHT
            lengths = sorted((len(row["answer"]), len(row["rejected"])))
            assert lengths[0] >= 0.8 * lengths[1]
        else:
            assert row["rejected"] is None
    keys = [(row["seed_id"], row["messages"], row["rejected"] or row["answer"]) for row in chosen.generated]
    assert len(set(keys)) == len(keys)
    per_passage = [sum(row["seed_id"] == seed for row in chosen.generated) for seed in {row.seed_id for row in rows}]
    assert max(per_passage) <= limit
    train = [row for row in chosen.rows if not row["held_out"]]
    assert sum(row["real"] for row in train) >= (share * len(train) - 1e-9 if kind == "sft" else 0)
    measured = sum(is_measured(row.document_id, OPTIONS["measured_share"]) for row in rows)
    measured_passages = sum(is_measured(row.document_id, OPTIONS["measured_share"]) for row in PASSAGES)
    assert chosen.choice["measured"] in (measured, measured + measured_passages)
    assert chosen.record.rejected.get("measured", 0) == chosen.choice["measured"]


@given(answer_sets(), st.sampled_from(["sft", "dpo"]), st.randoms())
@PROPERTY
def test_the_order_of_files_and_rows_does_not_matter(tmp_path, answers, kind, rng: random.Random):
    rows = [row for part in answers for row in part]
    passages = list(PASSAGES)
    first = Chosen(tmp_path, kind, answers, [passages])
    rng.shuffle(rows)
    rng.shuffle(passages)
    again = Chosen(tmp_path, kind, [rows], [passages[:50], passages[50:]])
    assert (first.rows, first.choice) == (again.rows, again.choice)
    assert first.record.kept == again.record.kept


def enough(**changes):
    """Accepted answers to many passages, one each."""
    return [collected(number, 0, **changes) for number in TRAIN + HELD_OUT]


@pytest.mark.parametrize("kind", ["sft", "dpo"])
def test_what_the_date_is_measured_with_is_left_out_whatever_document_it_is_in(tmp_path, kind):
    texts = [real_passage(number) for number in TRAIN + HELD_OUT]
    measured = [real_passage(number, source="a copy") for number in TRAIN[:5]]
    answers = [
        collected(number, n, seed_id=seed.id, accepted=not n)
        for number, seed in zip(TRAIN + HELD_OUT, texts, strict=True)
        for n in range(2)
    ]
    chosen = Chosen(tmp_path, kind, [answers], [texts], measured=measured, measured_share=1e-9)
    seeds = {seed.id for seed in measured}
    assert chosen.rows
    assert not seeds & {row["seed_id"] for row in chosen.rows}
    assert chosen.choice["measured"] == len(seeds) * (3 if kind == "sft" else 2)


def test_passages_with_both_outcomes_come_first_and_all_dates_count(tmp_path):
    mixed = [collected(number, 1, accepted=False, reason="truncated") for number in TRAIN[-10:]]
    room = sum(len(row.prompt) + len(row.answer) for row in enough()[:10])
    lora = Lora(max_tokens=room // 5)
    chosen = Chosen(tmp_path, "sft", [enough(), mixed], real_share=0.0, lora=lora)
    learnt = {row["seed_id"] for row in chosen.generated if not row["held_out"]}
    assert learnt == {f"seed {number}" for number in TRAIN[-10:]}
    assert chosen.choice["mixed"] == 10


def test_other_domains_are_not_learnt_from(tmp_path):
    others = [collected(number, n, domain="medicine") for number in TRAIN + HELD_OUT for n in range(3)]
    chosen = Chosen(tmp_path, "sft", [others, enough(), others], real_share=0.0)
    assert [row["answer"] for row in chosen.rows] == [
        row["answer"] for row in Chosen(tmp_path, "sft", [enough()], real_share=0.0).rows
    ]
    assert chosen.record.rows_in == len(enough())


def test_the_best_scored_answers_are_taken(tmp_path):
    answers = [collected(passage, n, score=n % 3) for passage in TRAIN + HELD_OUT for n in range(5)]
    chosen = Chosen(tmp_path, "sft", [answers], real_share=0.0)
    assert len(chosen.rows) == 2 * len(TRAIN + HELD_OUT)
    assert all(row["answer"].startswith(("Answer 2", "Answer 1", "Answer 4")) for row in chosen.rows)
    assert all(
        sum(row["seed_id"] == seed and row["answer"].startswith("Answer 2") for row in chosen.rows) == 1
        for seed in {row["seed_id"] for row in chosen.rows}
    )


def test_a_given_beginning_is_part_of_both_answers_of_a_pair(tmp_path):
    prompt = json.dumps([{"role": "user", "content": "Write."}, {"role": "assistant", "content": "It is"}])
    answers = enough(prompt=prompt, answer="so.")
    answers += [collected(n, 1, prompt=prompt, answer="no.", accepted=False) for n in TRAIN + HELD_OUT]
    rows = Chosen(tmp_path, "dpo", [answers]).rows
    assert {(row["messages"], row["answer"], row["rejected"]) for row in rows} == {
        ('[{"role": "user", "content": "Write."}]', "It is so.", "It is no.")
    }


def test_real_text_is_masked_and_cut_at_a_sentence(tmp_path):
    chosen = Chosen(
        tmp_path, "sft", [enough()], [PASSAGES], redact=lambda text, language: text.replace("tenant", f"[{language}]")
    )
    assert len(chosen.real) / len(chosen.rows) == pytest.approx(0.3, abs=0.05)
    row = chosen.real[0]
    (message,) = json.loads(row["messages"])
    assert message["role"] == "user"
    assert message["content"].startswith('Continue this text from "Case ')
    assert message["content"].endswith("The court heard the appeal.")
    assert row["answer"] == "It set the order aside. The [en] keeps the flat until the lease ends."


@pytest.mark.parametrize(
    ("kind", "answers", "passages", "reason"),
    [
        ("sft", [], PASSAGES, "0 accepted answers to learn from, 4 are needed (evolve.min_rows)"),
        ("sft", enough()[:3], PASSAGES, "3 accepted answers to learn from, 4 are needed (evolve.min_rows)"),
        ("sft", [collected(n, 0) for n in MEASURED], PASSAGES, "0 accepted answers to learn from, 4 are needed"),
        ("sft", enough(answer="  "), PASSAGES, "0 accepted answers to learn from"),
        (
            "sft",
            enough(),
            [],
            "0 real passages to learn from: with evolve.real_share 0.3 they allow 0 accepted answers",
        ),
        ("dpo", enough(), PASSAGES, "0 pairs of an accepted and a rejected answer to learn from"),
    ],
)
def test_too_little_to_learn_from_is_a_reason_in_words(tmp_path, kind, answers, passages, reason):
    chosen = Chosen(tmp_path, kind, [answers], [passages])
    assert chosen.rows == []
    assert chosen.choice["reason"].startswith(reason)


def test_memory_is_bounded_by_the_number_of_passages(tmp_path, monkeypatch):
    monkeypatch.setattr(known_answers, "MAX_PASSAGES", 12)
    first = Chosen(tmp_path, "sft", [enough()], real_share=0.0, min_rows=4)
    assert 4 <= first.choice["passages"] <= 12
    again = Chosen(tmp_path, "sft", [enough()[::-1]], real_share=0.0, min_rows=4)
    assert first.rows == again.rows


@pytest.mark.parametrize(
    ("passage", "language", "prompt", "answer"),
    [
        (SENTENCES, "en", 'Continue this text from "T":\n\nThe court heard the appeal. It set the order aside.',
         "The tenant keeps the flat until the lease ends."),
        ("第一条 适用于合同。第二条 自签字时成立。", "zh", "请续写《T》中的这段文字：\n\n第一条 适用于合同。",
         "第二条 自签字时成立。"),
        ("Uno.\nDos y tres.", "es", "Continúa este texto de «T»:\n\nUno.", "Dos y tres."),
        ("Yes. Yes. Yes. No.", "en", 'Continue this text from "T":\n\nYes. Yes.', "Yes. No."),
    ],
)  # fmt: skip
def test_a_passage_is_cut_at_the_sentence_nearest_to_its_middle(passage, language, prompt, answer):
    assert continuation(passage, "T", language) == (prompt, answer)


def test_a_passage_of_one_sentence_cannot_be_continued():
    assert continuation("One sentence alone without an end", "", "en") is None


@given(st.text(alphabet="ab .!。\n\t"))
def test_the_two_parts_are_the_passage(passage):
    parts = continuation(passage, "", "en")
    if parts is not None:
        beginning = parts[0].removeprefix("Continue this text:\n\n")
        assert passage.startswith(beginning)
        assert passage.endswith(parts[1])
        assert passage[len(beginning) : len(passage) - len(parts[1])].strip() == ""

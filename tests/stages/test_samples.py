"""Several samples of a passage: how they are drawn, and how one of them is chosen."""

import json
from collections import Counter

import pyarrow.parquet as pq
import pytest

from configs.errors import ConfigError
from configs.load import load
from model.backends import open_generator
from stages import screen
from stages.generate import Generate
from stages.ports import KEEP, ModelCard, Verdict
from stages.questions import questions_about, samples_of
from stages.record import CANDIDATE, Seed, content_id
from stages.screen import Screen
from stages.storage.shard import ShardSpec
from stages.storage.writer import ShardWriter
from tests.factories.candidates import PASSAGE, candidate

CARD = ModelCard("echo", "0", "echo", "", 0)


def seed(text=PASSAGE, language="en"):
    return Seed.create(text, title="T", source="s", location="l", licence="MIT", language=language, domain="law")


def generated(seeds, *overrides):
    config = load("echo", ["generator.echo.defect_rate=0", "domains.law.tasks=[explain]", *overrides])
    body = Generate(config, CARD, lambda: open_generator(config.generator, CARD, 1), lambda text, language: text)
    body.load()
    return list(body.answer("law", seeds))


def screened(tmp_path, rows, prefer=("gain",), filters=()):
    """The rows that the stage keeps, and its rejects."""
    spec = ShardSpec(str(tmp_path), "runs/generate", 0, 1, "f", len(rows), "{}", "law")
    out = ShardWriter(spec, CANDIDATE)
    out.rows_in = len(rows)
    out.keep_rows(rows)
    ref = out.commit().kept
    spec = ShardSpec(str(tmp_path), "runs/screen", 1, 2, "f", len(rows), json.dumps({"input": ref}), "law")
    out = ShardWriter(spec, CANDIDATE)
    body = Screen(lambda: list(filters), prefer, lambda text, language: text.replace("secret", "[SECRET]"))
    body.load()
    body.process(spec, out)
    record = out.commit()
    sides = [record.kept, record.rejects]
    return [pq.read_table(tmp_path / side.file).to_pylist() if side else [] for side in sides]


def scored(passage, text, gain):
    scores = [] if gain is None else [{"filter": "gain", "score": gain}]
    return candidate(text, seed_id=passage, id=f"{passage} {text}", scores=scores, prompt="[]", answer=f"secret {text}")


def test_the_samples_of_a_passage_differ_in_seed_and_temperature() -> None:
    rows = generated([seed()], "generate.samples=3", "generate.temperature_spread=0.4")
    assert [row.sample for row in rows] == [0, 1, 2]
    assert [row.request.sampling.temperature for row in rows] == pytest.approx([0.3, 0.5, 0.7])
    assert len({row.request.seed for row in rows}) == 3
    assert len({row.candidate.id for row in rows if row.candidate}) == 3


def test_the_first_sample_is_the_one_that_a_single_one_would_be() -> None:
    (alone,), first = generated([seed()]), generated([seed()], "generate.samples=4")[0]
    assert alone.candidate == first.candidate


def test_the_hottest_sample_stays_in_range() -> None:
    rows = generated([seed()], "generate.samples=2", "generate.temperature_spread=2")
    assert rows[1].request.sampling.temperature == 2


def tasks_of(*overrides, count=2000):
    """How often each task is drawn, among passages whose order comes first: those that a date would choose."""
    config = load("echo", overrides)
    seeds = sorted((seed(f"{PASSAGE} {n}") for n in range(count)), key=lambda each: content_id("17", each.id))
    asked = [questions_about(each, config, "law", CARD) for each in seeds[: count // 4]]
    return Counter(questions[0].task.name for questions in asked)


TWO_TASKS = "domains.law.tasks=[explain, question-answer]"


def test_tasks_are_drawn_by_weight_also_among_the_passages_that_a_date_chooses() -> None:
    drawn = tasks_of(TWO_TASKS, "domains.law.task_weights={explain: 3}")  # the other one has 1
    assert drawn["explain"] / drawn.total() == pytest.approx(0.75, abs=0.06)
    assert tasks_of(TWO_TASKS, "domains.law.task_weights={explain: 0}").keys() == {"question-answer"}


def test_weights_keep_the_task_of_most_passages_when_they_change_a_little() -> None:
    def tasks(weight):
        config = load("echo", [TWO_TASKS, f"domains.law.task_weights={{explain: {weight}}}"])
        return [questions_about(seed(f"{PASSAGE} {n}"), config, "law", CARD)[0].task.name for n in range(400)]

    changed = sum(one != other for one, other in zip(tasks(1), tasks(1.25), strict=True))
    assert 0 < changed / 400 < 0.12


def test_a_task_that_cannot_ask_gives_its_passage_to_another_one_with_weight() -> None:
    leaning = seed("It is so. They said that this would be so. He agreed with them at once.")
    tasks = "domains.law.tasks=[choice, explain, question-answer]"
    config = load("echo", [tasks, "domains.law.task_weights={choice: 1000, question-answer: 0}"])
    (question,) = questions_about(leaning, config, "law", CARD)
    assert question.task.name == "explain"


def test_each_language_needs_a_task_with_a_weight_above_0() -> None:
    languages = ["domains.law.languages=[en, es]", "tasks.explain.languages=[en]"]
    with pytest.raises(ConfigError, match=r"law\.task_weights: no task with prompts in es has a weight above 0"):
        load("echo", [TWO_TASKS, *languages, "domains.law.task_weights={question-answer: 0}"])


def test_a_share_of_the_passages_gets_several_samples() -> None:
    config = load("echo", ["generate.samples=4", "generate.samples_share=0.25"])
    seeds = sorted((seed(f"{PASSAGE} {n}") for n in range(2000)), key=lambda each: content_id("17", each.id))
    counts = Counter(samples_of(each.id, config) for each in seeds[:500])  # those that a date would choose
    assert counts.keys() == {1, 4}
    assert counts[4] / 500 == pytest.approx(0.25, abs=0.06)
    assert config.generate.answers_per_passage == 1.75


def test_the_first_sample_does_not_depend_on_the_share() -> None:
    seeds = [seed(f"{PASSAGE} {n}") for n in range(12)]
    shared = generated(seeds, "generate.samples=3", "generate.samples_share=0.5")
    first = {row.seed.id: row.candidate for row in shared if row.sample == 0}
    assert len(shared) not in (12, 36)
    assert first == {row.seed.id: row.candidate for row in generated(seeds)}


@pytest.mark.parametrize("task", ["choice", "correction", "verdict", "question"])
def test_a_passage_without_a_sentence_that_stands_alone_gets_another_task(task: str) -> None:
    leaning = "It is so. They said that this would be so. He agreed with them at once."
    assert generated([seed(leaning)], f"domains.law.tasks=[{task}]") == []
    assert [row.task for row in generated([seed(leaning)], f"domains.law.tasks=[{task}, explain]")] == ["explain"]


def test_likelihood_scores_are_stored() -> None:
    (row,) = generated([seed()], "generate.likelihood=true")
    assert row.candidate is not None
    assert [score["filter"] for score in row.candidate.scores] == ["log_p", "pmi", "gain"]


def test_the_best_of_the_samples_that_pass_is_kept(tmp_path) -> None:
    def short(batch):
        return [Verdict("long") if len(row.text) > 5 else KEEP for row in batch]

    rows = [scored("a", "one", 1), scored("a", "two", 2), scored("a", "too long", 9), scored("b", "one", None)]
    kept, rejects = screened(tmp_path, rows, filters=[("short", short)])
    assert [row["id"] for row in kept] == ["a two", "b one"]
    assert {(row["id"], row["reason"]) for row in rejects} == {("a one", "better_sample"), ("a too long", "long")}
    assert {row["answer"] for row in rejects} == {"[SECRET] one", "[SECRET] too long"}
    assert {row["prompt"] for row in rejects} == {"[]"}


def test_of_equal_samples_the_first_is_kept(tmp_path) -> None:
    kept, _ = screened(tmp_path, [scored("a", text, 1) for text in ("x", "y", "z")])
    assert [row["text"] for row in kept] == ["x"]


def test_the_first_score_that_a_sample_has_decides(tmp_path) -> None:
    rows = [scored("a", "x", 1), scored("a", "y", 2)]
    rows[0].scores.append({"filter": "grounded", "score": 0.9})
    rows[1].scores.append({"filter": "grounded", "score": 0.1})
    assert screened(tmp_path, rows, ("grounded", "gain"))[0][0]["text"] == "x"


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_samples_of_a_passage_may_lie_in_two_batches(tmp_path, monkeypatch, size: int) -> None:
    monkeypatch.setattr(screen, "ROWS_PER_BATCH", size)
    rows = [scored(passage, str(gain), gain) for passage in "abc" for gain in (1, 3, 2)]
    kept, rejects = screened(tmp_path, rows)
    assert [row["id"] for row in kept] == ["a 3", "b 3", "c 3"]
    assert len(rejects) == 6


def test_a_filter_is_asked_about_what_it_judges_alone(tmp_path) -> None:
    class Never:
        judges = frozenset({"question"})

        def __call__(self, batch):
            return [Verdict("no")] * len(batch)

    rows = [candidate("x", seed_id="a"), candidate("y", seed_id="b", writes="question", written="y?")]
    kept, rejects = screened(tmp_path, rows, filters=[("never", Never())])
    assert [row["seed_id"] for row in kept] == ["a"]
    assert [row["seed_id"] for row in rejects] == ["b"]

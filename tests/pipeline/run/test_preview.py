"""A preview does what a run would do to the same passages, and writes nothing."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from configs.errors import BackendError, ConfigError, InputError
from configs.load import load
from configs.schema import Config
from pipeline.run import preview
from pipeline.run.preview import PreviewRow, choose_seeds, preview_rows
from pipeline.store.dataset import DataSet
from stages.ports import Completion
from tests.factories.command_line import DATE
from tests.factories.data_sets import FinishedDate
from tests.factories.documents import write_config, write_documents

EACH_TOO_LONG = (
    "screen.filters=[{name: length, min_chars: 1, max_chars: 12}, {name: refusal}, {name: repetition}, "
    "{name: truncation}]"
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_config(tmp_path, write_documents(tmp_path / "documents.jsonl", range(40)))
    return tmp_path


def config_in(folder: Path, *overrides: str) -> Config:
    return load(str(folder / "mine.yaml"), [f"out={folder / 'out'}", *overrides])


def previewed(config: Config, count: int = 4, **options) -> list[PreviewRow]:
    return list(preview_rows(config, DATE, count, **options))


def test_nothing_is_written(folder: Path) -> None:
    before = sorted(folder.rglob("*"))
    assert len(previewed(config_in(folder))) == 4
    assert sorted(folder.rglob("*")) == before


def test_rows_are_those_of_a_run(finished: FinishedDate) -> None:
    """Same passages, prompts and answers; dropped by the same filter for the same reason."""
    config = load(str(finished.out / "runs" / DATE / "config.yaml"), [f"out={finished.out}"])
    stages = finished.out / "runs" / DATE / "stages"

    def read(stage: str, kind: str) -> dict[str, dict]:
        files = [path for path in stages.glob(f"{stage}/part-*.parquet") if (".rejects." in path.name) == bool(kind)]
        return {row["seed_id"]: row for path in files for row in pq.read_table(path).to_pylist()}

    generated, screened = read("generate", ""), read("screen", "")
    dropped = read("generate", "rejects") | read("screen", "rejects")
    rows = previewed(config, 12)
    assert len(rows) == 12
    for row in rows:
        seed_id = row.seed.id
        if row.dropped_by is None:
            assert seed_id in screened
        else:
            assert dropped[seed_id]["reason"] == row.reason
        if row.generated.candidate is not None:
            assert generated[seed_id]["answer"] == row.generated.completion.text
            assert generated[seed_id]["id"] == row.generated.candidate.id


def test_every_filter_is_asked_after_one_that_drops_the_row(folder: Path) -> None:
    rows = previewed(config_in(folder, EACH_TOO_LONG, "generator.echo.defect_rate=0"))
    for row in rows:
        assert [verdict.filter for verdict in row.filters] == ["length", "refusal", "repetition", "truncation"]
        assert row.dropped_by == "length"
        assert row.reason == row.filters[0].verdict == "too_long"
        assert all(verdict.keeps for verdict in row.filters[1:])


def test_an_answer_that_cannot_be_parsed_comes_to_no_filter(folder: Path) -> None:
    config = config_in(folder, "generator.max_model_len=64")  # no prompt fits
    for row in previewed(config):
        assert (row.dropped_by, row.reason, row.filters) == ("generate", "generator", [])
        assert "prompt_too_long" in row.generated.parsed.detail


def test_rows_come_one_by_one(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first row is there before the second passage is asked about."""
    asked: list[str] = []
    open_generator = preview.open_generator

    def spied(*arguments):
        generator = open_generator(*arguments)
        generate = generator.generate
        generator.generate = lambda requests, progress=None: (  # type: ignore[method-assign]
            asked.extend(request.id for request in requests) or generate(requests, progress)
        )
        return generator

    monkeypatch.setattr(preview, "open_generator", spied)
    rows = preview_rows(config_in(folder, "generator.echo.defect_rate=0"), DATE, 3)
    first = next(rows)
    assert asked == [first.seed.id]
    assert len(list(rows)) == 2


def test_the_generator_is_closed_when_the_reader_leaves(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[bool] = []
    open_generator = preview.open_generator

    def spied(*arguments):
        generator = open_generator(*arguments)
        generator.close = lambda: closed.append(True)  # type: ignore[method-assign]
        return generator

    monkeypatch.setattr(preview, "open_generator", spied)
    rows = preview_rows(config_in(folder), DATE, 3)
    next(rows)
    rows.close()  # type: ignore[attr-defined]
    assert closed


def test_rows_are_json(folder: Path) -> None:
    row = json.loads(json.dumps(previewed(config_in(folder), 1)[0].to_json()))
    assert row["number"] == 1
    assert row["domain"] == "law"
    assert row["passage"] in row["prompt"][-1]["content"]
    assert row["kept"] == (row["dropped_by"] is None)
    assert {verdict["filter"] for verdict in row["filters"]} or row["dropped_by"] == "generate"
    assert row["output_tokens"] > 0
    assert row["seconds"] >= 0


def test_passages_of_other_dates_are_passed_over(finished: FinishedDate) -> None:
    config = load(str(finished.out / "runs" / DATE / "config.yaml"), [f"out={finished.out}"])
    used = {
        seed_id
        for file in DataSet.open(config.out).other_dates("2026-01-09").used
        for seed_id in pq.read_table(finished.out / file.file)["id"].to_pylist()
    }
    assert used
    again = {seed.id for seed in choose_seeds(config, DATE, 5, print)}
    assert again <= used  # the date itself may use its own passages
    assert not used & {seed.id for seed in choose_seeds(config, "2026-01-09", 5, print)}


def test_domains_take_turns_and_one_can_be_chosen() -> None:
    config = load("echo", ["out=/nonexistent"])
    assert [row.seed.domain for row in previewed(config)] == ["law", "medicine", "law", "medicine"]
    assert {row.seed.domain for row in previewed(config, domain="medicine")} == {"medicine"}


def test_a_task_can_be_chosen() -> None:
    config = load("echo", ["out=/nonexistent"])
    assert {row.generated.task for row in previewed(config, task="explain")} == {"explain"}


def test_sources_give_by_their_weight(folder: Path) -> None:
    other = write_documents(folder / "other.jsonl", range(100, 140))
    seeds = [
        f"{{path: {path}, weight: {weight}, licence: CC0-1.0}}"
        for path, weight in ((folder / "documents.jsonl", 3), (other, 1))
    ]
    config = config_in(folder, f"domains.law.seeds=[{', '.join(seeds)}]")
    sources = [row.seed.source for row in previewed(config, 8)]
    assert sources.count("documents.jsonl") == 6
    assert sources.count("other.jsonl") == 2


def test_a_huge_file_is_not_read_to_its_end(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preview, "MAX_PASSAGES_PER_FILE", 3)
    notices: list[str] = []
    assert len(previewed(config_in(folder), 5, notice=notices.append)) == 3
    assert "documents.jsonl: only 3 passages were read" in notices[0]
    assert notices[1] == "3 unused passages of the 5 asked for"


def test_filters_get_an_answer_as_a_run_stores_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a surrogate pair, which a service may send, has no form in UTF-8."""
    open_generator = preview.open_generator

    def broken(*arguments):
        generator = open_generator(*arguments)
        answer = Completion("Question: What \ud800 ends?\nAnswer: It ends when a deed is given.", 9, 9, "stop")
        generator.generate = lambda requests, progress=None: [answer for _ in requests]  # type: ignore[method-assign]
        return generator

    monkeypatch.setattr(preview, "open_generator", broken)
    (row,) = previewed(config_in(folder), 1)
    assert row.filters
    assert all(verdict.verdict != "error" for verdict in row.filters)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"task": "explian"}, ConfigError, r"--task: no task 'explian'; did you mean 'explain'\?"),
        ({"task": "xyzzy"}, ConfigError, r"--task: no task 'xyzzy'; there are "),
        ({"domain": "law2"}, ConfigError, r"--domain: no domain 'law2'; did you mean 'law'\?"),
    ],
)
def test_names_that_are_not_there(folder: Path, options, error, words) -> None:
    with pytest.raises(error, match=words):
        previewed(config_in(folder), **options)


def test_a_task_without_prompts_in_the_domains_languages(folder: Path) -> None:
    config = config_in(folder)
    explain = config.tasks["explain"].model_copy(update={"languages": ("zh",), "prompt": {"zh": "{{ passage }}"}})
    config = config.model_copy(update={"tasks": config.tasks | {"explain": explain}})
    with pytest.raises(ConfigError, match="--task: explain has prompts in zh"):
        previewed(config, task="explain")


def test_sources_without_passages(folder: Path) -> None:
    (folder / "documents.jsonl").write_text('{"text": "Too short."}\n')
    with pytest.raises(InputError, match=r"seeds: no passage can be used \(short 1\)"):
        previewed(config_in(folder))


def test_a_generator_that_cannot_start(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    config = config_in(
        folder, "generator.backend=openai", "generator.model=m", "generator.openai.base_url=https://models.example/v1"
    )
    with pytest.raises((ConfigError, BackendError), match="OPENAI_API_KEY"):
        previewed(config)


@pytest.mark.weights
def test_the_laptop_preset_shows_scores_of_real_models(tmp_path: Path) -> None:
    filters = "screen.filters=[{name: length}, {name: domain}, {name: quality}]"
    overrides = ["generate.max_tokens=16", "generate.samples=1", "domains.medicine.tasks=[explain]", filters]
    config = load("laptop", [f"out={tmp_path / 'out'}", "generator.backend=transformers", *overrides])
    (row,) = previewed(config, 1, domain="medicine")
    assert row.generated.output_tokens > 0
    if row.generated.candidate is not None:
        assert [score["filter"] for score in row.generated.candidate.scores] == ["log_p", "pmi", "gain"]
        if row.dropped_by is None:
            assert all(verdict.score is not None for verdict in row.filters if verdict.filter != "length")
    assert not (tmp_path / "out").exists()


def test_each_sample_of_a_passage_is_a_row(folder: Path) -> None:
    rows = previewed(config_in(folder, "generate.samples=3"), 2)
    assert [(row.number, row.generated.sample) for row in rows] == [(n, sample) for n in (1, 2) for sample in range(3)]
    assert {row.to_json()["sample"] for row in rows} == {0, 1, 2}


def test_passages_that_no_task_can_ask_about_are_passed_over(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = preview.Generate.answer
    passed_over: list[str] = []

    def answer(body, domain, seeds, adapter):
        if not passed_over:  # the first passage
            passed_over.append(seeds[0].id)
            return iter(())
        return whole(body, domain, seeds, adapter)

    monkeypatch.setattr(preview.Generate, "answer", answer)
    notes: list[str] = []
    rows = previewed(config_in(folder), 3, notice=notes.append)
    assert [row.number for row in rows] == [1, 2, 3]
    assert len({row.seed.id for row in rows} - set(passed_over)) == 3
    assert any("passed over" in note for note in notes)

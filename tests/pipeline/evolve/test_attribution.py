"""gristmill attribute on a data set: what is compared, where the figures go, and what is refused in clear words."""

import json
import os
import shutil
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from configs.errors import ConfigError, InputError
from configs.load import load
from pipeline import cli, exit_codes
from pipeline.evolve import attribution as module
from pipeline.evolve.attribution import MAX_GROWTH, attribute, newest_attribution, save, task_weights_from
from pipeline.evolve.groups import Group, generated_text, read_groups
from pipeline.evolve.real_text import RealText, from_sources
from pipeline.pages.report import date_report
from pipeline.store.dataset import DataSet
from pipeline.store.manifest import Attribution, DomainAttribution, GroupWorth, Manifest
from stages.evolve.roles import role_of
from tests.factories.command_line import DATE
from tests.factories.documents import write_documents
from tests.factories.pages import MARKUP, Page

SMALL = 200  # bytes of a group that a student learns


@pytest.fixture(scope="module")
def measured(finished, tmp_path_factory):
    """A copy of a finished date with further documents, and its attribution by task."""
    folder = tmp_path_factory.mktemp("attributed")
    data = DataSet.open(str(shutil.copytree(finished.out, folder / "out")))
    config = with_more_documents(finished, folder)
    attribution, notes = attribute(data, ["task"], config=config, bytes_each=SMALL)
    return data, attribution, notes


def with_more_documents(finished, folder):
    """The config of the date with documents that no row is about."""
    more = write_documents(folder / "more.jsonl", range(100, 160))
    return load(str(finished.config), [f"domains.law.seeds=[{{path: {more}, licence: CC0-1.0}}]"])


def test_groups_of_a_finished_date_are_measured_on_other_documents(measured, finished):
    _, attribution, notes = measured
    law = attribution.domains["law"]
    assert notes == []
    assert {worth.group["task"]: worth.rows for worth in law.groups} == finished.manifest["tasks"]
    assert law.students == 16 * len(law.groups)
    assert law.real_text == "sources of the configuration"
    assert law.documents >= 12
    effects = [worth.effect for worth in law.groups]
    assert effects == sorted(effects, reverse=True)
    assert sum(effects) == pytest.approx(0, abs=1e-4)
    assert all(worth.low <= worth.effect <= worth.high for worth in law.groups)


def test_it_is_the_same_for_the_same_data(measured, finished, tmp_path):
    data, attribution, _ = measured
    again, _ = attribute(data, ["task"], config=with_more_documents(finished, tmp_path), bytes_each=SMALL)
    assert again.domains == attribution.domains


def test_figures_go_into_manifest_and_report_and_leave_the_rows(measured):
    data, attribution, _ = measured
    before = data.manifest(DATE)
    assert "Not measured" in date_report(data, DATE, served=False)
    assert save(data, attribution) == []
    after = data.manifest(DATE)
    assert after.attribution == attribution
    assert Manifest.from_json(after.to_json()).attribution == attribution
    assert (after.digest, after.published_files) == (before.digest, before.published_files)
    assert data.publication(after.publication).attribution == attribution, "a rollback keeps it"
    page = date_report(data, DATE, served=False)
    Page(page)
    assert f"with {SMALL:,} bytes of the group in the place of an average group" in page
    assert newest_attribution(data, DATE) == attribution
    assert newest_attribution(data, "2026-01-01") is None


def test_a_run_at_work_keeps_the_figures_out_of_the_manifest(measured):
    data, attribution, _ = measured
    lock = data.lock("2026-01-09")
    try:
        (note,) = save(data, attribution)
    finally:
        os.close(lock)
    assert "the manifests lack these figures" in note


def test_documents_that_rows_are_about_are_never_held_out(measured, finished, tmp_path, monkeypatch):
    data, _, _ = measured
    more = write_documents(tmp_path / "more.jsonl", range(100, 160))
    sources = (
        f"domains.law.seeds=[{{path: {finished.documents}, licence: CC0-1.0}}, {{path: {more}, licence: CC0-1.0}}]"
    )
    rows = read_groups(data, [data.manifest(DATE)], ["task"])["law"]
    seeds = {seed for group in rows.groups.values() for _, seed, _ in group.texts}
    real = from_sources(load(str(finished.config), [sources]), "law", rows.documents, seeds)
    held_out = {text for document in real.held_out for text in document}
    own = set(real.core[: len(seeds)])
    assert len(own) == len(seeds)
    assert not held_out & own
    monkeypatch.setattr("pipeline.evolve.real_text.MIN_DOCUMENTS", 1000)
    with pytest.raises(InputError, match="documents of its sources are left"):
        from_sources(load(str(finished.config), []), "law", rows.documents, seeds)


def test_what_the_gate_is_measured_with_is_not_used(finished, tmp_path, monkeypatch):
    more = write_documents(tmp_path / "more.jsonl", range(100, 400))
    seeds = f"domains.law.seeds=[{{path: {more}, licence: CC0-1.0}}]"
    config = load(
        str(finished.config), [seeds, "evolve.measured_share=0.9", "adapt.enabled=false", "generate.samples=2"]
    )
    documents = []
    monkeypatch.setattr("pipeline.evolve.real_text._order", lambda document: documents.append(document) or 0.5)
    from_sources(config, "law", set(), set())
    assert {role_of(document, 0.9) for document in documents} == {"train", "core"}


def bare(domain="law", **changes):
    worth = [
        GroupWorth(group={"task": task}, rows=9, bytes=999, effect=effect, low=effect - 0.01, high=effect + 0.01)
        for task, effect in changes.items()
    ]
    figures = DomainAttribution(
        groups=worth, bytes_each=9, students=8, documents=12, bits_per_byte=2.0, real_text="sources"
    )
    return Attribution(columns=["task"], dates=[DATE], computed="2026-01-03T00:00:00+00:00", domains={domain: figures})


@cache
def five_tasks():
    return config_with(*TASKS)


def config_with(*tasks, weights=None):
    settings = [f"domains.law.tasks=[{', '.join(tasks)}]", f"domains.law.task_weights={json.dumps(weights or {})}"]
    return load("echo", settings)


TASKS = ("choice", "correction", "verdict", "explain", "summary")


@given(
    st.lists(st.floats(-0.2, 0.2), min_size=5, max_size=5),
    st.lists(st.floats(0.01, 10), min_size=5, max_size=5),
)
def test_task_weights_are_shares_that_move_a_little_and_end_at_no_zero(effects, weights):
    known = dict(zip(TASKS, weights, strict=True))
    before = {task: weight / sum(weights) for task, weight in known.items()}
    after = task_weights_from(bare(**dict(zip(TASKS, effects, strict=True))), "law", five_tasks(), known)
    if not after:
        assert all(abs(effect) <= 0.0101 for effect in effects)
        return
    assert sum(after.values()) == pytest.approx(1)
    for task, share in after.items():
        assert share <= MAX_GROWTH * before[task] + 1e-9
        assert share >= min(0.05, before[task]) - 1e-9


def test_tasks_that_help_get_more_and_one_round_reaches_the_limit():
    config = config_with("choice", "correction", "verdict")
    after = task_weights_from(bare(choice=0.1, correction=-0.1, verdict=0.001), "law", config, {})
    assert 1.2 / 3 < after["choice"] <= MAX_GROWTH / 3
    assert after["correction"] < after["verdict"] < after["choice"]
    configured = config_with("choice", "correction", weights={"choice": 3.0})
    after = task_weights_from(bare(choice=-0.1, correction=0.1), "law", configured, {})
    assert after == pytest.approx({"choice": 1 - 0.25 * 1.25, "correction": 0.25 * 1.25})


def test_many_rounds_end_at_the_floor_and_stay_there():
    config, weights = config_with("choice", "correction"), {}
    for _ in range(40):
        weights = task_weights_from(bare(choice=0.1, correction=-0.1), "law", config, weights)
    assert weights == pytest.approx({"choice": 0.95, "correction": 0.05})


def test_nothing_is_suggested_where_nothing_is_known():
    config = config_with("choice", "correction")
    assert task_weights_from(None, "law", config, {}) == {}
    assert task_weights_from(bare("medicine", choice=0.1, correction=-0.1), "law", config, {}) == {}
    assert task_weights_from(bare(choice=0.009, correction=-0.009), "law", config, {}) == {}, "within chance"
    assert task_weights_from(bare(summary=0.1, explain=-0.1), "law", config, {}) == {}, "tasks that are not asked"
    by_source = bare(choice=0.1, correction=-0.1).model_copy(update={"columns": ["source"]})
    assert task_weights_from(by_source, "law", config, {}) == {}


def test_what_does_not_fit_is_refused_in_clear_words(measured, capsys):
    data, _, _ = measured
    out = ["--out", str(data.root), "--dry-run"]
    for flags, code, words in [
        (["--groups", "colour"], exit_codes.USAGE, "'colour': no such column; there are task, source"),
        (["--groups", ","], exit_codes.USAGE, "--groups: missing"),
        (["--groups", "language"], exit_codes.FAILED, "1 group by language to measure, and groups are compared"),
        (["--domain", "medicine"], exit_codes.FAILED, "no rows of medicine; there are rows of law"),
        (["--date", "2020-01-01"], exit_codes.FAILED, "not finished in"),
        (["--bytes", "0"], exit_codes.USAGE, "--bytes: 0"),
        (["--bytes", "100000"], exit_codes.FAILED, "left out: explain"),
        (["--bytes", str(SMALL), "--draws", "3"], exit_codes.USAGE, "3 students cannot tell 2 groups"),
    ]:
        assert cli.main(["attribute", *out, *flags]) == code, flags
        assert words in capsys.readouterr().err, flags
    assert cli.main(["attribute", "--out", str(data.root / "none")]) == exit_codes.USAGE


def test_the_command_prints_a_table_and_one_line_of_json(measured, monkeypatch, capsys):
    data, _, _ = measured
    real = RealText(
        [[f"the court ordered the tenant to pay {n} pounds."] for n in range(20)], ["rent is due."], "a test"
    )
    monkeypatch.setattr(module, "_real_text", lambda *_: real)
    flags = ["attribute", "--out", str(data.root), "--groups", "task", "--bytes", str(SMALL), "--dry-run"]
    assert cli.main([*flags, "--json"]) == 0
    line = json.loads(capsys.readouterr().out)
    assert line["domains"]["law"]["real_text"] == "a test"
    assert {group["group"]["task"] for group in line["domains"]["law"]["groups"]} == {"explain", "question-answer"}
    assert cli.main(flags) == 0
    text = capsys.readouterr().out
    assert "question-answer" in text
    assert "95% interval" in text
    assert "20 held-out documents; a test." in " ".join(text.split())


def test_small_groups_are_left_out_by_name(measured, monkeypatch):
    data, _, _ = measured
    rows = read_groups(data, [data.manifest(DATE)], ["task"])
    rows["law"].groups["rare",] = group = Group()
    group.add("0", "0", "too little")
    real = RealText([["rent is due. " * 5]] * 20, ["rent"], "a test")
    monkeypatch.setattr(module, "read_groups", lambda *_: rows)
    monkeypatch.setattr(module, "_real_text", lambda *_: real)
    found, _ = attribute(data, ["task"], bytes_each=SMALL)
    assert found.domains["law"].left_out == {"rare": "10 bytes of text, 400 are needed"}


def test_a_report_shows_values_as_text(measured):
    data, attribution, _ = measured
    law = attribution.domains["law"]
    worth = law.groups[0].model_copy(update={"group": {"task": MARKUP}})
    planted = law.model_copy(update={"groups": [worth], "left_out": {MARKUP: MARKUP}, "real_text": MARKUP})
    manifest = data.manifest(DATE).model_copy(
        update={"attribution": attribution.model_copy(update={"domains": {MARKUP: planted}})}
    )
    kept = data.manifest_path(DATE).read_text("utf-8")
    data.manifest_path(DATE).write_text(manifest.to_json(), "utf-8")
    try:
        page = date_report(data, DATE, served=False)
    finally:
        data.manifest_path(DATE).write_text(kept, "utf-8")
    assert MARKUP not in page
    assert "script" not in Page(page).tags


def test_the_generators_text_is_what_counts():
    turns = [{"role": "user", "content": "passage"}, {"role": "assistant", "content": "answer"}]
    assert generated_text({"messages": turns, "text": "passage answer"}) == "answer"
    assert generated_text({"messages": turns[:1], "text": "all"}) == "all"


def test_memory_of_a_large_group_is_bounded_and_its_sample_fair():
    group, text = Group(), "x" * 1000
    for number in range(2000):
        group.add(f"{number * 7919 % 2000:04}", "s", text)
    assert (group.rows, group.bytes) == (2000, 2_000_000)
    assert len(group.texts) <= 190
    assert [row_id for row_id, *_ in group.sample(60_000)] == [f"{number:04}" for number in range(60)]


def test_columns_that_are_empty_are_a_value_of_their_own(measured):
    data, _, _ = measured
    groups = read_groups(data, [data.manifest(DATE)], ["adapter", "date"])["law"].groups
    assert ("none", DATE) in groups


def test_no_columns_at_all_are_refused(measured):
    with pytest.raises(ConfigError, match="--groups: missing"):
        attribute(measured[0], [" "])

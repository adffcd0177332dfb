"""What `plan` warns of, by the models' known parameters, and what a target takes: no weights are read."""

import gzip
import json
import math
import re
from datetime import UTC, datetime

import pytest
import yaml

from configs.catalogue import models
from configs.errors import ConfigError
from configs.load import load
from pipeline.planning import plan, plan_warnings, target
from pipeline.run.resolve import ResolvedModels, check_backend
from stages.ports import ModelCard
from stages.sources import parts
from tests.factories.command_line import DATE, ROOT
from tests.factories.documents import write_config, write_documents
from tests.factories.manifests import domain_figures, manifest_of

SMOL = "smollm2-135m-instruct"


def planned(folder, monkeypatch, parameters, *overrides):
    config = write_config(folder, write_documents(folder / "d.jsonl", range(3)))
    config = load(
        str(config), [f"generator={{backend: transformers, model: {SMOL}}}", "domains.law.per_day=3", *overrides]
    )
    card = ModelCard(SMOL, "0" * 64, "transformers", "", parameters)
    monkeypatch.setattr(plan, "resolve_models", lambda config: ResolvedModels(config, card, None, {}))
    return plan.make_plan(config, "2026-01-02")


def test_a_task_above_the_models_parameters_is_warned_of(tmp_path, monkeypatch):
    done = planned(tmp_path, monkeypatch, models()[SMOL].parameters)
    assert done["warnings"] == [
        f"domains.law.tasks: {task} needs about {needs:,} M parameters, {SMOL} has 135 M: expect few answers that fit"
        for task, needs in (("explain", 1000), ("question-answer", 1000))
    ]
    assert done["generator"].startswith(f"{SMOL} on transformers, 135 M parameters")


def test_a_task_above_the_models_parameters_is_left_out_where_another_fits(tmp_path, monkeypatch):
    change = "domains.law.tasks=[choice, explain]"
    (warning,) = planned(tmp_path, monkeypatch, models()[SMOL].parameters, change)["warnings"]
    assert warning == f"domains.law.tasks: explain needs about 1,000 M parameters, {SMOL} has 135 M: it is left out"


def test_a_language_above_the_models_parameters_is_warned_of(tmp_path, monkeypatch):
    change = ("domains.law.tasks=[choice]", "domains.law.languages=[en, zh]")
    (warning,) = planned(tmp_path, monkeypatch, models()[SMOL].parameters, *change)["warnings"]
    assert warning == f"domains.law.languages: zh will be poor: {SMOL} has 135 M parameters"


@pytest.mark.parametrize("parameters", [0, 1_000_000_000])
def test_a_model_of_unknown_or_enough_parameters_is_not(tmp_path, monkeypatch, parameters):
    assert planned(tmp_path, monkeypatch, parameters)["warnings"] == []


def test_settings_that_let_no_row_be_made_are_warned_of(tmp_path, monkeypatch):
    changes = (
        "domains.law.tasks=[explain]",
        "generator.max_model_len=64",
        "screen.filters=[{name: length, min_chars: 3999}]",
    )
    context, length = planned(tmp_path, monkeypatch, 0, *changes)["warnings"]
    assert context.startswith("generator.max_model_len: 64 tokens hold no prompt of explain in law")
    assert length.startswith(
        "screen.filters: length asks for 3999 characters, an answer of explain in law has 220 tokens"
    )


def test_a_loop_whose_answers_nobody_can_judge_is_warned_of(tmp_path, monkeypatch):
    sets = ("adapt.enabled=false", "evolve={}", "generate.samples=2")
    judged = planned(tmp_path, monkeypatch, 0, *sets)
    assert judged["warnings"] == []
    (warning,) = planned(tmp_path, monkeypatch, 0, *sets, "domains.law.tasks=[choice, verdict]")["warnings"]
    assert warning.startswith("evolve: the model writes no answers for choice, verdict in law")


def test_warnings_are_shown(tmp_path, monkeypatch, capsys):
    plan.print_plan(planned(tmp_path, monkeypatch, models()[SMOL].parameters))
    warning = f"warning    domains.law.tasks: question-answer needs about 1,000 M parameters, {SMOL}"
    assert warning in capsys.readouterr().out


NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
PAST = manifest_of(
    date="2026-02-28",
    machine="a host: 8 cores",
    seconds={"loading": 100.0, "generate": 900.0, "screen": 100.0},
    domains={
        "law": domain_figures(generated=1000, text_bytes=400_000, prompt_tokens=300_000, output_tokens=100_000),
    },
)


def config_of(folder, *overrides):
    return load(str(write_config(folder, write_documents(folder / "d.jsonl", range(3)))), list(overrides))


def test_a_target_is_scaled_from_a_finished_date(tmp_path):
    """4 MB at 400 bytes a passage are 10,000 passages, ten times the date's 1,000 s beside its loading."""
    config = config_of(tmp_path, "price.machine_hour=3.6", "price.output_million=2")
    found = target.from_date(config, target.Target(4e6), PAST, NOON)
    assert found["passages"] == {"law": 10_000}
    assert found["machines"] == 1
    assert found["hours"] == found["hours_in_all"] == round(10_100 / 3600, 2)
    assert found["cost"] == round(found["hours_in_all"] * 3.6 + 1.0 * 2, 2)


def test_several_answers_to_a_passage_are_part_of_what_a_target_takes(tmp_path):
    """The date's 1,000 answers were to 400 passages of 1,000 bytes each."""
    config = config_of(tmp_path, "generate.samples=4", "generate.samples_share=0.5", "price.output_million=2")
    found = target.from_date(config, target.Target(4e6), PAST, NOON)
    assert found["passages"] == {"law": 4_000}
    assert found["hours"] == round(10_100 / 3600, 2)
    assert found["cost"] == round(1.0 * 2, 2)


def test_several_answers_to_a_passage_are_part_of_the_estimate(tmp_path, monkeypatch):
    monkeypatch.setattr(plan, "_newest", lambda data, model: PAST)
    monkeypatch.setattr(plan, "unused_passages", lambda *args: {})  # it is not known how many there are
    changes = ("domains.law.per_day=400", "generate.samples=4", "generate.samples_share=0.5", "adapt.enabled=false")
    done = planned(tmp_path, monkeypatch, 0, *changes)
    assert done["estimate"]["seconds"] == 1100
    assert {stage["stage"]: stage["rows"] for stage in done["stages"]}["generate"] == 1000


def test_a_time_gives_the_number_of_machines(tmp_path):
    by = target.target_from_flags(0.004, "13:00", None, NOON)
    found = target.from_date(config_of(tmp_path), by, PAST, NOON)
    assert found["machines"] == 3  # 10,000 s in 3,500
    assert found["hours"] == round((10_000 / 3 + 100) / 3600, 2)
    assert target.describe_target(found, "USD").startswith(
        "0.004 GB of accepted text by 2026-03-01 13:00 UTC: 3 machines like that"
    )


def test_without_a_date_the_table_tells_of_gpus(tmp_path):
    found = target.from_table(
        config_of(tmp_path), target.target_from_flags(200, "2026-03-02T12:00", 0.5, NOON), 134_515_008, NOON
    )
    assert found["unit"] == "GPUs"
    assert found["machines"] == math.ceil(200e9 / 0.5 / 4.98 / 104_535 / 86_400) == 9
    larger = target.from_table(config_of(tmp_path), target.target_from_flags(200, None, 0.5, NOON), 500_000_000, NOON)
    assert "18969 tokens/s, of 1711 M parameters" in larger["rates"]


@pytest.mark.parametrize(
    ("flags", "word"),
    [
        ((None, "06:00", None), "--by: it goes with --target-gb"),
        ((None, None, 0.5), "--keep: it goes with --target-gb"),
        ((0, None, None), "--target-gb: 0 is no amount"),
        ((float("nan"), None, None), "--target-gb: nan is no amount"),
        ((1, None, 1.5), "--keep: 1.5 is no share"),
        ((1, "soon", None), "--by: 'soon' is not a time"),
    ],
)
def test_flags_that_make_no_target_are_named(flags, word):
    with pytest.raises(ConfigError, match=re.escape(word)):
        target.target_from_flags(*flags, NOON)


@pytest.mark.parametrize(
    ("parameters", "keep", "word"),
    [(0, 0.5, "nor has the table"), (10**12, 0.5, "nor has the table"), (135_000_000, None, "say --keep 0.5")],
)
def test_what_the_table_does_not_tell_is_said(tmp_path, parameters, keep, word):
    with pytest.raises(ConfigError, match=word):
        target.from_table(config_of(tmp_path), target.Target(1e9, None, keep), parameters, NOON)


def test_the_tables_rates_are_those_that_were_measured():
    measured = json.loads((ROOT / "benchmarks" / "results" / "throughput.json").read_text())["rows"]
    table = yaml.safe_load((ROOT / "configs" / "catalogue" / "rates.yaml").read_text())
    rates = {round(row["value"]) for row in measured if row["name"].endswith("output tokens/s a GPU")}
    for rate in table["tokens_per_second"].values():
        assert any(abs(rate - found) <= 1 for found in rates)


def test_a_date_that_accepted_nothing_tells_nothing(tmp_path):
    past = PAST.model_copy(update={"domains": {"law": PAST.domains["law"].model_copy(update={"text_bytes": 0})}})
    with pytest.raises(ConfigError, match="accepted nothing"):
        target.from_date(config_of(tmp_path), target.Target(1e9), past, NOON)
    with pytest.raises(ConfigError, match="leaves no time"):
        target.from_date(config_of(tmp_path), target.Target(1e9, NOON), PAST, NOON)


def test_a_target_is_shown_with_the_plan(tmp_path, finished, capsys):
    config = load(str(finished.config), [f"out={finished.out}"])
    wanted = target.target_from_flags(0.001, None, None, NOON)
    planned = plan.make_plan(config, DATE, wanted)
    plan.print_plan(planned)
    assert planned["target"]["passages"]["law"] > 0
    assert "target     0.001 GB of accepted text: 1 machines like that" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("backend", "adapt", "problem"),
    [
        ("openai", False, "generate.likelihood: the backend openai gives none"),
        ("vllm", True, "generate.likelihood: the backend vllm gives none while it serves adapters"),
        ("vllm", False, None),
        ("transformers", True, None),
    ],
)
def test_likelihood_is_refused_where_the_backend_gives_none(tmp_path, backend, adapt, problem):
    written = write_config(tmp_path, write_documents(tmp_path / "d.jsonl", range(3)))
    overrides = ["generate.likelihood=true", f"adapt.enabled={str(adapt).lower()}"]
    config = load(str(written), overrides)
    card = ModelCard(SMOL, "0" * 64, backend, "", 0)
    if problem is None:
        check_backend(config, card)
    else:
        with pytest.raises(ConfigError, match=problem):
            check_backend(config, card)


def test_services_get_no_sentences_to_go_on_with(tmp_path):
    written = write_config(tmp_path, write_documents(tmp_path / "d.jsonl", range(3)))
    config = load(str(written), ["domains.law.tasks=[choice]"])
    with pytest.raises(ConfigError, match=r"domains\.law\.tasks: choice gives the model the beginning"):
        check_backend(config, ModelCard(SMOL, "0" * 64, "openai", "", 0))


def test_a_large_file_that_cannot_be_cut_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(plan_warnings, "LARGE_BYTES", 4000)
    folder = tmp_path / "documents"
    folder.mkdir()
    rows = write_documents(folder / "a.jsonl", range(10)).read_bytes()
    (folder / "b.jsonl.gz").write_bytes(gzip.compress(rows))
    (folder / "c.json").write_bytes(b"[" + rows.strip().replace(b"\n", b",") + b"]")
    (folder / "d.json").write_text("[]")
    (folder / "e.txt").write_text("One document is read at once. " * 1000)
    config = load(str(write_config(tmp_path, folder)), ["domains.law.per_day=10"])
    monkeypatch.setattr(parts, "MAX_PART_BYTES", 1000)
    warnings = plan.make_plan(config, DATE)["warnings"]
    assert [warning.partition(" MB) is one shard")[0].partition(" (")[0] for warning in warnings] == [
        "domains.law.seeds[0]: b.jsonl.gz",
        "domains.law.seeds[0]: c.json",
    ]
    assert "; decompress it, or save it as several .gz files, so" in warnings[0]
    assert "; save it as JSON Lines in UTF-8, so" in warnings[1]

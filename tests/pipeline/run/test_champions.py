"""Champions of a date: which ones it gets and keeps, what they change, and what is said when one cannot be used."""

import shutil
from dataclasses import replace

import pyarrow.parquet as pq
import pytest

from configs.errors import ConfigError, StoreError
from configs.load import load
from model.backends import identify, open_trainer
from pipeline.planning.plan import make_plan
from pipeline.run.champions import (
    champions_of,
    check_adapters,
    notes_on_training,
    with_champions,
    with_pinned_champions,
)
from pipeline.run.date_run import DateRun
from pipeline.run.preview import preview_rows
from pipeline.run.resolve import ResolvedModels, check_backend, run_fingerprint
from pipeline.store.dataset import DataSet
from pipeline.store.registry import EvolveVerdict, Variant, VariantAdapter
from pipeline.store.registry_files import Registry
from stages.ports import ModelCard
from stages.storage.atomic import write_text
from tests.factories.command_line import DATE, call
from tests.factories.documents import write_config, write_documents
from tests.factories.manifests import manifest_of

NEXT_DATE = "2026-01-03"
EVOLVE = ("evolve={}", "adapt.enabled=false", "generate.samples=2", "generate.samples_share=0.5")
WEIGHTS = Variant(task_weights={"explain": 3.0, "question-answer": 1.0})


def trained(config, root):
    """A variant with an adapter in the data set."""
    talk = [[{"role": "user", "content": "Why?"}, {"role": "assistant", "content": f"So {n}."}] for n in range(8)]
    trainer = open_trainer(config.adapt.lora, identify(config.generator), 1, 17)
    assert trainer is not None
    adapter = trainer.train("law", talk[:6], talk[6:], root / "adapters").adapter
    path = f"adapters/{adapter.sha256}"
    return Variant(adapter=VariantAdapter(name=adapter.name, sha256=adapter.sha256, path=path), round=2)


def promote(root, variant, base_sha256):
    registry = Registry(root)
    pointer = registry.read("law")
    registry.commit(
        EvolveVerdict(
            number=pointer.last_verdict + 1,
            domain="law",
            date=DATE,
            decided="2026-01-02T12:00:00+00:00",
            status="promoted",
            reason="better",
            base_sha256=base_sha256,
            champion=pointer.champion,
            challenger=variant,
        )
    )


@pytest.fixture
def models(tmp_path):
    config = load(str(write_config(tmp_path, write_documents(tmp_path / "d.jsonl", range(3)))), list(EVOLVE))
    return ResolvedModels(config, identify(config.generator), None, {})


@pytest.fixture
def data(models):
    return DataSet.open(models.config.out)


def pinned(models, date=DATE, *, force=False):
    return with_pinned_champions(models, DateRun.open(DataSet.open(models.config.out), date), force=force)


def begin(models, date=DATE):
    """Starts a date: its record and a committed shard."""
    with DateRun.open(DataSet.open(models.config.out), date) as date_run:
        date_run.lock()
        date_run.begin(models, run_fingerprint(models))
        write_text(date_run.folder / "stages/seeds/part-00000-of-00001-0.parquet.json", "{}")


def finish(data, models, date=DATE):
    fingerprint = run_fingerprint(models)
    champions = dict(models.champions)
    data.publish(
        date, {}, manifest_of(date=date, fingerprint=fingerprint, champions=champions, generator=models.generator)
    )


def test_without_a_registry_the_base_model_is_champion_and_the_fingerprint_is_as_before(models):
    got = pinned(models)
    assert got.champions == {"law": Variant()}
    assert run_fingerprint(got) == run_fingerprint(models)
    assert got.config is models.config


def test_without_evolve_the_registry_is_not_read(models, data):
    promote(data.root, WEIGHTS, models.generator.sha256)
    write_text(data.root / "registry" / "law.json", "damaged")
    plain = replace(models, config=models.config.model_copy(update={"evolve": None}))
    assert pinned(plain).champions == {}
    with pytest.raises(StoreError, match=r"law\.json: damaged"):
        pinned(models)


def test_a_champion_is_part_of_the_fingerprint(models, data):
    promote(data.root, WEIGHTS, models.generator.sha256)
    got = pinned(models)
    assert got.champions == {"law": WEIGHTS}
    assert got.config.domains["law"].task_weights == WEIGHTS.task_weights
    adapter = Variant(adapter=VariantAdapter(name="law@1", sha256="1", path="adapters/1"))
    fingerprints = {run_fingerprint(replace(models, champions={"law": each})) for each in (Variant(), WEIGHTS, adapter)}
    assert len(fingerprints) == 3


@pytest.mark.parametrize("state", ["started", "finished", "finished, its run folder removed"])
def test_a_date_keeps_its_champions_when_the_registry_goes_on(models, data, state):
    promote(data.root, WEIGHTS, models.generator.sha256)
    first = pinned(models)
    begin(first)
    if state != "started":
        finish(data, first)
    if state.endswith("removed"):
        shutil.rmtree(data.run_folder(DATE))
    promote(data.root, Variant(task_weights={"explain": 9.0}), models.generator.sha256)
    again = pinned(models)
    assert (again.champions, run_fingerprint(again)) == (first.champions, run_fingerprint(first))
    assert pinned(models, NEXT_DATE).champions != first.champions
    without = replace(models, config=models.config.model_copy(update={"evolve": None}))
    assert pinned(without).champions == first.champions


def test_a_date_from_before_keeps_the_base_model(models, data):
    begin(pinned(models))
    finish(data, pinned(models))
    promote(data.root, WEIGHTS, models.generator.sha256)
    assert pinned(models).champions == {"law": Variant()}
    assert pinned(models, force=True).champions == {"law": Variant()}


def test_force_keeps_the_champions_of_a_finished_date_alone(models, data):
    promote(data.root, WEIGHTS, models.generator.sha256)
    first = pinned(models)
    begin(first)
    newer = Variant(task_weights={"explain": 9.0})
    promote(data.root, newer, models.generator.sha256)
    assert pinned(models, force=True).champions == {"law": newer}
    finish(data, first)
    assert pinned(models, force=True).champions == first.champions
    data.rollback(DATE)  # withdrawn
    assert pinned(models, force=True).champions == {"law": newer}


def test_force_with_another_base_model_gets_the_present_champions(models, data):
    first = pinned(models)
    begin(first)
    finish(data, first)
    promote(data.root, WEIGHTS, models.generator.sha256)
    other = replace(models, generator=replace(models.generator, sha256="another"))
    assert pinned(other, force=True).champions == {"law": WEIGHTS}


def test_an_adapter_of_another_base_model_is_refused(models, data):
    data.publish(DATE, {}, manifest_of(date=DATE))
    variant = trained(models.config, data.root)
    for _ in range(3):
        promote(data.root, variant, "0123456789abcdef")
    with pytest.raises(ConfigError, match=r"generator\.model: echo .* is not the model ") as refused:
        champions_of(data, models.config, models.generator)
    command = str(refused.value).partition(" with gristmill ")[2]
    assert command == f"registry rollback law --to-base --out {data.root} --reason TEXT"
    assert call(*command.split()).code == 0
    assert Registry(data.root).read("law").frozen == ""
    assert champions_of(data, models.config, models.generator) == {"law": Variant()}


def test_weights_and_prompts_fit_any_base_model(models, data):
    promote(data.root, WEIGHTS, "0123456789abcdef")
    assert champions_of(data, models.config, models.generator) == {"law": WEIGHTS}


@pytest.mark.parametrize("harm", ["gone", "incomplete", "changed"])
def test_an_adapter_that_is_not_what_it_was_is_named_with_the_fix(models, data, harm):
    variant = trained(models.config, data.root)
    folder = data.root / variant.adapter.path
    check_adapters(data, DATE, {"law": variant})
    if harm == "gone":
        shutil.rmtree(folder)
    elif harm == "incomplete":
        (folder / "adapter_config.json").unlink()
    else:
        (folder / "adapter_model.safetensors").write_bytes(b"changed")
    with pytest.raises(StoreError) as error:
        check_adapters(data, DATE, {"law": variant})
    assert str(error.value).startswith(f"{folder}: {'damaged' if harm == 'changed' else 'missing or incomplete'}")
    assert str(error.value).endswith(f"gristmill run --date {DATE} --force")
    finish(data, models)
    with pytest.raises(StoreError, match=f"--force after gristmill store rollback {DATE}"):
        check_adapters(data, DATE, {"law": variant})


@pytest.mark.parametrize(
    ("tasks", "own", "variant", "expected"),
    [
        ("ab", {}, {}, {}),
        ("ab", {"a": 2}, {}, {"a": 2}),
        ("ab", {"a": 2}, {"task_weights": {"a": 0.7, "b": 0.3}}, {"a": 0.7, "b": 0.3}),
        ("abc", {}, {"task_weights": {"a": 0.6, "b": 0.2}}, {"a": 0.6, "b": 0.2, "c": 0.4}),  # c was added since
        ("ac", {}, {"task_weights": {"a": 0.6, "b": 0.2}}, {"a": 0.6, "c": 0.6}),  # b was removed since
        ("c", {}, {"task_weights": {"a": 0.6, "b": 0.2}}, {}),
        ("c", {}, {"task_weights": {"a": 0.6, "c": 0}}, {}),
        ("ab", {}, {"prompts": {"a": "c"}}, {"c": None, "b": None}),
        ("ab", {"a": 2}, {"prompts": {"a": "c"}}, {"c": 2, "b": 1}),
        ("ab", {}, {"prompts": {"a": "b"}}, {"b": 2}),
        ("abc", {}, {"prompts": {"a": "b"}}, {"b": 2, "c": 1}),
        ("ab", {}, {"task_weights": {"a": 0.7, "b": 0.3}, "prompts": {"b": "c"}}, {"a": 0.7, "c": 0.3}),
    ],
)
def test_weights_and_prompts_of_a_champion(models, tasks, own, variant, expected):
    names = {"a": "explain", "b": "question-answer", "c": "summary"}

    def named(weights):
        return {names[task]: weight for task, weight in weights.items()}

    renamed = {
        "task_weights": named(variant.get("task_weights", {})),
        "prompts": {names[task]: names[other] for task, other in variant.get("prompts", {}).items()},
    }
    config = load("echo", [f"domains.medicine.tasks={list(names.values())}"])
    domain = config.domains["law"].model_copy(
        update={"tasks": tuple(names[task] for task in tasks), "task_weights": named(own)}
    )
    config = config.model_copy(update={"domains": {"law": domain}})
    got = with_champions(config, {"law": Variant.model_validate(renamed)}).domains["law"]
    weights = named({task: weight for task, weight in expected.items() if weight is not None})
    assert got.task_weights == pytest.approx(weights)
    if variant.get("prompts"):
        assert got.tasks == tuple(named(expected))
    else:
        assert got.tasks == domain.tasks


def test_a_prompt_that_is_not_configured_any_more_is_named(models):
    with pytest.raises(
        ConfigError, match=r"tasks: no task 'summary', with which the champion of law .* instead of explain"
    ):
        with_champions(models.config, {"law": Variant(prompts={"explain": "summary"})})


def test_likelihood_beside_adapters_is_refused_where_the_backend_gives_none(models):
    card = ModelCard("m", "0", "vllm", "", 0)
    config = models.config.model_copy(
        update={"generate": models.config.generate.model_copy(update={"likelihood": True})}
    )
    with pytest.raises(ConfigError, match=r"generate\.likelihood: .* set evolve\.candidates: \[tasks\]"):
        check_backend(config, card)
    evolve = config.evolve.model_copy(update={"candidates": ("tasks",)})
    config = config.model_copy(update={"evolve": evolve})
    check_backend(config, card)
    with DateRun.open(DataSet.open(config.out), DATE) as date_run:
        variant = Variant(adapter=VariantAdapter(name="law@1", sha256="1", path="adapters/1"))
        promote(date_run.data.root, variant, "0")
        with pytest.raises(ConfigError, match=r"generate\.likelihood: the backend vllm gives none"):
            with_pinned_champions(ResolvedModels(config, card, None, {}), date_run)


def test_training_on_dates_that_were_withdrawn_or_replaced_is_noted(data):
    for date in (DATE, NEXT_DATE, "2026-01-04"):
        data.publish(date, {}, manifest_of(date=date, digest=f"of {date}"))
    variant = WEIGHTS.model_copy(
        update={"trained_on": {DATE: f"of {DATE}", NEXT_DATE: "another", "2026-01-04": "of 2026-01-04"}}
    )
    data.rollback("2026-01-04")
    (note,) = notes_on_training(data, {"law": variant, "medicine": Variant()})
    assert note.startswith(
        f"law: its champion {variant.id} was trained on {NEXT_DATE}, 2026-01-04, withdrawn or replaced"
    )
    assert list(notes_on_training(data, {"law": Variant(trained_on={DATE: f"of {DATE}"})})) == []


def test_a_champion_writes_a_date_from_its_first_row_on(tmp_path):
    """On echo: plan and preview show it; its adapter, depth, weights and answers are in what is published."""
    config_path = write_config(tmp_path, write_documents(tmp_path / "d.jsonl", range(60)))
    config = load(str(config_path), list(EVOLVE))
    data = DataSet.open(config.out)
    variant = trained(config, data.root).model_copy(
        update={"task_weights": {"explain": 1.0, "question-answer": 0.0}, "trained_on": {"2026-01-01": "gone"}}
    )
    promote(data.root, variant, identify(config.generator).sha256)
    flags = ["--config", config_path, "--date", DATE, *(part for change in EVOLVE for part in ("--set", change))]
    planned = make_plan(config, DATE)
    assert planned["champions"] == {"law": variant.id}
    (row,) = preview_rows(config, DATE, 1)
    candidate = row.generated.candidate
    assert candidate is not None
    assert (candidate.task, candidate.adapter) == ("explain", variant.adapter.name)
    done = call("run", *flags, "--json")
    assert done.code == 0, done.err
    assert "law: its champion" in done.line["notes"][0]
    manifest = data.manifest(DATE)
    assert manifest is not None
    assert (manifest.champions, manifest.fingerprint) == ({"law": variant}, planned["fingerprint"])
    rows = [row for shard in manifest.shards for row in pq.read_table(data.root / shard.file).to_pylist()]
    assert {(row["adapter"], row["depth"], row["task"]) for row in rows} == {(variant.adapter.name, 3, "explain")}
    answers = [row for ref in manifest.answers for row in pq.read_table(data.root / ref.file).to_pylist()]
    assert {row["adapter"] for row in answers} == {variant.adapter.name}
    assert {row["accepted"] for row in answers} == {True, False}
    assert min(sum(row["seed_id"] == each["seed_id"] for row in answers) for each in answers) == 2

"""Starts of a date's evolution: the first one, and those after a kill between two verdicts."""

import pytest
import yaml

from configs.errors import ConfigError
from configs.load import load
from pipeline.evolve.candidates import next_candidate
from pipeline.evolve.evolution import DomainOutcome, Evolution
from pipeline.evolve.evolve_date import evolve_date
from pipeline.evolve.start import check_measured_share, start
from pipeline.evolve.verdict import verdicts_on
from pipeline.run.resolve import resolve_models
from pipeline.run.shutdown import Stop
from pipeline.run.stage_specs import Context
from pipeline.store.dataset import DataSet
from pipeline.store.registry import Variant
from pipeline.store.registry_files import Registry
from tests.factories.evolve.registries import BASE_SHA256
from tests.factories.evolve.verdicts import check_of, variant_of, verdict_after
from tests.factories.manifests import manifest_of

DATE = "2026-01-03"


@pytest.fixture
def models(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump({"name": "mine", "out": str(tmp_path / "out"), "domains": ["law", "medicine"]}))
    sets = ["generator={backend: echo, model: echo}", "adapt.enabled=false", "evolve={}", "screen.encoder=null"]
    return resolve_models(load(str(path), [*sets, "screen.filters=[{name: length}]"]))


@pytest.fixture
def data(models):
    return DataSet.open(models.config.out)


def judged(data, models, domain, status="refused", date=DATE, **changes):
    registry = Registry(data.root)
    base = {"date": date, "base_sha256": models.generator.sha256}
    registry.commit(verdict_after(registry.read(domain), status, **base | changes))


def begun(models, data, earlier=None):
    return start(models, data, Registry(data.root), DATE, earlier)


def kinds(models, record):
    """The candidate that each domain would get."""
    return {
        name: next_candidate(
            models.config, name, record.pointers[name], record.turns[name], {}, trains_adapters=True
        ).kind
        for name in models.config.domains
    }


def verdicts_of(models, data, record, domain, **outcome):
    run = Context(
        models.config, models.generator, None, {}, data.root, DATE, "evolve", [], [], 1, folder=f"evolve/{DATE}"
    )
    candidates = {
        name: next_candidate(models.config, name, record.pointers[name], record.turns[name], {}, trains_adapters=True)
        for name in models.config.domains
    }
    evolution = Evolution(run, record, candidates)
    return list(verdicts_on(evolution, Registry(data.root), domain, DomainOutcome(candidates[domain], **outcome)))


def test_a_start_after_a_kill_between_two_domains_goes_on(models, data):
    first = begun(models, data)
    judged(data, models, "law")
    again = begun(models, data, first)
    assert again.fingerprint == first.fingerprint
    assert kinds(models, again) == kinds(models, first) == {"law": "sft", "medicine": "sft"}
    assert verdicts_of(models, data, again, "law") == []
    assert len(verdicts_of(models, data, again, "medicine")) == 1


def test_a_start_after_a_kill_between_trial_and_candidate_goes_on(models, data):
    judged(data, models, "law", "promoted", "2026-01-02", rejudge_dates=1)
    first = begun(models, data)
    judged(data, models, "law", "kept", kind="rejudge", checks=(check_of(),))
    assert Registry(data.root).read("law").rejudgements_left == 0
    again = begun(models, data, first)
    assert again.fingerprint == first.fingerprint
    assert again.pointers["law"].rejudgements_left == 1


def test_what_people_decided_meanwhile_counts(models, data):
    judged(data, models, "law", "promoted", "2026-01-02", challenger=variant_of("two"))
    first = begun(models, data)
    judged(data, models, "medicine")
    Registry(data.root).rollback("law", DATE, "it is bad")
    again = begun(models, data, first)
    assert again.fingerprint != first.fingerprint
    assert again.pointers["law"].champion == Variant()


@pytest.mark.parametrize("with_record", [True, False])
def test_a_domain_that_is_decided_gets_no_second_verdict(models, data, with_record):
    """Whatever the next candidate would be: somebody froze the domain, or removed the record of the start."""
    first = begun(models, data)
    judged(data, models, "law")
    Registry(data.root).freeze("law", DATE, "release week")
    again = begun(models, data, first if with_record else None)
    assert verdicts_of(models, data, again, "law") == []


def test_a_new_base_model_starts_anew(models, data):
    judged(data, models, "law", date="2026-01-02", base_sha256=BASE_SHA256)
    record = begun(models, data)
    assert Registry(data.root).history("law")[-1].kind == "base"
    assert record.pointers["law"].base_sha256 == models.generator.sha256


def evolving(models, data):
    """An evolution of DATE, which has run."""
    data.manifest_path(DATE).parent.mkdir(parents=True, exist_ok=True)
    if not data.manifest_path(DATE).exists():
        data.manifest_path(DATE).write_text(manifest_of(date=DATE).to_json())
    return evolve_date(models, DATE, beam_args=(), watch=lambda folder: None, stop=Stop(1, None, print), now=True)


def files_in(root):
    return {path: path.read_bytes() for path in root.rglob("*") if path.is_file() and path.name != "lock"}


def test_a_larger_measured_share_is_refused_while_a_champion_has_an_adapter(models, data):
    champion = variant_of("two", measured_share=0.1)
    judged(data, models, "law", "promoted", "2026-01-02", challenger=champion)
    data.manifest_path(DATE).parent.mkdir(parents=True)
    data.manifest_path(DATE).write_text(manifest_of(date=DATE).to_json())
    before = files_in(data.root)
    with pytest.raises(ConfigError) as refused:
        evolving(models, data)
    assert str(refused.value) == (
        f"evolve.measured_share: 0.2 is more than 0.1, with which the champion of law ({champion.id}) was trained: it "
        "has learnt documents that would be measured; set it back to 0.1, or roll the champion back: "
        f"gristmill registry rollback law --to-base --out {data.root} --reason TEXT"
    )
    assert files_in(data.root) == before
    assert not (data.root / "evolve").exists()


@pytest.mark.parametrize(
    ("champion", "base_sha256"),
    [
        (variant_of("two", measured_share=0.2), None),
        (variant_of("two", measured_share=0.3), None),
        (variant_of("two"), None),  # of an earlier version
        (Variant(task_weights={"explain": 2.0}, measured_share=0.1), None),  # nothing was trained
        (variant_of("two", measured_share=0.1), BASE_SHA256),  # the base model was replaced
    ],
)
def test_other_champions_go_on(models, data, champion, base_sha256):
    base = {"base_sha256": base_sha256} if base_sha256 else {}
    judged(data, models, "law", "promoted", "2026-01-02", challenger=champion, **base)
    check_measured_share(models, Registry(data.root))


def test_a_call_after_the_last_verdict_finishes_what_a_kill_left(models, data):
    """Killed between verdict and pointer, while writing, and before the report."""
    data.manifest_path(DATE).parent.mkdir(parents=True)
    data.manifest_path(DATE).write_text(manifest_of(date=DATE).to_json())
    registry = Registry(data.root)
    for domain in models.config.domains:
        judged(data, models, domain)
    pointer = registry.pointer_path("law").read_bytes()
    registry.pointer_path("law").unlink()
    leftovers = [
        data.root / "registry" / "history" / "law" / ".tmp-1",
        data.root / "evolve" / ".tmp-2",
        data.root / "evolve" / DATE / ".tmp-3",
        data.root / "evolve" / DATE / "stages" / "fit" / "part-00000.parquet.attempt-1",
    ]
    for path in leftovers:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    stop = Stop(1, None, print)
    result = evolve_date(models, DATE, beam_args=(), watch=lambda folder: None, stop=stop)
    assert result.status == "nothing"
    assert registry.pointer_path("law").read_bytes() == pointer
    assert not any(path.exists() for path in leftovers)
    assert (data.root / "evolve" / "report.html").exists()


def test_the_dates_of_a_champion_that_the_loop_rolls_back_are_named(models, data):
    """Those that it wrote, not all since; with the command that withdraws them."""
    champion = variant_of("two")
    judged(data, models, "law", "promoted", "2026-01-01", challenger=champion, rejudge_dates=3)
    judged(data, models, "law", "rolled back", kind="rejudge", checks=(check_of(passed=False),))
    judged(data, models, "medicine")
    data.manifest_path(DATE).parent.mkdir(parents=True)
    for date, writers in (("2026-01-01", {}), ("2026-01-02", {"law": champion}), (DATE, {"medicine": champion})):
        data.manifest_path(date).write_text(manifest_of(date=date, champions=writers).to_json())
    result = evolving(models, data)
    assert result.status == "nothing"
    assert (
        f"law: {champion.id} wrote 2026-01-02; gristmill store rollback DATE --out {data.root} withdraws one"
        in result.notes
    )


def test_a_page_that_cannot_be_written_is_a_note(models, data):
    data.manifest_path(DATE).parent.mkdir(parents=True)
    data.manifest_path(DATE).write_text(manifest_of(date=DATE).to_json())
    for domain in models.config.domains:
        judged(data, models, domain)
    page = data.root / "evolve" / "report.html"
    page.mkdir(parents=True)
    result = evolve_date(models, DATE, beam_args=(), watch=lambda folder: None, stop=Stop(1, None, print))
    assert result.status == "nothing"
    assert str(page) in result.notes[-1]
    assert f"gristmill report evolve --out {data.root}" in result.notes[-1]

"""Configuration: wrong input is refused by name, and the fingerprint holds what matters and nothing else."""

import json
import tarfile
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from configs import load, renamed_keys
from configs.errors import ConfigError
from configs.schema import CASCADE
from filters import FILTERS
from tests.factories.command_line import ROOT

HERE = Path(load.__file__).parent
PRESETS = ["laptop", "gpu", "cluster", "echo"]


def test_set_chooses_domains_by_name(tmp_path):
    """Those that the file has stay as they are there, whatever is set before or after."""
    path = tmp_path / "mine.yaml"
    path.write_text((HERE / "presets" / "echo.yaml").read_text())
    config = load.load(str(path), ["domains.law.per_day=7", "domains=[law]", "domains.law.passages.min_chars=50"])
    assert list(config.domains) == ["law"]
    assert (config.domains["law"].per_day, config.domains["law"].passages.min_chars) == (7, 50)
    assert list(load.load(str(path), ["domains=[medicine]"]).domains) == ["medicine"]


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_load_and_survive_a_round_trip(preset, tmp_path):
    config = load.load(preset)
    copy = tmp_path / "config.yaml"
    copy.write_text(load.dump(config), "utf-8")
    assert load.load(str(copy)) == config


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("domains.law.perday=7", "domains.law.perday: unknown key, did you mean 'per_day'?"),
        ("generator.bakend=x", "generator.bakend: unknown key, did you mean 'backend'?"),
        ("domains.law.seeds.0.korpus=x", "domains.law.seeds[0].korpus: unknown key, did you mean 'corpus'?"),
        ("domains.law.per_day=none", "domains.law.per_day: "),
        ("domains.law.tasks=[explian]", "tasks: no 'explian', did you mean 'explain'?"),
        ("seed=abc", "seed: "),
        ("out=s3://bucket/x", "out: 's3://bucket/x': only a path works; set `out` to a folder"),
        ("publish=memory://x", "publish: 'memory://x': not a bucket; write s3://BUCKET/PREFIX"),
        ("screen.filters=[{name: length}, {name: length}]", "screen.filters: named twice: length"),
        ("domains.law.seeds=[{path: x.jsonl}]", "licence: missing"),
        ("domains.law.languages=[en, fr]", "domains.law.languages[1]: "),
        ("novalue", "--set 'novalue': write --set a.b=c"),
        (
            "domains.law.per_day.deeper=1",
            "--set domains.law.per_day.deeper: domains.law.per_day is a value, not a section",
        ),
        ("domains.law.seeds.9.corpus=x", "--set domains.law.seeds.9.corpus: domains.law.seeds has no item 9"),
        ("domains=[lw]", "domains: no 'lw', did you mean 'law'?"),
        ("domains=law", "domains"),
        ("domains=[[law]]", "domains: no \"['law']\""),
        ("seed=[1", "--set 'seed=[1': '[1' is not a YAML value"),
    ],
)
def test_wrong_values_are_named(override, message):
    with pytest.raises(ConfigError) as error:
        load.load("echo", [override])
    assert message in str(error.value)


def test_a_key_that_stands_twice_is_refused(tmp_path):
    path = tmp_path / "twice.yaml"
    path.write_text((HERE / "presets" / "echo.yaml").read_text() + "\nseed: 1\nseed: 2\n")
    with pytest.raises(ConfigError, match="the key 'seed' appears twice"):
        load.load(str(path))


@pytest.mark.parametrize("text", ["- a list", "a: [", "\xff"])
def test_a_file_that_is_no_mapping_is_refused(tmp_path, text):
    path = tmp_path / "bad.yaml"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(ConfigError, match=r"bad\.yaml: "):
        load.load(str(path))


@pytest.mark.parametrize(("loader", "names"), [(load.load, PRESETS), (load.load_training, ["laptop", "nano"])])
def test_exactly_the_presets_are_offered(loader, names):
    with pytest.raises(ConfigError) as error:
        loader("nope")
    assert str(error.value).endswith(f"no such file 'nope'; presets: {', '.join(sorted(names))}")


@pytest.mark.parametrize("name", ["rates", "rubric", "safety", "corpora"])
def test_other_files_that_are_shipped_are_not_presets(name):
    with pytest.raises(ConfigError, match=f"no such file '{name}'; presets: "):
        load.load(name)


@pytest.mark.parametrize(
    "override",
    ["out=/elsewhere", "run.workers=4", "run.stall_timeout_s=5", "price.machine_hour=3", "name=other",
     "generator.threads=1", "generator.openai.api_key_env=OTHER", "generator.vllm.max_num_seqs=8"],
)  # fmt: skip
def test_where_and_how_fast_do_not_change_the_fingerprint(override):
    assert load.fingerprint(load.load("echo", [override])) == load.fingerprint(load.load("echo"))


@pytest.mark.parametrize(
    "override",
    ["seed=18", "domains.law.per_day=7", "generate.max_attempts=1", "screen.filters=[{name: length}]", "dedup.bands=8",
     "adapt.enabled=false", "generator.echo.defect_rate=0", "tasks.explain.sampling.temperature=0.9"],
)  # fmt: skip
def test_what_is_asked_for_changes_the_fingerprint(override):
    assert load.fingerprint(load.load("echo", [override])) != load.fingerprint(load.load("echo"))


def test_the_model_hash_is_part_of_the_fingerprint():
    config = load.load("echo")
    assert load.fingerprint(config, "a") != load.fingerprint(config, "b")


def test_moved_seed_files_keep_the_fingerprint():
    def with_path(path):
        return load.load("echo", [f"domains.law.seeds=[{{path: {path}, licence: MIT}}]"])

    assert load.fingerprint(with_path("a.jsonl")) == load.fingerprint(with_path("b/c.jsonl"))


@given(st.dictionaries(st.text(), st.one_of(st.integers(), st.text(), st.none()), max_size=5))
def test_digest_ignores_order_only(value):
    assert load.digest(value) == load.digest(dict(reversed(value.items())))
    assert load.digest(value) != load.digest([value])


def test_every_packaged_task_is_complete():
    from stages.prompt import check

    for path in sorted((HERE / "tasks").glob("*.yaml")):
        task = load.load("echo", [f"domains.law.tasks=[{path.stem}]"]).tasks[path.stem]
        assert task.languages == ("en", "zh", "es")
        check(task)


def test_without_a_screen_all_filters_run_on_the_default_encoder(tmp_path):
    path = tmp_path / "c.yaml"
    seeds = "{seeds: [{path: d, licence: MIT}], tasks: [explain], per_day: 2}"
    path.write_text(f"name: c\nout: o\ndomains: {{law: {seeds}}}\ngenerator: {{backend: echo, model: echo}}\n")
    screen = load.load(str(path)).screen
    assert [spec.name for spec in screen.filters] == CASCADE
    assert set(CASCADE) == set(FILTERS) - {"grounded", "quality"}  # docs/lab: grounded, rightness
    assert screen.encoder is not None
    assert load.load(str(path), ["screen.filters=[{name: length}]"]).screen.encoder is None


class TestRenamedKeys:
    """`generate.tries` was renamed to `generate.max_attempts`."""

    NOTICE = "generate.tries was renamed to generate.max_attempts; the old name works in this version only"

    @pytest.fixture(autouse=True)
    def _nothing_announced(self, monkeypatch):
        monkeypatch.setattr(renamed_keys, "_announced", set())

    def test_the_old_key_of_a_file_works_with_one_notice(self, tmp_path, capsys):
        text = (HERE / "presets" / "echo.yaml").read_text().replace("shard_rows: 32", "shard_rows: 32, tries: 4")
        path = tmp_path / "old.yaml"
        path.write_text(text)
        assert load.load(str(path)).generate.max_attempts == load.load(str(path)).generate.max_attempts == 4
        assert capsys.readouterr().err == f"old.yaml: {self.NOTICE}\n"

    @pytest.mark.parametrize("override", ["generate.tries=3", "generate={tries: 3}"])
    def test_the_old_key_works_under_set(self, override, capsys):
        assert load.load("echo", [override]).generate.max_attempts == 3
        assert capsys.readouterr().err == f"--set: {self.NOTICE}\n"

    def test_the_new_key_has_no_notice(self, capsys):
        assert load.load("echo", ["generate.max_attempts=3"]).generate.max_attempts == 3
        assert capsys.readouterr().err == ""

    def test_both_keys_are_an_error(self):
        with pytest.raises(ConfigError, match=r"max_attempts and its old name generate\.tries are both set"):
            load.load("echo", ["generate={tries: 3, max_attempts: 2}"])

    def test_a_config_is_saved_under_the_new_name(self):
        saved = yaml.safe_load(load.dump(load.load("echo")))["generate"]
        assert saved["max_attempts"] == 2
        assert "tries" not in saved

    def test_a_changed_key_is_named_as_it_is_called_now(self):
        changes = ["generate.max_attempts=3", "dedup.bands=8", "run.workers=2"]
        assert load.changed_keys(load.load("echo"), load.load("echo", changes)) == [
            "dedup.bands",
            "generate.max_attempts",
        ]

    def test_digests_use_the_first_name(self):
        assert load.identity(load.load("echo"))["generate"]["tries"] == 2


@pytest.fixture(scope="module")
def earlier_data_set(tmp_path_factory):
    """A data set of the version before, with two finished dates and one that was stopped."""
    folder = tmp_path_factory.mktemp("earlier")
    with tarfile.open(ROOT / "tests" / "fixtures" / "dataset-of-manifest-1.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    return folder


def fingerprint_of(path):
    from pipeline.run.resolve import resolve_models, run_fingerprint

    return run_fingerprint(resolve_models(load.load(str(path))))


@pytest.mark.parametrize("date", ["2026-01-01", "2026-01-02", "2026-01-03"])
def test_saved_configs_of_the_version_before_keep_their_fingerprint(earlier_data_set, date):
    run = earlier_data_set / "out" / "runs" / date
    assert fingerprint_of(run / "config.yaml") == json.loads((run / "run.json").read_text())["fingerprint"]


def test_the_config_of_a_finished_date_keeps_its_fingerprint(earlier_data_set, monkeypatch):
    monkeypatch.chdir(earlier_data_set)
    assert fingerprint_of("mine.yaml") == "edd82b70f76e6cf5"


def test_an_adapter_of_evolve_must_not_have_a_larger_rank_than_is_served():
    changes = ["generator.backend=vllm", "generator.vllm.max_lora_rank=8", "evolve.lora.max_rank=16"]
    with pytest.raises(ConfigError, match=r"evolve\.lora\.max_rank: 16, but generator\.vllm\.max_lora_rank is 8"):
        load.load("echo", ["evolve={}", "adapt.enabled=false", *changes])

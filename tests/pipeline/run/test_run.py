"""A whole date on the echo generator, as a user runs it: the result, the second run, another config, two at once."""

import json
import os
import shutil
import subprocess
from collections import Counter

import pyarrow.parquet as pq
import pytest

from configs.load import load
from model.data.shards import published_shards
from pipeline.store.dataset import DataSet
from stages.ports import Generator
from stages.questions import sampling_of
from stages.record import ROW
from tests.factories.command_line import DATE, ROOT, TIMEOUT_S, call, command, environment, gristmill
from tests.factories.documents import passage, write_config, write_documents

AFTER_SCREEN = ("dedup-sign", "dedup-match", "dedup", "shards")


def rows(out, date=DATE):
    manifest = json.loads((out / "manifests" / f"{date}.json").read_text())
    return [row for shard in manifest["shards"] for row in pq.read_table(out / shard["file"]).to_pylist()]


def test_the_json_line_tells_what_there_is(finished):
    line = finished.result.line
    assert line["status"] == "done"
    assert line["accepted"] == len(rows(finished.out)) > 20
    assert line["bytes"] == sum(os.path.getsize(shard) for shard in line["shards"])
    assert line["manifest"] == str(finished.out / "manifests" / f"{DATE}.json")
    assert sum(line["rejected"].values()) + line["accepted"] + line["quarantined"] == 40


def test_the_echo_preset_runs_by_its_file(tmp_path):
    """The preset itself: its corpora come from their packages, through the cache."""
    line = command("run", "--config", "configs/presets/echo.yaml", "--out", tmp_path / "out", "--date", DATE, "--json")
    done = subprocess.run(
        line, capture_output=True, text=True, timeout=TIMEOUT_S, cwd=ROOT, env=environment(), check=False
    )
    assert done.returncode == 0, done.stderr
    (last,) = done.stdout.splitlines()
    said = json.loads(last)
    assert said.keys() >= {"status", "accepted", "rejected", "bytes", "manifest", "shards"}
    assert said["status"] == "done"
    assert said["manifest"] == str(tmp_path / "out" / "manifests" / f"{DATE}.json")
    assert os.path.isfile(said["manifest"])
    assert {shard.split("domain=")[1].split("/")[0] for shard in said["shards"]} == {"law", "medicine"}
    assert sum(os.path.getsize(shard) for shard in said["shards"]) == said["bytes"] > 0
    assert sum(pq.read_metadata(shard).num_rows for shard in said["shards"]) == said["accepted"] > 0
    assert sum(said["rejected"].values()) > 0


def open_nothing() -> Generator:
    raise AssertionError("a cap needs no generator")


def test_a_cap_on_new_tokens_lowers_what_a_task_allows():
    config = load("echo", ["generate.max_tokens=130"])
    most = {name: sampling_of(task, config, 0).max_tokens for name, task in config.tasks.items()}
    assert most == {name: min(task.sampling.max_tokens, 130) for name, task in config.tasks.items()}
    assert {120, 130} <= set(most.values())  # a task below it, and tasks above


def test_the_language_model_finds_the_published_shards(finished):
    places = [
        str(path.relative_to(finished.out / "history" / DATE / "0001")) for path in published_shards(finished.out)
    ]
    assert places == sorted(shard["file"] for shard in finished.manifest["shards"])


def test_rows_carry_their_whole_lineage(finished):
    found = rows(finished.out)
    assert len({row["id"] for row in found}) == len(found)
    manifest = finished.manifest
    for row in found:
        assert row["licence"] == "CC0-1.0"
        assert row["source"] == "documents.jsonl"
        assert row["generator_sha256"] == manifest["generator"]["sha256"]
        assert row["run_id"] == manifest["run_id"]
        assert row["date"].isoformat() == DATE
        assert row["parents"] == [row["seed_id"]]
        assert (row["depth"] == 2) == (row["adapter"] is not None)
        assert row["messages"][-1]["role"] == "assistant"
    assert {row["depth"] for row in found} == {1, 2}
    assert {row["adapter"] for row in found} - {None} == {manifest["adapters"][0]["name"]}


def test_every_published_file_is_what_its_manifest_says(finished):
    from stages.storage.checksum import sha256_file

    manifest = finished.manifest
    for shard in manifest["shards"]:
        path = finished.out / shard["file"]
        assert sha256_file(path) == shard["sha256"]
        assert pq.read_schema(path).equals(ROW)
        assert pq.ParquetFile(path).metadata.row_group(0).column(0).compression == "ZSTD"
    for file, sha256, count, _ in [*manifest["index"], *manifest["used"]]:
        assert sha256_file(finished.out / file) == sha256
        assert pq.ParquetFile(finished.out / file).metadata.num_rows == count
    published = {str(path.relative_to(finished.out)) for path in (finished.out / "data").rglob("*") if path.is_file()}
    assert published == {shard["file"] for shard in manifest["shards"]}


def test_shards_open_elsewhere(finished, tmp_path):
    import datasets
    import duckdb
    import pandas
    import polars

    pattern, count = str(finished.out / "data" / "*" / "*" / "*.parquet"), len(rows(finished.out))
    assert (
        datasets.load_dataset("parquet", data_files=pattern, split="train", cache_dir=str(tmp_path)).num_rows == count
    )
    query = f"select count(*), min(domain), min(messages[1].role) from '{pattern}'"
    found = duckdb.connect().execute(query).fetchone()
    assert found == (count, "law", "user")
    assert polars.read_parquet(pattern).height == count
    assert len(pandas.read_parquet(finished.out / finished.manifest["shards"][0]["file"])) > 0


def test_a_card_stands_beside_the_data(finished):
    import yaml
    from huggingface_hub import DatasetCard

    card = DatasetCard.load(finished.out / "README.md")
    assert card.data.language == ["en"]
    head = yaml.safe_load(card.content.split("---")[1])
    assert head["configs"][1]["data_files"] == "data/shard_domain=law/shard_date=*/*.parquet"
    assert "CC0-1.0" in card.text
    assert "- Task explain: An explanation of the passage for a layman" in card.text


def test_a_finished_date_is_left_alone(finished):
    before = {path: path.stat().st_mtime_ns for path in finished.out.rglob("*.parquet")}
    done = call("run", "--config", finished.config, "--date", DATE, "--json")
    assert (done.code, done.line["status"]) == (0, "nothing")
    assert done.line["shards"] == finished.result.line["shards"]
    assert "nothing to do" in done.line["notes"][0]
    assert before == {path: path.stat().st_mtime_ns for path in finished.out.rglob("*.parquet")}


def test_another_configuration_is_refused_and_forced_on_what_is_still_valid(finished, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(finished.out, out)
    change = ["--set", "screen.filters=[{name: length, min_chars: 200}, {name: refusal}]", "--out", out]
    done = call("run", "--config", finished.config, "--date", DATE, *change)
    assert done.code == 2
    assert "was finished with another configuration (screen.filters)" in done.err
    generated = sorted(path.stat().st_mtime_ns for path in (out / "runs").rglob("stages/generate/part-*.parquet"))
    done = call("run", "--config", finished.config, "--date", DATE, "--json", "--force", *change)
    assert (done.code, done.line["status"]) == (0, "done")
    assert "too_short" in done.line["rejected"]
    assert generated == sorted(
        path.stat().st_mtime_ns for path in (out / "runs").rglob("stages/generate/part-*.parquet")
    )
    published = {str(path) for path in (out / "data").rglob("*.parquet")}
    assert published == set(done.line["shards"])


@pytest.mark.slow
def test_the_next_days_take_other_seeds_until_none_are_left(finished, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(finished.out, out)
    second = call("run", "--config", finished.config, "--date", "2026-01-03", "--json", "--out", out)
    third = call("run", "--config", finished.config, "--date", "2026-01-04", "--json", "--out", out)
    fourth = call("run", "--config", finished.config, "--date", "2026-01-05", "--json", "--out", out)
    assert [done.code for done in (second, third, fourth)] == [0, 0, 0]
    assert third.line["notes"] == ["law: 20 of 40 passages were left unused by earlier days; add sources"]
    assert fourth.line["status"] == "nothing"
    assert fourth.line["notes"] == ["no unused seeds are left (used 100): add sources, or start a new data set"]
    seeds = Counter(row["seed_id"] for day in ("02", "03", "04") for row in rows(out, f"2026-01-{day}"))
    assert max(seeds.values()) == 1


def write_twins(path, numbers, form):
    lines = (json.dumps({"text": f"TWIN-{n} {passage(1000 * form + n)}"}) + "\n" for n in numbers)
    path.write_text("".join(lines))


TWINS = ("--json", "--set", "adapt.enabled=false", "--set", "domains.law.tasks=[explain]")


@pytest.mark.slow
def test_planted_duplicates_are_found_across_shards_and_days(tmp_path):
    """Other passages, the same answers."""
    documents = tmp_path / "documents"
    documents.mkdir()
    write_twins(documents / "a.jsonl", range(12), 1)
    write_twins(documents / "b.jsonl", range(6), 2)
    config = write_config(tmp_path, documents)
    first = gristmill("run", "--config", config, "--date", DATE, *TWINS, faults=True)
    assert (first.code, first.line["accepted"], first.line["rejected"]) == (0, 12, {"duplicate": 6}), first.err
    write_twins(documents / "c.jsonl", range(16), 3)
    second = gristmill("run", "--config", config, "--date", "2026-01-03", *TWINS, faults=True)
    assert (second.code, second.line["accepted"], second.line["rejected"]) == (0, 4, {"duplicate": 12}), second.err


@pytest.mark.slow
def test_a_date_that_is_begun_keeps_its_seeds_and_heeds_what_was_finished_since(tmp_path):
    """Day one stops after its first screen, day two is made, day one goes on: no seed twice, no answer twice."""
    documents = tmp_path / "documents"
    documents.mkdir()
    write_twins(documents / "a.jsonl", range(16), 1)
    write_twins(documents / "b.jsonl", range(16), 2)
    config, out, days = write_config(tmp_path, documents), tmp_path / "out", (DATE, "2026-01-03")
    plain = [*TWINS, "--set", "domains.law.per_day=16"]
    alone = gristmill("run", "--config", config, "--date", DATE, *plain, faults=True).line
    for path in ("manifests", "data", "index", "used", *(f"runs/{DATE}/stages/{name}" for name in AFTER_SCREEN)):
        shutil.rmtree(out / path)
    assert call("plan", "--config", config, "--date", DATE, *plain).line["state"] == "started"
    second = gristmill("run", "--config", config, "--date", days[1], *plain, faults=True)
    first = gristmill("run", "--config", config, "--date", DATE, *plain, faults=True)
    assert (first.code, second.code) == (0, 0), first.err + second.err
    made = [row for day in days for row in rows(out, day)]
    assert len({row["seed_id"] for row in made}) == len(made)
    assert len({row["messages"][-1]["content"] for row in made}) == len(made) == 16
    assert first.line["accepted"] < alone["accepted"]
    third = call("run", "--config", config, "--date", "2026-01-04", *plain)
    assert third.line["notes"] == ["no unused seeds are left (used 32): add sources, or start a new data set"]
    other = call("plan", "--config", config, "--date", DATE, *plain, "--set", "seed=2")
    assert other.line["state"] == "needs --force"


def test_a_date_that_is_held_is_left_to_its_holder(finished):
    lock = DataSet.open(str(finished.out)).lock("2026-02-01")
    try:
        done = call("run", "--config", finished.config, "--date", "2026-02-01", "--json")
    finally:
        os.close(lock)
    assert done.code == 5
    assert f"process {os.getpid()}" in done.err
    assert "one date at a time" in done.err
    assert done.line["status"] == "failed"


@pytest.mark.slow
def test_two_runs_at_once_make_one(tmp_path):
    config = write_config(tmp_path, write_documents(tmp_path / "d.jsonl", range(40)))
    line = command("run", "--config", config, "--date", DATE, "--json")
    both = [subprocess.Popen(line, env=environment(), stdout=-1, stderr=-1, text=True) for _ in range(2)]
    outputs = [process.communicate(timeout=TIMEOUT_S) for process in both]
    assert sorted(process.returncode for process in both) in ([0, 0], [0, 5]), outputs
    assert len(rows(tmp_path / "out")) > 20


def test_help_is_instant_and_wrong_flags_are_named():
    import resource

    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = gristmill("--help")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.code == 0
    assert "deferred" in done.out
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 0.5  # a promise of CPU, not of time
    assert call("run", "--config", "echo", "--date", "someday").code == 2
    assert call("run", "--config", "echo", "--wrokers", "2").code == 2
    assert call("run", "--config", "echo", "--set", "screen.filters=[{name: lenght}]").code == 2


def test_plan_shows_the_graph_and_estimates_from_an_earlier_day(finished):
    done = call("plan", "--config", finished.config, "--date", "2026-01-09", "--json")
    planned = done.line
    assert planned["state"] == "new"
    assert [stage["stage"] for stage in planned["stages"]][:3] == ["seeds", "used", "generate"]
    assert planned["estimate"]["measured_on"] == DATE
    assert 0 < planned["estimate"]["accepted"] <= 40
    shown = call("plan", "--config", finished.config, "--date", DATE)
    assert "finished" in shown.out
    assert not (finished.out / "runs" / "2026-01-09").exists()


def test_show_tells_a_date_and_a_rows_lineage(finished):
    assert "accepted" in call("show", DATE, "--out", finished.out).out
    row = rows(finished.out)[-1]
    found = call("show", row["id"][:10], "--out", finished.out, "--json").line
    assert found["row"]["id"] == row["id"]
    assert found["seed"]["text"] == found["prompt_passage"]
    assert found["raw_answer"]
    assert row["id"] in call("show", row["id"], "--out", finished.out).out
    assert call("show", "ffffffffff", "--out", finished.out).code == 1
    assert "neither a finished date" in call("show", "2026-13-01", "--out", finished.out).err


def test_doctor_names_what_is_missing(finished, tmp_path):
    done = call("doctor", "--config", finished.config, "--json")
    assert done.code == 0, done.out
    assert {finding["what"] for finding in done.line} >= {"Python", "Beam", "disk", "vllm", "seeds"}
    broken = write_config(tmp_path, tmp_path / "nowhere.jsonl")
    done = call("doctor", "--config", broken)
    assert done.code == 1
    assert "no such file" in done.out


def test_the_resolved_config_is_in_the_run(finished):
    written = load(str(finished.out / "runs" / DATE / "config.yaml"))
    assert written == load(str(finished.config))


@pytest.mark.parametrize(
    ("seeds", "message"),
    [
        ("[{path: nowhere.jsonl, licence: MIT}]", "domains.law.seeds[0].path: no such file 'nowhere.jsonl'"),
        ("[{corpus: medqa}]", "held out"),
        ("[{corpus: china-law}]", "the language of its texts is 'zh'"),
        ("[{corpus: chinalaw}]", "no corpus 'chinalaw'"),
    ],
)
def test_wrong_seeds_are_named_before_the_run(finished, seeds, message):
    done = call("run", "--config", finished.config, "--set", f"domains.law.seeds={seeds}", "--date", "2026-03-01")
    assert done.code in (1, 2)
    assert message in done.err

"""`gristmill filter list` and `explain`, and a filter of one's own by its dotted path."""

import json
import subprocess

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from configs.errors import ConfigError
from configs.load import load
from configs.schema import FilterSpec
from filters import FILTERS
from filters.build import build_filters, describe
from pipeline.filtering.explanation import LocatedCandidate, nearest
from pipeline.store.dataset import DataSet
from stages.dedup.keys import KEY, keys
from tests.factories.candidates import candidate
from tests.factories.command_line import DATE, TIMEOUT_S, call, command, environment
from tests.factories.data_sets import FinishedDate
from tests.factories.documents import write_config, write_documents

OWN = '''
"""Drops answers that end in a question."""

from dataclasses import dataclass

from stages.ports import KEEP, Verdict


@dataclass(frozen=True)
class EndsWell:
    """Reason: question."""

    marks: str = "?"

    def __call__(self, batch):
        return [Verdict("question") if row.reply.rstrip().endswith(tuple(self.marks)) else KEEP for row in batch]
'''


def test_every_filter_says_what_it_drops_and_with_which_options() -> None:
    for name in FILTERS:
        row = describe(name)
        assert row["what"].endswith((".", ")")), name
        assert "Reason" in row["doc"], name
        for option in row["options"]:
            assert option["default"] is not None or option["name"] in ("threshold", "sets", "min_score"), (name, option)


def test_the_list_is_printed_and_given_to_machines() -> None:
    shown = call("filter", "list", "length", "support")
    assert shown.code == 0
    assert "too_short" in shown.out
    assert "min_share = 0.4" in shown.out
    assert "prompt_echo" not in shown.out
    rows = json.loads(call("filter", "list", "--json").out)
    assert [row["name"] for row in rows] == list(FILTERS)
    wrong = call("filter", "list", "lenght")
    assert wrong.code == 2
    assert "did you mean length?" in wrong.err


def test_a_row_is_explained_by_each_filter(finished: FinishedDate) -> None:
    shard = finished.manifest["shards"][0]["file"]
    row = pq.read_table(finished.out / shard, columns=["id"]).to_pylist()[0]["id"]
    told = json.loads(call("filter", "explain", row[:12], "--out", finished.out, "--json").out)
    assert told["id"] == row
    assert told["ended"] == f"published on {DATE}"
    names = [word["filter"] for word in told["filters"]]
    assert names
    assert {word["verdict"] for word in told["filters"]} <= {"kept", "masked"}
    rejects = sorted((finished.out / "runs" / DATE / "stages" / "screen").glob("*.rejects.parquet"))
    dropped = [row for path in rejects for row in pq.read_table(path).to_pylist()]
    for gone in dropped[:1]:
        told = json.loads(call("filter", "explain", gone["id"], "--out", finished.out, "--json").out)
        assert gone["reason"] in told["ended"]
        assert gone["reason"] in {word["verdict"] for word in told["filters"]}
    shown = call("filter", "explain", row, "--out", finished.out)
    assert "nearest" in shown.out
    assert names[0] in shown.out


def test_the_nearest_row_of_earlier_days_is_named(tmp_path) -> None:
    config = load(str(write_config(tmp_path, tmp_path)), [f"out={tmp_path / 'out'}"])
    text = "The limitation period for a written contract is six years from the breach of the agreement."
    index = tmp_path / "out" / "index" / "date=2026-01-01" / "keys.parquet"
    index.parent.mkdir(parents=True)
    rows = [
        {"key": key, "exact": place == 0, "order": 0, "id": name}
        for name, other in (("same", text), ("far", "A patient with fever and a rash was sent home."))
        for place, key in enumerate(keys(other, config.dedup))
    ]
    pq.write_table(pa.Table.from_pylist(rows, KEY), index)
    found = LocatedCandidate(candidate(text, id="mine"), DATE, "generate", "")
    near = nearest(DataSet.open(config.out), config, found)
    assert near == {"id": "same", "shared_keys": config.dedup.bands + 1, "keys": config.dedup.bands + 1}
    found = LocatedCandidate(candidate("Something else altogether, of which nobody spoke."), DATE, "generate", "")
    assert nearest(DataSet.open(config.out), config, found) is None


@pytest.mark.parametrize("row", ["12", "nothexadecimal", "0123456789abcdef"])
def test_no_such_row(finished: FinishedDate, row: str) -> None:
    done = call("filter", "explain", row, "--out", finished.out)
    assert done.code == 1
    assert row in done.err


def test_a_filter_of_ones_own_by_dotted_path(tmp_path) -> None:
    (tmp_path / "own_filters.py").write_text(OWN)
    config = write_config(tmp_path, write_documents(tmp_path / "d.jsonl", range(12)))
    own = 'screen.filters=[{name: "own_filters:EndsWell", marks: "."}]'
    line = command("run", "--config", config, "--date", DATE, "--json", "--set", "adapt.enabled=false", "--set", own)
    env = environment() | {"PYTHONPATH": f"{tmp_path}:{environment().get('PYTHONPATH', '')}"}

    def run(*more: str) -> dict:
        done = subprocess.run([*line, *more], capture_output=True, text=True, env=env, timeout=TIMEOUT_S, check=False)
        assert done.stdout, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    made = run()
    assert made["rejected"]["question"] > 0
    (tmp_path / "own_filters.py").write_text(OWN.replace('"question")', '"asks")'))
    assert "--force" in run()["error"], "another source is another run"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nowhere_at_all:Thing", "cannot be imported"),
        ("json:Nothing", "cannot be imported"),
        ("json:JSONDecoder", "not a filter"),
        ("json", "no filter"),
    ],
)
def test_a_dotted_path_that_is_no_filter(name: str, said: str) -> None:
    with pytest.raises(ConfigError, match=rf"screen\.filters\[0\]\.name: .*{said}"):
        build_filters([FilterSpec(name=name)])

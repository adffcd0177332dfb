"""A row's lineage names the champion that its adapter belongs to: round and verdict, where the registry knows it."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.cli import main
from pipeline.store.dataset import DataSet
from pipeline.store.lineage import lineage
from pipeline.store.manifest import PublishedShard, content_digest
from pipeline.store.registry import DomainRegistry
from pipeline.store.registry_files import Registry
from stages.storage.checksum import sha256_file
from stages.storage.records import FileRef
from tests.factories.data_sets import NEXT_DATE
from tests.factories.evolve.verdicts import variant_of, verdict_after
from tests.factories.manifests import manifest_of

CHAMPION, OTHER = variant_of("champion", round=2), variant_of("trained by a run itself")
ROWS = {"c" * 64: CHAMPION, "0" * 64: OTHER, "b" * 64: None}


@pytest.fixture
def data(tmp_path):
    """A data set with a row of the champion, one of another adapter, and one of the base model."""
    source = tmp_path / "runs" / NEXT_DATE / "rows.parquet"
    source.parent.mkdir(parents=True)
    adapters = [variant and variant.adapter.name for variant in ROWS.values()]
    pq.write_table(pa.table({"id": [*ROWS], "seed_id": ["s", "t", "u"], "adapter": adapters}), source)
    ref = FileRef(str(source.relative_to(tmp_path)), sha256_file(source), len(ROWS), source.stat().st_size)
    name = f"data/shard_domain=law/shard_date={NEXT_DATE}/rows.parquet"
    shard = PublishedShard(file=name, domain="law", rows=ref.rows, bytes=ref.bytes, sha256=ref.sha256)
    data = DataSet(tmp_path)
    data.publish(NEXT_DATE, {name: ref}, manifest_of(date=NEXT_DATE, shards=[shard], digest=content_digest([ref])))
    registry = Registry(tmp_path)
    pointer = registry.commit(verdict_after(DomainRegistry(domain="law"), "refused"))
    pointer = registry.commit(verdict_after(pointer, "promoted", challenger=CHAMPION, reason="it saves bits"))
    registry.commit(verdict_after(pointer, "rolled back", kind="rejudge", date="2026-01-09"))
    return data


def test_a_champion_s_row_names_round_and_verdict(data, capsys):
    assert lineage(data, "c" * 8)["champion"] == {
        "variant": CHAMPION.id,
        "round": 2,
        "verdict": "2 of law, 2026-01-02: promoted",
        "reason": "it saves bits",
        "before": "base",
    }
    assert main(["show", "c" * 8, "--out", str(data.root)]) == 0
    printed = capsys.readouterr().out
    lines = "champion\n  variant: {}\n  round: 2\n  verdict: 2 of law, 2026-01-02: promoted\n  reason: it saves bits\n"
    assert lines.format(CHAMPION.id) in printed
    assert f"\n  path: {CHAMPION.adapter.path}\n" in printed


@pytest.mark.parametrize("row", ["0" * 8, "b" * 8])
def test_other_rows_name_none(data, row):
    assert "champion" not in lineage(data, row)


def test_a_damaged_registry_leaves_the_rest_of_the_lineage(data):
    Registry(data.root).verdict_path("law", 2).write_text("{")
    trace = lineage(data, "c" * 8)
    assert trace["row"]["seed_id"] == "s"
    assert "0002.json: damaged" in trace["champion"]["error"]

"""The folder `data/` opens as one table, as it is, in the libraries that people read Parquet with."""

from datetime import date
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet as pq
import pytest

from pipeline.store.layout import shard_folder
from stages.record import ROW

KEYS = ["shard_date", "shard_domain"]
DATES = [date(2026, 1, 2), date(2026, 1, 3)]


@pytest.fixture(scope="module")
def folder(finished, tmp_path_factory) -> Path:
    """The published shards of a date, and the same rows as those of another domain and of another date."""
    root = tmp_path_factory.mktemp("readers")
    for name in (shard["file"] for shard in finished.manifest["shards"]):
        table = pq.read_table(pa.BufferReader((finished.out / name).read_bytes()))
        for domain in ("law", "2024"):
            for day in DATES:
                columns = {"domain": [domain] * len(table), "date": pa.array([day] * len(table), pa.date32())}
                copy = table
                for column, values in columns.items():
                    copy = copy.set_column(copy.schema.names.index(column), ROW.field(column), [values])
                path = root / shard_folder(domain, str(day)) / Path(name).name
                path.parent.mkdir(parents=True, exist_ok=True)
                pq.write_table(copy, path)
    return root / "data"


@pytest.fixture(scope="module")
def expected(finished) -> dict[tuple[str, date], int]:
    """Rows by domain and date."""
    rows = sum(shard["rows"] for shard in finished.manifest["shards"])
    return {(domain, day): rows for domain in ("2024", "law") for day in DATES}


def counted(rows) -> dict[tuple[str, date], int]:
    counts: dict[tuple[str, date], int] = {}
    for domain, day in rows:
        counts[domain, day] = counts.get((domain, day), 0) + 1
    return dict(sorted(counts.items()))


def test_published_files_are_in_such_folders(finished) -> None:
    for shard in finished.manifest["shards"]:
        assert str(Path(shard["file"]).parent) == shard_folder(shard["domain"], finished.manifest["date"])


def test_pandas(folder, expected) -> None:
    import pandas

    frame = pandas.read_parquet(folder)
    assert counted(zip(frame["domain"], frame["date"], strict=True)) == expected
    assert sorted(set(frame.columns) - set(ROW.names)) == KEYS
    one = pandas.read_parquet(folder, filters=[("shard_date", "=", "2026-01-03"), ("shard_domain", "=", "law")])
    assert set(one["date"]) == {DATES[1]}
    assert set(one["domain"]) == {"law"}


@pytest.mark.parametrize("partitioning", [None, "hive"])
def test_pyarrow(folder, expected, partitioning) -> None:
    table = pyarrow.dataset.dataset(folder, partitioning=partitioning).to_table()
    assert counted(zip(table["domain"].to_pylist(), table["date"].to_pylist(), strict=True)) == expected
    assert table.select(ROW.names).schema.equals(ROW)
    assert len(pq.read_table(folder)) == len(table)


def test_polars(folder, expected) -> None:
    import polars

    frame = polars.read_parquet(folder)
    assert counted(frame.select("domain", "date").iter_rows()) == expected
    assert sorted(set(frame.columns) - set(ROW.names)) == KEYS
    lazy = polars.scan_parquet(folder / "**" / "*.parquet", hive_partitioning=True)
    assert set(lazy.filter(polars.col("shard_date") == DATES[1]).collect()["date"]) == {DATES[1]}


@pytest.mark.parametrize("hive", ["", ", hive_partitioning=true", ", hive_partitioning=false"])
def test_duckdb(folder, expected, hive) -> None:
    import duckdb

    with duckdb.connect() as connection:
        rows = connection.execute(f"select domain, date from read_parquet('{folder}/**/*.parquet'{hive})").fetchall()
    assert counted(rows) == expected


def test_datasets(folder, expected, tmp_path) -> None:
    import datasets

    for place in ({"path": str(folder)}, {"path": "parquet", "data_dir": str(folder)}):
        rows = datasets.load_dataset(**place, split="train", cache_dir=str(tmp_path))
        assert counted(zip(rows["domain"], rows["date"], strict=True)) == expected
        assert rows.column_names == ROW.names


def test_spark(folder, expected) -> None:
    sql = pytest.importorskip("pyspark.sql", reason="PySpark is not installed")
    spark = sql.SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false").getOrCreate()
    try:
        frame = spark.read.parquet(str(folder))
        assert counted((row.domain, row.date) for row in frame.select("domain", "date").collect()) == expected
        assert sorted(set(frame.columns) - set(ROW.names)) == KEYS
    finally:
        spark.stop()


def test_keys_of_the_folders_are_no_columns(folder) -> None:
    """What Spark asks for, which compares names without case: the same keys on every path, none a column of a file."""
    keys = {
        tuple(part.partition("=")[0].lower() for part in path.relative_to(folder).parts[:-1])
        for path in folder.rglob("*.parquet")
    }
    assert keys == {("shard_domain", "shard_date")}
    assert not {name.lower() for name in ROW.names}.intersection(*keys)


def test_rows_that_were_read_are_those_of_the_files(finished) -> None:
    import pandas

    frame = pandas.read_parquet(finished.out / "data")
    names = [shard["file"] for shard in finished.manifest["shards"]]
    ids = [name for file in names for name in pq.ParquetFile(finished.out / file).read(["id"])["id"].to_pylist()]
    assert sorted(frame["id"]) == sorted(ids)

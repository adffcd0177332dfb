"""Which rows are held out: whole documents, the same ones in every data set, and none whose text is trained on."""

import random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from model.data.shards import HeldOutByAll, HeldOutRule, is_held_out, read_texts, shard_sha256
from model.data.shared_text import find_shared_rows, find_shared_rows_once
from tests.factories.documents import passage

RULE = HeldOutRule(0.3)


def write(path, rows):
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def sides(path, rule):
    return {row.text: row.held_out for rows in read_texts(path, rule) for row in rows}


@pytest.mark.parametrize("kind", [str, int])
def test_all_rows_of_a_document_are_on_one_side_whatever_their_passages_and_shards(tmp_path, kind):
    rows = [{"text": passage(n), "seed_id": f"s{n}", "document_id": kind(n // 5)} for n in range(200)]
    random.Random(1).shuffle(rows)
    files = [write(tmp_path / f"{part}.parquet", rows[part::2]) for part in (0, 1)]
    by_text = {text: side for file in files for text, side in sides(file, RULE).items()}
    sides_of_documents: dict[int, set[bool]] = {}
    for row in rows:
        sides_of_documents.setdefault(row["document_id"], set()).add(by_text[row["text"]])
    assert {len(found) for found in sides_of_documents.values()} == {1}
    assert 4 <= sum(found == {True} for found in sides_of_documents.values()) <= 20


def test_rows_without_a_document_go_by_passage_and_those_without_one_by_text(tmp_path):
    rows = [{"text": passage(n), "seed_id": f"s{n // 4}", "document_id": None} for n in range(80)]
    assert sides(write(tmp_path / "a.parquet", rows), RULE) == {
        row["text"]: is_held_out(row["seed_id"], 0.3) for row in rows
    }
    texts = [{"text": row["text"]} for row in rows]
    assert sides(write(tmp_path / "b.parquet", texts), RULE) == {
        row["text"]: is_held_out(row["text"], 0.3) for row in texts
    }


def test_trainings_of_earlier_versions_go_by_passage(tmp_path):
    rows = [{"text": passage(n), "seed_id": f"s{n}", "document_id": "one"} for n in range(60)]
    path = write(tmp_path / "a.parquet", rows)
    assert sides(path, HeldOutRule(0.3, "seed")) == {row["text"]: is_held_out(row["seed_id"], 0.3) for row in rows}
    assert len(set(sides(path, RULE).values())) == 1
    both = sides(path, HeldOutByAll((RULE, HeldOutRule(0.3, "seed"))))
    assert {text for text, side in both.items() if side} <= {text for text, side in sides(path, RULE).items() if side}


def test_a_smaller_share_holds_out_a_part_of_a_larger_one():
    keys = [str(n) for n in range(500)]
    small, large = ({key for key in keys if is_held_out(key, share)} for share in (0.1, 0.4))
    assert small < large


def words(seed: int, count: int) -> list[str]:
    rng = random.Random(seed)
    return [f"{rng.choice('bcdfg')}{rng.randrange(10**6)}" for _ in range(count)]


def chinese(seed: int, count: int) -> str:
    rng = random.Random(seed)
    return "".join(chr(rng.randrange(0x4E00, 0x9FA5)) for _ in range(count))


@pytest.mark.parametrize(
    ("shared", "is_left_out"),
    [
        (" ".join(words(1, 100)), True),  # the same text
        (" ".join(words(1, 40) + words(2, 60)), True),  # 28 of 88
        (" ".join(words(1, 20) + words(2, 80)), False),  # 8 of 88
        (" ".join(words(1, 100)).upper().replace(" ", ",  "), True),  # other case, spaces and marks
        (" ".join(words(2, 100)), False),
    ],
)
def test_a_held_out_row_that_training_rows_contain_is_left_out(tmp_path, shared, is_left_out):
    held_out = next(str(n) for n in range(99) if is_held_out(str(n), 0.3))
    trained = next(str(n) for n in range(99) if not is_held_out(str(n), 0.3))
    rows = [{"text": " ".join(words(n, 60)), "seed_id": key} for n, key in ((10, held_out), (11, trained))]
    rows += [{"text": shared, "seed_id": held_out}, {"text": " ".join(words(1, 100)), "seed_id": trained}]
    path = write(tmp_path / "a.parquet", rows)
    found = find_shared_rows([path], RULE)
    assert (found.held_out, found.shared) == (2, int(is_left_out))
    assert found.left_out == ({shard_sha256(path): frozenset({2})} if is_left_out else {})


def test_scripts_without_spaces_and_short_rows_are_compared_too(tmp_path):
    held_out = next(str(n) for n in range(99) if is_held_out(str(n), 0.3))
    trained = next(str(n) for n in range(99) if not is_held_out(str(n), 0.3))
    texts = [chinese(1, 30) + chinese(2, 50), "Is it so? Yes.", chinese(3, 80), "!!!", " ".join(words(5, 20))]
    rows = [{"text": text, "seed_id": held_out} for text in texts]
    rows += [{"text": text, "seed_id": trained} for text in (chinese(1, 60), "is it so - yes", chinese(4, 60))]
    path = write(tmp_path / "a.parquet", rows)
    assert find_shared_rows([path], RULE).left_out[shard_sha256(path)] == {0, 1}


def test_where_every_held_out_row_is_shared_none_is_left_out(tmp_path):
    rows = [{"text": passage(n % 5), "seed_id": str(n)} for n in range(60)]
    found = find_shared_rows([write(tmp_path / "a.parquet", rows)], RULE)
    assert found.shared == found.held_out > 0
    assert found.left_out == {}


def test_what_was_found_is_kept_and_found_again_for_other_shards(tmp_path):
    rows = [{"text": passage(n % 40), "seed_id": str(n)} for n in range(60)]
    one, two = (write(tmp_path / f"{n}.parquet", rows[n * 10 :]) for n in (0, 1))
    cache = tmp_path / "shared-text.json"
    first = find_shared_rows_once([one], RULE, cache)
    assert first == find_shared_rows([one], RULE)
    before = cache.stat().st_mtime_ns
    assert find_shared_rows_once([one], RULE, cache) == first
    assert cache.stat().st_mtime_ns == before
    assert find_shared_rows_once([two], RULE, cache) == find_shared_rows([two], RULE) != first
    cache.write_text("{")
    assert find_shared_rows_once([one], RULE, cache) == first

"""Semantic dedup: what says the same by its sketch is dropped; what differs in a number, a "not", a name never is."""

import json
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from configs.errors import ConfigError
from configs.load import load
from configs.schema import Dedup, FilterSpec
from filters.build import build_filters
from filters.sketch import SKETCH_BYTES, Sketch, project
from pipeline.filtering.explanation import LocatedCandidate, nearest
from pipeline.store.dataset import DataSet
from stages.dedup.drop import Drop
from stages.dedup.keys import KEY, PAIR, keys
from stages.dedup.match import Match
from stages.dedup.semantic import BANDS, MAX_ROWS_COMPARED, closest, semantic_keys
from stages.dedup.sign import Sign
from stages.ports import ModelCard
from stages.record import CANDIDATE, ROW
from tests.factories.shards import PLAIN_TEXT, WriteRows, candidate, commit_shard

OPTIONS = Dedup(semantic=0.97)
RNG = np.random.default_rng(7)
ONE = RNG.standard_normal((1, 768))


def near(noise: float, seed: int = 1) -> bytes:
    """The sketch of a vector that is `noise` away from ONE in each number."""
    moved = ONE + noise * np.random.default_rng(seed).standard_normal(ONE.shape)
    return project(moved).tobytes()


class Bag:
    """An encoder that tells texts by their words, whatever the order. `asked` are the texts that it was given."""

    card = ModelCard("bag", "1" * 64, "echo", "", 0)

    def __init__(self):
        self.asked = []

    def encode(self, texts, depths=(1.0,)):
        self.asked += texts
        made = [sum(np.random.default_rng(sum(word.encode())).standard_normal(96) for word in t.split()) for t in texts]
        return np.tile(np.array(made, np.float32).reshape(-1, 96), len(depths))


def row(name, reply, sketch, **more):
    return replace(candidate(name, reply), sketch=sketch, language="en", **more)


def day(root, date, rows, shards, parts, history=(), options=OPTIONS, encoder="e"):
    """Sign, Match and Drop: dropped ids with reason and detail, and the index."""
    cuts = [round(n * len(rows) / shards) for n in range(shards + 1)]
    inputs = [
        commit_shard(root, f"{date}/screen", n, CANDIDATE, WriteRows(rows[cuts[n] : cuts[n + 1]]), {}).kept
        for n in range(shards)
    ]
    sign = Sign(options, encoder)
    signs = [
        commit_shard(root, f"{date}/sign", n, KEY, sign, {"input": i, "shard": n}).kept for n, i in enumerate(inputs)
    ]
    edges = [part * 2**64 // parts for part in range(parts)] + [2**64]
    pairs = []
    for n in range(parts):
        payload = {"inputs": signs, "history": history, "low": edges[n], "high": edges[n + 1]}
        pairs.append(commit_shard(root, f"{date}/match", n, PAIR, Match(options), payload).kept)
    records = []
    for n, i in enumerate(inputs):
        payload = {"input": i, "shard": n, "signs": signs[n], "pairs": pairs}
        records.append(commit_shard(root, f"{date}/dedup", n, CANDIDATE, Drop(), payload))
    gone = [each for r in records if r.rejects for each in pq.read_table(root / r.rejects.file).to_pylist()]
    index = [record.sides["index"] for record in records if "index" in record.sides]
    return {each["id"]: (each["reason"], each["detail"]) for each in gone}, index


def story(n: int) -> str:
    """Texts that share no bands of the MinHash."""
    return " ".join("".join(map(chr, np.random.default_rng(n * 100 + w).integers(97, 123, 7))) for w in range(40))


@given(st.text(max_size=300), st.integers(0, 2**32 - 1))
def test_keys_are_total_and_deterministic(text, seed):
    sketch = np.random.default_rng(seed).integers(-127, 128, SKETCH_BYTES).astype(np.int8).tobytes()
    made = semantic_keys(text, "law|en", sketch)
    assert len(set(made)) == BANDS
    assert made == semantic_keys(text, "law|en", sketch)
    assert not set(made) & set(semantic_keys(text, "law|es", sketch))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("The dose is 5 mg a day.", "The dose is 50 mg a day."),
        ("This follows from Article 5.", "This follows from Article 6."),
        ("The controller shall erase the data.", "The controller shall not erase the data."),
        ("This does apply to them.", "This doesn’t apply to them."),
        ("The processor may object.", "The processor must object."),
        ("The drug is indicated in asthma.", "The drug is contraindicated in asthma."),
        ("The left kidney is small.", "The right kidney is small."),
        ("An increased level of calcium.", "A decreased level of calcium."),
        ("It was seen in Kerala alone.", "It was seen in Orissa alone."),
        ("El tratamiento está indicado.", "El tratamiento no está indicado."),
        ("El responsable debe suprimirlos.", "El responsable puede suprimirlos."),
        ("用人单位可以解除劳动合同。", "用人单位不得解除劳动合同。"),
        ("左肾较小。", "右肾较小。"),
    ],
)
def test_what_an_embedding_does_not_see_is_in_the_key(one, other):
    sketch = near(0)
    assert not set(semantic_keys(one, "", sketch)) & set(semantic_keys(other, "", sketch))


@pytest.mark.parametrize(("this", "that"), [("shall", "shall not"), ("may", "must"), ("left", "right")])
def test_minhash_does_not_take_a_negation_for_a_copy(this, that):
    one, other = (f"{PLAIN_TEXT} {PLAIN_TEXT} the tenant {word} repair the roof" for word in (this, that))
    assert not set(keys(one, Dedup())) & set(keys(other, Dedup()))


@pytest.mark.parametrize("noise", [0.1, 0.25, 0.5])
def test_sketches_keep_cosines(noise):
    """Johnson and Lindenstrauss: what a cosine lacks to 1 is told to some √(4/64) of itself."""
    rng = np.random.default_rng(5)
    one = rng.standard_normal((2000, 768))
    two = one + noise * rng.standard_normal(one.shape)

    def distances(a, b):
        return 1 - (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)

    told = distances(project(one).astype(float), project(two).astype(float)) / distances(one, two)
    assert abs(told.mean() - 1) < 0.06
    assert told.std() < 0.28


@given(st.data())
def test_closest_is_the_highest_cosine_of_a_range(data):
    draw = st.integers(1, 5)
    mine = np.array(data.draw(st.lists(st.lists(draw, min_size=3, max_size=3), min_size=1, max_size=9)), np.int8)
    start = np.array([data.draw(st.integers(0, len(mine))) for _ in mine])
    stop = np.array([data.draw(st.integers(0, len(mine))) for _ in mine])
    place, cosine = closest(mine, mine, start, stop)
    unit = mine / np.linalg.norm(mine.astype(float), axis=1, keepdims=True)
    for n in range(len(mine)):
        if start[n] >= stop[n]:
            assert (place[n], cosine[n]) == (-1, -1)
        else:
            assert start[n] <= place[n] < stop[n]
            assert cosine[n] == pytest.approx((unit[start[n] : stop[n]] @ unit[n]).max(), abs=1e-5)


@pytest.mark.parametrize(("shards", "parts"), [(1, 1), (2, 3), (5, 1)])
def test_the_same_rows_are_dropped_whatever_the_shards(tmp_path, shards, parts):
    rows = [
        row("first", story(1), near(0)),
        row("same", story(2), near(0.05)),
        row("far", story(3), near(2.0)),
        row("negated", story(4) + " must not", near(0)),
        row("bare", story(5), None),
        row("copy", story(1), near(0)),
        row("medicine", story(6), near(0), domain="medicine"),
    ]
    gone, index = day(tmp_path, "2026-01-02", rows, shards, parts)
    assert gone["copy"] == ("duplicate", "of first")
    assert gone["same"][0] == "semantic_duplicate"
    assert gone["same"][1].startswith("of first, cosine .99")
    assert set(gone) == {"copy", "same"}

    later = [row("again", story(7), near(0.05, 2)), row("other", story(8), near(1.5, 3))]
    gone, _ = day(tmp_path, "2026-01-03", later, shards, parts, history=index)
    assert list(gone) == ["again"]
    assert gone["again"][0] == "semantic_duplicate"
    gone, _ = day(tmp_path, "2026-01-04", later, shards, parts, history=index, encoder="another")
    assert not gone, "sketches of two encoders do not compare"


def test_explain_names_the_nearest_row_and_its_cosine(tmp_path):
    rows = [row("first", story(1), near(0)), row("same", story(2), near(0.05)), row("bare", story(3), None)]
    folder = "2026-01-02/stages"
    day(tmp_path, folder, rows, 1, 1)
    (tmp_path / "runs" / folder / "sign").rename(tmp_path / "runs" / folder / "dedup-sign")
    config = load("echo", ["screen.encoder={}", "dedup.semantic=0.97"])
    told = nearest(DataSet(tmp_path), config, LocatedCandidate(rows[1], "2026-01-02", "generate", ""))
    assert told is not None
    assert (told["id"], told["keys"]) == ("first", 1 + config.dedup.bands + BANDS)
    assert told["cosine"] > 0.99
    assert nearest(DataSet(tmp_path), config, LocatedCandidate(rows[2], "2026-01-02", "generate", "")) is None


def test_off_is_off(tmp_path):
    rows = [row("first", story(1), near(0)), row("same", story(2), near(0.01))]
    gone, index = day(tmp_path, "2026-01-02", rows, 1, 1, options=Dedup())
    assert not gone
    assert not pq.read_table(tmp_path / index[0].file)["sketch"].drop_null().to_pylist()


def test_an_index_from_before_there_were_sketches_is_read(tmp_path):
    _, index = day(tmp_path, "2026-01-02", [row("first", story(1), near(0))], 1, 1)
    table = pq.read_table(tmp_path / index[0].file).drop_columns("sketch")
    pq.write_table(table, tmp_path / index[0].file, write_page_checksum=True)
    gone, _ = day(tmp_path, "2026-01-03", [row("copy", story(1), near(0))], 1, 1, history=index)
    assert gone == {"copy": ("duplicate", "of first")}


@pytest.mark.parametrize("between", [MAX_ROWS_COMPARED - 1, MAX_ROWS_COMPARED])
def test_a_row_is_compared_with_a_window_of_its_group(tmp_path, between):
    """So that the cost of a huge group is linear: with so many rows before it, no more."""
    one = np.full(SKETCH_BYTES, 100, np.int8).tobytes()
    other = np.tile(np.array([1, 127], np.int8), SKETCH_BYTES // 2).tobytes()  # of the same signs
    rows = [row("first", story(0), one), *(row(f"r{n}", story(n + 1), other) for n in range(between))]
    gone, _ = day(tmp_path, "2026-01-02", [*rows, row("last", story(between + 1), one)], 2, 1)
    assert ("last" in gone) == (between < MAX_ROWS_COMPARED)


def test_sketches_are_of_whole_answers_by_the_embedding_that_filters_read():
    bag = Bag()
    short, long = PLAIN_TEXT[:300], " ".join([PLAIN_TEXT] * 3)
    rows = [row("a", short, None), row("b", long, None), row("c", "No.", None), row("d", "", None)]
    made = [verdict.row for verdict in Sketch(bag)(rows)]
    assert [each is not None for each in made] == [True, False, False, False]
    assert made[0].sketch == made[0].sketch[:SKETCH_BYTES]
    assert len(bag.asked) == 1
    assert "sketch" in CANDIDATE.names
    assert "sketch" not in ROW.names, "it is not published"


def test_sketches_come_last_and_only_with_an_encoder():
    specs = [FilterSpec(name="length")]
    assert [name for name, _ in build_filters(specs, Bag, sketch=True)] == ["length", "sketch"]
    assert [name for name, _ in build_filters(specs, Bag)] == ["length"]


def test_semantic_dedup_without_an_encoder_is_an_error(tmp_path):
    config = {"name": "x", "out": str(tmp_path), "domains": ["law"], "generator": {"backend": "echo", "model": "echo"}}
    config |= {"screen": {"filters": [{"name": "length"}]}, "dedup": {"semantic": 0.98}}
    (tmp_path / "c.yaml").write_text(json.dumps(config))
    with pytest.raises(ConfigError, match=r"screen\.encoder: missing, although dedup\.semantic"):
        load(str(tmp_path / "c.yaml"), [])

"""Keys: equal texts meet, near texts mostly meet, texts that differ in a number never do."""

import random
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from configs.schema import Dedup
from stages.dedup.drop import Drop
from stages.dedup.keys import KEY, PAIR, keys
from stages.dedup.match import Match
from stages.dedup.sign import Sign
from stages.record import CANDIDATE
from tests.factories.shards import PLAIN_TEXT, WORDS, WriteRows, candidate, commit_shard

OPTIONS = Dedup()


def _shared(one: str, other: str) -> int:
    return sum(a == b for a, b in zip(keys(one, OPTIONS)[1:], keys(other, OPTIONS)[1:], strict=True))


@given(st.text(max_size=200))
def test_keys_are_total_deterministic_and_blind_to_case_and_space(text):
    made = keys(text, OPTIONS)
    assert len(made) == 1 + OPTIONS.bands
    assert made == keys(text, OPTIONS)
    assert all(0 <= key < 2**64 for key in made)
    assert keys(" A  b\n", OPTIONS) == keys("a B", OPTIONS)


def test_one_word_of_fifty_changed_is_near():
    rng = random.Random(3)
    found = 0
    for _ in range(100):
        words = rng.sample(WORDS, len(WORDS))
        text = " ".join(words)
        words[rng.randrange(len(words))] = "estoppel"
        found += _shared(text, " ".join(words)) > 0
    assert found >= 99


def test_other_texts_are_not_near():
    rng = random.Random(4)
    letters = "abcdefghijklmnopqrstuvwxyz"
    texts = [" ".join("".join(rng.choices(letters, k=6)) for _ in range(60)) for _ in range(40)]
    assert not any(_shared(a, b) for i, a in enumerate(texts) for b in texts[:i])


def test_another_dose_is_another_text():
    text = " ".join(WORDS)
    assert _shared(f"{text} 5 mg twice a day", f"{text} 50 mg twice a day") == 0
    assert _shared(f"{text} under article 12(3)", f"{text} under article 12(4)") == 0


def day(root, date, *shards, history=(), parts=1):
    """Sign, Match and Drop over a date's shards: kept ids, dropped ids with reason and detail, and the index."""
    inputs = [
        commit_shard(root, f"{date}/screen", n, CANDIDATE, WriteRows([candidate(*row) for row in rows]), {}).kept
        for n, rows in enumerate(shards)
    ]
    places = list(enumerate(inputs))
    signs = [
        commit_shard(root, f"{date}/sign", n, KEY, Sign(OPTIONS), {"input": ref, "shard": n}).kept for n, ref in places
    ]
    edges = [part * 2**64 // parts for part in range(parts)] + [2**64]
    pairs = [
        commit_shard(
            root,
            f"{date}/match",
            n,
            PAIR,
            Match(OPTIONS),
            {"inputs": signs, "history": history, "low": edges[n], "high": edges[n + 1]},
        ).kept
        for n in range(parts)
    ]
    records = [
        commit_shard(
            root, f"{date}/dedup", n, CANDIDATE, Drop(), {"input": i, "shard": n, "signs": signs[n], "pairs": pairs}
        )
        for n, i in places
    ]

    def read(ref):
        return pq.read_table(Path(root, ref.file)).to_pylist()

    kept = [row["id"] for record in records for row in read(record.kept)]
    gone = {
        row["id"]: (row["reason"], row["detail"])
        for record in records
        if record.rejects
        for row in read(record.rejects)
    }
    index = [record.sides["index"] for record in records if "index" in record.sides]
    assert {row["id"] for ref in index for row in read(ref)} == set(kept)  # later days meet survivors only
    assert sum(record.rows_in for record in records) == len(kept) + len(gone)
    return kept, gone, index


NEAR = PLAIN_TEXT.replace("duress", "estoppel")
OTHER = " ".join(random.Random(5).sample("abcdefghijklmnopqrstuvwxyz", 26)) + " quite another matter of the sea"
DOSE = f"{PLAIN_TEXT} 5 mg twice a day"
ARTICLE = f"{PLAIN_TEXT} under article 12(3)"


@pytest.mark.parametrize("parts", [1, 3])
def test_exactly_the_duplicates_are_dropped_over_two_shards_and_two_dates(tmp_path, parts):
    assert _shared(PLAIN_TEXT, NEAR) > 0
    one = [("plain", PLAIN_TEXT), ("dose-5", DOSE), ("near", NEAR), ("article-3", ARTICLE)]
    two = [
        ("again", PLAIN_TEXT, "under another prompt\n"),
        ("spaced", PLAIN_TEXT.upper().replace(" ", "\n ")),
        ("dose-50", DOSE.replace("5 mg", "50 mg")),
        ("dose-5-again", DOSE),
        ("article-4", ARTICLE.replace("(3)", "(4)")),
        ("other", OTHER),
    ]
    kept, gone, index = day(tmp_path, "2026-01-02", one, two, parts=parts)
    assert kept == ["plain", "dose-5", "article-3", "dose-50", "article-4", "other"]
    assert gone == {
        "near": ("near_duplicate", "of plain"),
        "again": ("duplicate", "of plain"),
        "spaced": ("duplicate", "of plain"),
        "dose-5-again": ("duplicate", "of dose-5"),
    }

    later = [
        ("new", OTHER.replace("sea", "land")[:20] + " of nothing that was there before, at all"),
        ("old-other", OTHER),
        ("old-dose", DOSE.replace("5 mg", "50 mg")),
    ]
    last = [
        ("dose-500", DOSE.replace("5 mg", "500 mg")),
        ("old-near", NEAR),
        ("dose-500-again", DOSE.replace("5", "500")),
    ]
    kept, gone, _ = day(tmp_path, "2026-01-03", later, last, history=index, parts=parts)
    assert kept == ["new", "dose-500"]
    assert gone == {
        "old-other": ("duplicate", "of other"),
        "old-dose": ("duplicate", "of dose-50"),
        "old-near": ("near_duplicate", "of plain"),
        "dose-500-again": ("duplicate", "of dose-500"),
    }


def test_an_empty_shard_and_rows_without_messages_pass(tmp_path):
    kept, gone, _ = day(
        tmp_path, "2026-01-02", [], [("bare", "", PLAIN_TEXT), ("bare-again", "", PLAIN_TEXT), ("said", OTHER)]
    )
    assert kept == ["bare", "said"]
    assert gone == {"bare-again": ("duplicate", "of bare")}


CHINESE = (
    "{}规定，当事人一方不履行合同义务或者履行合同义务不符合约定的，应当承担继续履行、采取补救措施或者赔偿损失等违约责任。"
    "因不可抗力不能履行合同的，根据不可抗力的影响，部分或者全部免除责任，但是法律另有规定的，依照其规定。"
    "当事人迟延履行后发生不可抗力的，不免除其违约责任；当事人应当及时通知对方，并在合理期限内提供证明。"
)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (f"{PLAIN_TEXT} take 5 mg at dawn and 50 mg at night", f"{PLAIN_TEXT} take 50 mg at dawn and 5 mg at night"),
        (CHINESE.format("第十二条"), CHINESE.format("第十三条")),
        (f"{PLAIN_TEXT} by Article IV of it", f"{PLAIN_TEXT} by Article VI of it"),
        (f"{PLAIN_TEXT} take five mg a day", f"{PLAIN_TEXT} take nine mg a day"),
        (f"{PLAIN_TEXT} 5 mg a day", f"{PLAIN_TEXT} 5 g a day"),
    ],
    ids=["swapped", "chinese", "roman", "words", "unit"],
)
def test_a_dose_in_other_writing_is_another_text(one, other):
    assert _shared(one, other) == 0

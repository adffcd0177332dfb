"""Token files and the loader: each document once an epoch, exact resume at any cut, and errors that name the fix."""

import json
import os
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from hashlib import sha256
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from configs.errors import ConfigError, InputError, StoreError
from model.data import epoch_plan, token_reader
from model.data import tokenize as tokenize_module
from model.data.loader import IGNORED_LABEL, Loader
from model.data.shards import published_shards
from model.data.token_file import HEADER_KEY, TokenFileHeader, token_schema
from model.data.tokenize import tokenize
from stages.record import schema_id
from tests.factories.documents import passage
from tests.factories.token_files import EOS, documents_of, write_tokens

quick = settings(max_examples=25, deadline=None)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> tuple[list[Path], list[list[int]]]:
    """Five files of 1 to 4 row groups, documents of 2 to 60 tokens, all different."""
    folder, rng = tmp_path_factory.mktemp("tokens"), np.random.default_rng(3)
    files, everything = [], []
    for number in range(5):
        groups = []
        for _ in range(1 + number % 4):
            lengths = rng.integers(2, 61, rng.integers(1, 30)).tolist()
            groups.append(documents_of(lengths, 1 + len(everything)))
            everything += groups[-1]
        files.append(write_tokens(folder / f"{number}.parquet", groups))
    return files, everything


def same(ours, theirs) -> bool:
    return all(np.array_equal(a, b) and a.dtype == b.dtype for a, b in zip(ours, theirs, strict=True))


def split_at_ends(stream: list[int]) -> list[tuple[int, ...]]:
    documents, begin = [], 0
    for place, token in enumerate(stream):
        if token == EOS:
            documents.append(tuple(stream[begin : place + 1]))
            begin = place + 1
    assert begin == len(stream)
    return documents


def delivered(loader: Loader) -> list[list[int]]:
    """The tokens of each lane of a finite loader, without the padding behind the lane's end."""
    batches = list(loader)
    streams = []
    for row in range(batches[0].tokens_BT.shape[0] if batches else 0):
        stream = np.concatenate([batch.tokens_BT[row] for batch in batches])
        labels = np.concatenate([batch.labels_BT[row] for batch in batches])
        kept = np.flatnonzero(labels != IGNORED_LABEL)  # the last label is the last document's end
        streams.append(stream[: kept[-1] + 2].tolist() if len(kept) else [])
    return streams


@quick
@given(st.integers(1, 40), st.integers(1, 12), st.integers(1, 3), st.integers(1, 9), st.integers(0, 2**40))
def test_every_document_comes_once_an_epoch(corpus, length, lanes, epochs, window, seed):
    files, documents = corpus
    loader = Loader(files, length=length, lanes=lanes, seed=seed, window=window, epochs=epochs)
    seen = Counter(document for stream in delivered(loader) for document in split_at_ends(stream))
    assert seen == Counter({tuple(document): epochs for document in documents})
    assert loader.tokens == sum(map(len, documents))
    assert loader.documents == len(documents)
    assert loader.step == loader.steps
    assert list(loader) == []


@quick
@given(st.lists(st.integers(1, 90), min_size=1, max_size=30), st.integers(1, 33), st.integers(1, 5), st.data())
def test_labels_and_starts_are_those_of_a_plain_packer(tmp_path_factory, lengths, length, lanes, data):
    folder = tmp_path_factory.mktemp("packed")
    cut = data.draw(st.integers(0, len(lengths)))
    documents = documents_of(lengths)
    groups = [part for part in (documents[:cut], documents[cut:]) if part]
    files = [write_tokens(folder / f"{place}.parquet", [part]) for place, part in enumerate(groups)]
    loader = Loader(files, length=length, lanes=lanes, seed=5, window=2)
    batches = list(islice(loader, 7))
    for lane in range(lanes):
        rows: list[tuple[int, int, int]] = []  # token, label, where its document begins in the stream
        epoch = window = 0
        while len(rows) < 7 * length:
            window_documents = loader._plan.read_window(epoch, lane, window)
            epoch, window = (epoch + 1, 0) if window_documents is None else (epoch, window + 1)
            if window_documents is not None:
                for begin, end in zip(window_documents.bounds[:-1], window_documents.bounds[1:], strict=True):
                    document = window_documents.tokens[begin:end].tolist()
                    following = [*document[1:], IGNORED_LABEL]
                    start = len(rows)
                    rows += [(token, label, start) for token, label in zip(document, following, strict=True)]
        for step, batch in enumerate(batches):
            part = rows[step * length : (step + 1) * length]
            assert batch.tokens_BT[lane].tolist() == [token for token, _, _ in part]
            assert batch.labels_BT[lane].tolist() == [label for _, label, _ in part]
            assert batch.starts_BT[lane].tolist() == [max(start - step * length, 0) for _, _, start in part]


@quick
@given(st.integers(1, 70), st.sampled_from([1, 6, 12]), st.lists(st.integers(0, 25), min_size=1, max_size=4), st.data())
def test_resume_is_exact_at_any_cut_and_in_any_world(corpus, length, lanes, cuts, data):
    files, _ = corpus
    epochs = data.draw(st.sampled_from([None, 1, 3]))
    options = {"length": length, "lanes": lanes, "seed": 11, "window": 3, "epochs": epochs}
    whole = list(islice(Loader(files, **options), sum(cuts) + 5))
    state, place = None, 0
    for cut in [*cuts, 5]:
        world = data.draw(st.sampled_from([n for n in (1, 2, 3, 6) if lanes % n == 0]))
        order = data.draw(st.permutations(files))
        ranks = [Loader(order, **options, rank=rank, world_size=world, state=state) for rank in range(world)]
        parts = [list(islice(rank, cut)) for rank in ranks]
        expected = whole[place : place + cut]
        for rank, part in enumerate(parts):
            assert len(part) == len(expected)
            assert all(
                same(ours, [array[rank::world] for array in all_]) for ours, all_ in zip(part, expected, strict=True)
            )
        place += len(expected)
        (state,) = {json.dumps(rank.state()) for rank in ranks}
        state = json.loads(state)


def test_more_lanes_than_documents_all_have_tokens_and_resume(tmp_path):
    file = write_tokens(tmp_path / "a.parquet", [documents_of([3, 1, 200])])
    options = {"length": 16, "lanes": 8, "seed": 0}
    whole = list(islice(Loader([file], **options), 40))
    assert all((batch.tokens_BT > 0).any(1).sum() > 2 for batch in whole)
    first = Loader([file], **options)
    list(islice(first, 17))
    assert all(map(same, islice(Loader([file], **options, state=first.state()), 23), whole[17:]))


def test_few_short_documents_still_mix_over_the_lanes(tmp_path):
    file = write_tokens(tmp_path / "a.parquet", [documents_of([12] * 200)])
    loader = Loader([file], length=36, lanes=64, seed=0)
    batch = next(loader)
    assert len({int(row[0]) for row in batch.tokens_BT}) == 64
    assert loader.epoch == pytest.approx(64 * 36 / 2400)


def test_orders_differ_by_seed_and_epoch_and_files_mix(corpus):
    files, _ = corpus
    options = {"length": 40, "lanes": 2, "epochs": 2}
    one, two = (delivered(Loader(files, seed=seed, **options)) for seed in (1, 2))
    assert one != two
    documents = split_at_ends(one[0])
    assert documents[:20] != documents[-20:]
    assert documents[:20] != sorted(documents[:20])
    home = {tuple(d): number for number, file in enumerate(files) for d in pq.read_table(file)["tokens"].to_pylist()}
    assert len({home[document] for document in documents[:20]}) > 2


def test_orders_are_the_same_in_every_version(tmp_path):
    """Recorded: what changes these makes every checkpoint go on with other data."""
    assert epoch_plan._shuffled(8, 7, 0, 1).tolist() == [3, 6, 5, 0, 1, 4, 2, 7]
    parts = [documents_of([(7 * n + k) % 40 + 1 for n in range(20)], 1 + 20 * k) for k in range(6)]
    files = [write_tokens(tmp_path / f"{k}.parquet", [part]) for k, part in enumerate(parts)]
    batches = islice(Loader(files, length=50, lanes=3, seed=7, window=4), 60)  # over three epochs
    stream = b"".join(array.astype("<i8").tobytes() for batch in batches for array in batch)
    assert sha256(stream).hexdigest()[:16] == "01e44d1127b47af5"


# Tokenisation


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory) -> Path:
    """A byte-level BPE of 300 entries, with settings that must not matter: it truncates and pads."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.train_from_iterator(
        [passage(number) for number in range(5)],
        trainers.BpeTrainer(
            vocab_size=300,
            special_tokens=["<|endoftext|>"],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    tokenizer.enable_truncation(5)
    tokenizer.enable_padding(length=9)
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    tokenizer.save(str(path))
    return path


def write_shard(path: Path, numbers: range, **columns: list[str]) -> Path:
    texts = [passage(number) for number in numbers]
    size = len(texts)
    table = {"text": texts, "domain": ["law"] * size, "language": ["en"] * size, **columns}
    pq.write_table(pa.table(table), path)
    return path


def decoded(tokenizer: Path, file: Path) -> list[str]:
    from tokenizers import decoders

    reader = Tokenizer.from_file(str(tokenizer))
    reader.decoder = decoders.ByteLevel()
    return [reader.decode(ids[:-1]) for ids in pq.read_table(file)["tokens"].to_pylist()]


def test_shards_become_tokens_once_and_say_of_what(tmp_path, tokenizer):
    shard = write_shard(tmp_path / "s.parquet", range(70))
    (file,) = tokenize([shard], tokenizer, tmp_path / "cache")
    table = pq.read_table(file)
    assert table.schema.field("tokens").type.value_type == pa.uint16()
    assert sorted(decoded(tokenizer, file)) == sorted(passage(number) for number in range(70))
    assert all(ids[-1] == EOS and EOS not in ids[:-1] for ids in table["tokens"].to_pylist())
    assert table["length"].to_pylist() == [len(ids) for ids in table["tokens"].to_pylist()]
    assert set(table["domain"].to_pylist()) == {"law"}
    header = Loader([file], length=8, lanes=2, seed=0, tokenizer=tokenizer.parent).header
    assert (header.source, header.vocabulary, header.eos) == (str(shard), 300, EOS)
    before = file.stat().st_mtime_ns
    assert tokenize([shard], tokenizer, tmp_path / "cache") == [file]
    assert file.stat().st_mtime_ns == before
    assert tokenize([shard], tokenizer, tmp_path / "cache", held_out=0.5) != [file]
    assert [path.name for path in (tmp_path / "cache").glob(".*")] == [".lock"]


def test_ranks_that_start_together_make_each_file_once(tmp_path, tokenizer, monkeypatch):
    shards = [write_shard(tmp_path / f"{number}.parquet", range(number, number + 9)) for number in range(3)]
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / ".tmp-of-a-killed-process").touch()
    written: list[Path] = []
    write = tokenize_module._write
    monkeypatch.setattr(tokenize_module, "_write", lambda path, *rest: (written.append(path), write(path, *rest)))
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda _: tokenize(shards, tokenizer, tmp_path / "cache"), range(4)))
    assert all(files == results[0] for files in results)
    assert sorted(written) == shards
    assert len(list((tmp_path / "cache").iterdir())) == 3 + 1


def test_large_vocabularies_take_four_bytes(tmp_path):
    big = write_tokens(tmp_path / "big.parquet", [[[70_000, 3, EOS]]], vocabulary=100_000)
    assert pq.read_schema(big).field("tokens").type.value_type == pa.uint32()
    assert next(Loader([big], length=3, lanes=1, seed=0)).tokens_BT.tolist() == [[70_000, 3, EOS]]


def test_a_text_that_spells_the_end_does_not_end(tmp_path, tokenizer):
    pq.write_table(pa.table({"text": ["It ends with <|endoftext|> here.", None, ""]}), tmp_path / "s.parquet")
    (file,) = tokenize([tmp_path / "s.parquet"], tokenizer, tmp_path / "cache", held_out=0)
    (ids,) = pq.read_table(file)["tokens"].to_pylist()
    assert EOS not in ids[:-1]
    assert decoded(tokenizer, file) == ["It ends with <|endoftext|> here."]


def test_the_held_out_split_goes_by_passage_and_never_overlaps(tmp_path, tokenizer, monkeypatch):
    monkeypatch.setattr(tokenize_module, "TOKENS_PER_ROW_GROUP", 2000)
    seeds = [f"seed{number // 4}" for number in range(160)]
    shards = [
        write_shard(tmp_path / "a.parquet", range(160), seed_id=seeds),
        write_shard(tmp_path / "b.parquet", range(200, 360), seed_id=seeds),
    ]
    files = tokenize(shards, tokenizer, tmp_path / "cache", held_out=0.2)
    text_seed = {passage(start + n): seeds[n] for start in (0, 200) for n in range(160)}
    sides: dict[bool, set[str]] = {True: set(), False: set()}
    for file in files:
        assert pq.read_metadata(file).num_row_groups > 3
        for text, held in zip(decoded(tokenizer, file), pq.read_table(file)["held_out"].to_pylist(), strict=True):
            sides[held].add(text_seed[text])
    assert not sides[True] & sides[False]
    assert 2 <= len(sides[True]) <= 16
    held_out, train = (
        Loader(files, length=64, lanes=2, seed=0, split=split, epochs=1) for split in ("held_out", "train")
    )
    assert held_out.documents + train.documents == 320
    assert held_out.documents == 2 * 4 * len(sides[True])
    seen = [{d for stream in delivered(loader) for d in split_at_ends(stream)} for loader in (held_out, train)]
    assert not seen[0] & seen[1]


def test_shards_are_those_that_the_manifests_name(tmp_path, tokenizer):
    folder = tmp_path / "data" / "domain=law" / "date=2026-01-02"
    folder.mkdir(parents=True)
    named, _ = (write_shard(folder / f"part-{n}.parquet", range(n, n + 3)) for n in range(2))
    (tmp_path / "manifests").mkdir()
    manifest = tmp_path / "manifests" / "2026-01-02.json"
    manifest.write_text(json.dumps({"shards": [{"file": str(named.relative_to(tmp_path))}]}))
    assert published_shards(tmp_path) == [named]
    manifest.write_text("{}")
    with pytest.raises(InputError, match="damaged manifest"):
        published_shards(tmp_path)


# Bad input


def truncated(path: Path) -> Path:
    path.write_bytes(path.read_bytes()[:-300])
    return path


def test_bad_shards_are_named_with_the_fix(tmp_path, tokenizer):
    good = write_shard(tmp_path / "good.parquet", range(3))
    other = tmp_path / "other.parquet"
    pq.write_table(pa.table({"body": ["x"]}), other)
    numbers = tmp_path / "numbers.parquet"
    pq.write_table(pa.table({"text": [1]}), numbers)
    nothing = tmp_path / "nothing.parquet"
    nothing.touch()
    for path, words in (
        (other, "no column `text`.*its columns are body"),
        (numbers, "no column `text` of strings"),
        (truncated(write_shard(tmp_path / "cut.parquet", range(3))), "truncated or damaged: copy it again"),
        (nothing, "truncated or damaged"),
        (write_shard(tmp_path / "empty.parquet", range(0)), "no row has text; leave the file out"),
        (tmp_path / "absent.parquet", "cannot be read"),
    ):
        with pytest.raises(InputError, match=f"{path.name}: .*{words}"):
            tokenize([good, path], tokenizer, tmp_path / "cache")
    assert len(list((tmp_path / "cache").glob("*.parquet"))) == 1
    assert not list((tmp_path / "cache").glob(".tmp-*"))
    with pytest.raises(InputError, match="no shards to tokenize"):
        tokenize([], tokenizer, tmp_path / "cache")
    with pytest.raises(InputError, match="no published shards; create some with: gristmill run"):
        published_shards(tmp_path)
    with pytest.raises(ConfigError, match="held_out"):
        tokenize([good], tokenizer, tmp_path / "cache", held_out=2)
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="cannot write token files"):
        tokenize([good], tokenizer, tmp_path / "file")


def test_a_damaged_byte_inside_a_shard_is_found(tmp_path, tokenizer):
    path = tmp_path / "s.parquet"
    table = pa.table({"text": [passage(number) for number in range(50)]})
    pq.write_table(table, path, write_page_checksum=True, compression="none")
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 1
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"s\.parquet: cannot be read"):
        tokenize([path], tokenizer, tmp_path / "cache")


def test_bad_tokenizers_are_named_with_the_fix(tmp_path, tokenizer):
    shard = write_shard(tmp_path / "s.parquet", range(3))
    (tmp_path / "tokenizer.json").write_text("{}")
    for path, eos, words in (
        (tmp_path / "absent", None, "absent: no such file"),
        (tmp_path / "tokenizer.json", None, "not a tokenizer"),
        (tokenizer, "<end>", "no token '<end>'"),
    ):
        with pytest.raises(InputError, match=words):
            tokenize([shard], path, tmp_path / "cache", eos=eos)
    folder = tmp_path / "m"
    folder.mkdir()
    (folder / "tokenizer.json").write_bytes(tokenizer.read_bytes())
    (folder / "tokenizer_config.json").write_text('{"eos_token": {"content": "a"}}')
    (file,) = tokenize([shard], folder, tmp_path / "cache")
    assert Loader([file], length=4, lanes=1, seed=0, split="train").header.eos != EOS
    (folder / "tokenizer_config.json").write_text("[")
    with pytest.raises(InputError, match=r"tokenizer_config\.json: damaged"):
        tokenize([shard], folder, tmp_path / "cache")


def test_bad_token_files_are_named_with_the_fix(tmp_path, tokenizer):
    shard = write_shard(tmp_path / "s.parquet", range(3))
    (file,) = tokenize([shard], tokenizer, tmp_path / "cache")
    options = {"length": 8, "lanes": 2, "seed": 0}
    other = write_tokens(tmp_path / "other.parquet", [documents_of([3])])
    copy = tmp_path / "copy.parquet"
    copy.write_bytes(file.read_bytes())
    for files, words in (
        ([shard], r"s\.parquet: not a token file"),
        ([file, other], "made with another tokenizer"),
        ([file, copy], "of the same shard as"),
        ([], "no token files"),
        ([tmp_path / "absent"], "absent: token file missing or damaged"),
    ):
        with pytest.raises(InputError, match=words):
            Loader(files, **options)
    with pytest.raises(InputError, match="no held_out documents"):
        Loader([other], **options, split="held_out")
    with pytest.raises(InputError, match=r"made with another tokenizer .* than .*s\.parquet"):
        Loader([file], **options, tokenizer=shard)
    with pytest.raises(InputError, match="no such file"):
        Loader([file], **options, tokenizer=tmp_path / "none")
    before = file.read_bytes()
    damaged = bytearray(before)
    damaged[200] ^= 1
    file.write_bytes(damaged)
    with pytest.raises(InputError, match=r"damaged.*tokenize its shard again"):
        next(Loader([file], **options))
    truncated(file)
    with pytest.raises(InputError, match="token file missing or damaged"):
        Loader([file], **options)
    assert tokenize([shard], tokenizer, tmp_path / "cache") == [file]
    assert file.read_bytes() == before


def test_columns_of_a_token_file_are_found_by_name_in_any_order(tmp_path):
    path = write_tokens(tmp_path / "a.parquet", [documents_of([3, 4]), documents_of([2])], held_out=(1,))
    turned = pq.read_schema(path).names[::-1]
    schema = token_schema(50_000)
    schema = pa.schema([schema.field(name) for name in turned])
    header = TokenFileHeader("t" * 64, 50_000, EOS, 0.1, "b", "b", schema_id(schema))
    other = tmp_path / "b.parquet"
    with pq.ParquetWriter(other, schema.with_metadata({HEADER_KEY: json.dumps(asdict(header))})) as writer:
        for number in range(2):
            writer.write_table(pq.ParquetFile(path).read_row_group(number).select(turned))
    for split, tokens in (("train", 7), ("held_out", 2)):
        loaders = [Loader([file], length=7, lanes=1, seed=0, split=split) for file in (path, other)]
        assert [loader.tokens for loader in loaders] == [tokens, tokens]
        assert same(*map(next, loaders))


def test_states_of_another_stream_are_refused(corpus):
    files, _ = corpus
    options = {"length": 8, "lanes": 4, "seed": 0}
    loader = Loader(files, **options)
    next(loader)
    state = loader.state()
    for change in ({"length": 9}, {"lanes": 2}, {"seed": 1}, {"window": 2}):
        with pytest.raises(InputError, match=f"loader state: made with {next(iter(change))} "):
            Loader(files, **(options | change), state=state)
    with pytest.raises(InputError, match="made with files"):
        Loader(files[1:], **options, state=state)
    for damage in ({"step": -1}, {"step": "3"}, {"step": None}):
        with pytest.raises(InputError, match="damaged, its step"):
            Loader(files, **options, state=state | damage)
    with pytest.raises(InputError, match="damaged, it has no 'files'"):
        Loader(files, **options, state={"step": 1})


@pytest.mark.parametrize(
    "change",
    [
        {"world_size": 3},
        {"rank": 2, "world_size": 2},
        {"length": 0},
        {"lanes": 0},
        {"seed": -1},
        {"window": 0},
        {"epochs": 0},
    ],
)
def test_numbers_that_do_not_fit_are_refused(corpus, change):
    with pytest.raises(ConfigError, match=next(iter(change)) if "world_size" not in change else "ranks"):
        Loader(corpus[0], **({"length": 8, "lanes": 4, "seed": 0} | change))


def test_row_groups_that_do_not_stay_in_memory_are_read_again(corpus, monkeypatch):
    options = {"length": 30, "lanes": 6, "seed": 0}
    kept = list(islice(Loader(corpus[0], **options), 20))
    monkeypatch.setattr(token_reader, "MAX_CACHED_BYTES", 1)
    loader = Loader(corpus[0], **options)
    assert all(map(same, islice(loader, 20), kept))
    assert len(loader._plan._reader._cached_tokens) == 1


def test_many_files_are_not_all_kept_open(tmp_path, monkeypatch):
    monkeypatch.setattr(token_reader, "MAX_OPEN_FILES", 3)
    files = [write_tokens(tmp_path / f"{n}.parquet", [documents_of([5], 1 + n)]) for n in range(20)]
    loader = Loader(files, length=5, lanes=1, seed=0)
    before = len(os.listdir("/proc/self/fd"))
    list(islice(loader, 60))
    assert len(os.listdir("/proc/self/fd")) - before <= 3

"""Reading users' files: every format, bad rows, damaged files, folders and URLs."""

import gzip
import io
import json
import tracemalloc

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from configs.errors import InputError
from configs.schema import Passages, Source
from stages.record import Seed
from stages.sources import json as reader
from stages.sources.documents import Document, Fields, Unreadable
from stages.sources.listing import file_sha256, list_files
from stages.sources.readers import read_documents
from stages.sources.seed_source import Dropped, read_seeds, source_listing

ROWS = [{"text": "first text", "title": "one"}, {"text": "第二", "title": "two"}]
FIELDS = Fields(title="title", max_document_bytes=1000)


def written(folder, name, data):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return str(path)


def parquet(path, **columns):
    pq.write_table(pa.table(columns), path)
    return str(path)


def read(url, fields=FIELDS):
    return list(read_documents(url, fields))


def reasons(url, fields=FIELDS):
    return [row.reason if isinstance(row, Unreadable) else row.text for row in read(url, fields)]


LINES = "".join(json.dumps(row) + "\n" for row in ROWS)
TABLE = "text,title\nfirst text,one\n第二,two\n"


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.jsonl", LINES),
        ("a.jsonl", "\ufeff" + LINES.replace("\n", "\r\n") + "\n\n"),
        ("a.jsonl.gz", gzip.compress(LINES.encode(), mtime=0)),
        ("a.json", json.dumps(ROWS)),
        ("a.json", json.dumps(ROWS, indent=2, ensure_ascii=False)),
        ("a.json", LINES),
        ("a.csv", TABLE),
        ("a.csv", "\ufeff" + TABLE.replace("\n", "\r\n")),
        ("a.csv.gz", gzip.compress(TABLE.encode(), mtime=0)),
        ("a.tsv", TABLE.replace(",", "\t")),
    ],
)
def test_formats(tmp_path, name, data):
    found = read(written(tmp_path, name, data))
    assert [(row.text, row.title) for row in found] == [("first text", "one"), ("第二", "two")]


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())])
def test_parquet(tmp_path, kind):
    texts = pa.array([row["text"] for row in ROWS]).cast(kind)
    found = read(parquet(tmp_path / "a.parquet", text=texts, title=["one", "two"], other=[1, 2]))
    assert [(row.text, row.title) for row in found] == [("first text", "one"), ("第二", "two")]


def test_text_files_are_one_document(tmp_path):
    assert read(written(tmp_path, "a.txt", "a\n\nb")) == [Document("a\n\nb", "", "file")]
    assert read(written(tmp_path, "a.md", "# Head\n\nbody"))[0].title == "Head"
    assert reasons(written(tmp_path, "b.txt", "x" * 1001)) == ["too_large"]
    assert reasons(written(tmp_path, "c.txt", b"\xff\xfe")) == ["invalid_utf8"]


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv", "a.tsv", "a.txt", "a.md", "a.parquet"])
def test_empty_files_give_nothing(tmp_path, name):
    assert read(written(tmp_path, name, "")) == []


def test_a_bad_line_costs_one_row(tmp_path):
    good = b'{"text": "good"}\n'
    deep = b'{"text": ' + b"[" * 5000 + b"\n"
    bad = [b"{nope\n", b'{"text": "\xff"}\n', b'{"other": 1}\n', b'{"text": 5}\n', b'{"text": " "}\n', b"[1]\n"]
    surrogate = b'{"text": "\\ud800"}\n'
    large = b'{"text": "' + b"x" * 5000 + b'"}\n'
    found = reasons(
        written(tmp_path, "a.jsonl", good + good.join([*bad, surrogate, large, b"9" * 900 + b"\n", deep]) + good)
    )
    assert found[::2] == ["good"] * 11
    assert found[1::2] == [
        *("bad_json", "invalid_utf8", "no_text_field", "no_text_field", "empty", "bad_json"),
        *("invalid_utf8", "too_large", "bad_json", "too_large"),
    ]


def test_bad_objects_in_json(tmp_path):
    data = (
        b'[{"text": "a {\\"} b"}, {"text": \xff}, {"text": "'
        + b"x" * 5000
        + b'\\\\"}, {"text": {"deep": 1}}, {"text": "end'
    )
    found = reasons(written(tmp_path, "a.json", data))
    assert found == ['a {"} b', "invalid_utf8", "too_large", "no_text_field", "bad_json"]


def test_bad_rows_in_csv(tmp_path):
    data = b'text,title\n"a\nb",one\nonly\n\n\xff,x\n' + b"y" * 5000 + b",x\nlast,one\n"
    assert reasons(written(tmp_path, "a.csv", data)) == [
        "a\nb",
        "bad_row",
        "empty",
        "invalid_utf8",
        "too_large",
        "last",
    ]


def test_bad_rows_in_parquet(tmp_path):
    raw = pa.array([b"good", b"\xff", None, b"x" * 5000, b" "], pa.binary())
    texts = pa.Array.from_buffers(pa.string(), 5, raw.buffers())
    assert reasons(parquet(tmp_path / "a.parquet", text=texts)) == [
        "good",
        "invalid_utf8",
        "empty",
        "too_large",
        "empty",
    ]


def test_json_that_only_python_writes_and_damage_cost_no_other_row(tmp_path):
    """What ijson refuses in the middle of an array: NaN, a large integer, a lone surrogate, a torn object."""
    rows = [{"text": f"text {n}", "title": title} for n, title in enumerate(("a", float("nan"), 2**70, 1.10, None))]
    data = json.dumps([*rows, {"text": "\ud800"}]).removesuffix("]") + ', {"text": nothing}, {"text": "last"}]'
    found = read(written(tmp_path, "a.json", data))
    titles = [row.title for row in found if isinstance(row, Document)]
    assert titles == ["a", "nan", str(2**70), "1.1", "", ""]
    assert [row.reason for row in found if isinstance(row, Unreadable)] == ["invalid_utf8", "bad_json"]
    assert [row.location for row in found] == [f"object {n}" for n in range(1, 9)]


@pytest.mark.parametrize("backend", ["yajl2_c", "python"])
@given(st.lists(st.dictionaries(st.sampled_from(["text", "title", "n"]), st.deferred(lambda: json_values))), st.data())
@settings(max_examples=60, deadline=None)
def test_ijson_and_brace_matching_read_the_same_rows(backend, rows, data):
    """Arrays whole and damaged, in blocks of any size, with ijson's C backend and its Python one."""
    array = bytearray(json.dumps(rows, ensure_ascii=data.draw(st.booleans())).encode("utf-8", "surrogatepass"))
    if data.draw(st.booleans()):
        array[data.draw(st.integers(0, len(array) - 1))] = data.draw(st.sampled_from(b'{}[]",:\\ \xffu1'))
    limit = data.draw(st.sampled_from([10, 60, 10_000]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reader, "BLOCK_BYTES", data.draw(st.integers(1, 40)))
        patch.setattr(reader.ijson, "items_coro", reader.ijson.get_backend(backend).items_coro)
        rows_of_array = list(reader._rows(io.BytesIO(array), limit))
    objects = reader._split_objects([bytes(array)], limit)
    assert repr(rows_of_array) == repr([None if part is None else reader._parse(part) for part in objects])


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(exclude_categories=())),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("ab{"), inner, max_size=3),
    max_leaves=5,
)


@pytest.mark.parametrize(
    ("name", "form"),
    [("a.jsonl", b'{"text": "%s"}\n{"text": "after"}\n'), ("a.json", b'[{"text": "%s"}, {"text": "after"}]')],
)
def test_a_huge_row_is_never_in_memory(tmp_path, name, form):
    url = written(tmp_path, name, form % (b"x" * 30_000_000))
    tracemalloc.start()
    assert reasons(url) == ["too_large", "after"]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3_000_000


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.jsonl", '{"body": "x"}\n', "no row has the field 'text'; set text_field to one of body"),
        ("a.json", '{"data": [{"text": "x"}]}', "one of data"),
        ("a.json", '["x", "y"]', "contains no JSON object"),
        ("a.csv", "first,second\n", "no column 'text' in the first row"),
        ("a.csv", "\xff\n".encode("latin-1"), "no column 'text'"),
        ("a.jsonl.gz", gzip.compress(LINES.encode() * 500, mtime=0)[:-20], "truncated or damaged"),
        ("a.jsonl.gz", b"plain", "truncated or damaged"),
        ("a.parquet", b"PAR1 no parquet PAR1", "cannot be read as Parquet"),
    ],
)
def test_damaged_files_are_named(tmp_path, name, data, message):
    with pytest.raises(InputError, match=message) as caught:
        read(written(tmp_path, name, data))
    assert name in str(caught.value)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"body": ["x"]}, "no column 'text'; set text_field to one of body"),
        ({"text": [1, 2]}, "'text' is int64, not a string"),
        ({"text": [b"x"]}, "'text' is binary, not a string"),
        ({"text": [["x"]]}, "not a string"),
    ],
)
def test_wrong_parquet_columns_are_named(tmp_path, columns, message):
    with pytest.raises(InputError, match=message):
        read(parquet(tmp_path / "a.parquet", **columns))


def rows_or_named_error(url):
    try:
        assert all(isinstance(row, Document | Unreadable) for row in read(url))
    except InputError as error:
        if url not in str(error):
            raise


@given(st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_damaged_parquet_is_an_error_or_rows(tmp_path, data):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": [f"text {n}" for n in range(200)]}), path, write_page_checksum=True)
    whole = bytearray(path.read_bytes())
    at = data.draw(st.integers(0, len(whole) - 1))
    if data.draw(st.booleans()):
        whole = whole[:at]
    else:
        whole[at] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(whole)
    rows_or_named_error(str(path))


@given(st.binary(max_size=300), st.sampled_from([".jsonl", ".json", ".csv", ".txt", ".jsonl.gz", ".parquet"]))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_are_an_error_or_rows(tmp_path, data, suffix):
    rows_or_named_error(written(tmp_path, f"a{suffix}", data))


@given(
    st.lists(
        st.dictionaries(st.sampled_from(["text", "n"]), st.text(max_size=40) | st.integers(), max_size=2), max_size=8
    ),
    st.booleans(),
)
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_json_arrays_and_lines_read_alike(tmp_path, rows, indented):
    lines = written(tmp_path, "a.jsonl", "\n".join(json.dumps(row) for row in rows))
    array = written(tmp_path, "a.json", json.dumps(rows, indent=3 if indented else None))
    try:
        expected = reasons(lines)
    except InputError:
        with pytest.raises(InputError):
            reasons(array)
    else:
        assert reasons(array) == expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('{"text": "a"}{"text": "b"}', ["a", "b"]),
        ('{"text": "a"} , {"text": "b"},', ["a", "b"]),
        ('{"text": "a"}{"text": "b"}{"text":', ["a", "b", "bad_json"]),
        ('{"text": "a"}{"n": 1}{"text": "}{"}', ["a", "no_text_field", "}{"]),
        ('{"text": "a"} and more', ["a", "bad_json"]),
        ('{"text": "a"}[1]', ["a", "bad_json"]),
        ('{"text": "a"', ["bad_json"]),
    ],
)
def test_objects_that_share_a_line_are_rows(tmp_path, line, expected):
    before, after = '{"text": "first"}\n', '\n{"text": "last"}\n'
    assert reasons(written(tmp_path, "a.jsonl", before + line + after)) == ["first", *expected, "last"]
    assert reasons(written(tmp_path, "b.jsonl", line + after)) == [*expected, "last"]


@given(
    st.lists(
        st.fixed_dictionaries({"text": st.text('{}"\\\n, é', max_size=9)}, optional={"n": st.integers()}), min_size=1
    ),
    st.data(),
)
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_lost_line_ends_lose_no_row(tmp_path, rows, data):
    ends = data.draw(st.lists(st.sampled_from(["", " ", ",", "\n"]), min_size=len(rows), max_size=len(rows)))
    joined = "".join(json.dumps(row) + end for row, end in zip(rows, ends, strict=True))
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    fields = Fields(max_document_bytes=10_000)
    assert reasons(written(tmp_path, "a.jsonl", joined), fields) == reasons(written(tmp_path, "b.jsonl", lines), fields)


def test_folders_are_read_recursively_and_sorted(tmp_path):
    for name in ("b/two.txt", "a.jsonl", "b/.hidden.txt", "_SUCCESS", "c.png", "b/c/three.md"):
        written(tmp_path, name, "x")
    assert [file.name for file in list_files(str(tmp_path))] == ["a.jsonl", "b/c/three.md", "b/two.txt"]
    assert [file.name for file in list_files(f"{tmp_path}/b/*.txt")] == ["two.txt"]
    assert list_files(f"{tmp_path}/a.jsonl")[0].bytes == 1


def test_urls(tmp_path):
    with fsspec.open("memory://seeds/x/a.jsonl", "wb") as sink:
        sink.write(LINES.encode())
    files = list_files("memory://seeds")
    assert [file.name for file in files] == ["x/a.jsonl"]
    assert [row.text for row in read(files[0].url)] == ["first text", "第二"]
    assert file_sha256(files[0].url) == file_sha256(written(tmp_path, "a.jsonl", LINES))


@pytest.mark.parametrize("path", ["nowhere.jsonl", "memory://nothing/here", "nowhere/*.jsonl", "odd://x"])
def test_missing_paths_name_the_config_path(path):
    with pytest.raises(InputError, match=r"^domains.law.seeds\[0\].path: "):
        source_listing(Source(path=path, licence="MIT"), "domains.law.seeds[0]")


def test_seeds_of_a_file(tmp_path):
    sentence = "The controller shall inform the data subject without undue delay. "
    rows = [
        {"text": sentence * 5, "title": " A\ntitle "},
        {"text": "Short."},
        {
            "text": "\n\n".join(
                f"Title {word}\n\nGeneral provisions" for word in ("one", "two", "three", "four", "five")
            )
        },
        {"text": "".join(f"Chapter {n} ........ {n}\n\n" for n in range(12))},
        {"text": "El responsable informará al interesado sin dilación indebida de todo ello. " * 3},
        {"other": 1},
    ]
    written(tmp_path, "a.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    source = Source(path=str(tmp_path / "a.jsonl"), title_field="title", licence="CC-BY-4.0")
    (file,) = source_listing(source, "domains.law.seeds[0]").files
    cut = Passages(min_chars=90, max_chars=400)
    found = list(read_seeds(source, file, "law", cut, lambda text: "es" if "informará" in text else "en"))
    seed, *dropped = found
    assert isinstance(seed, Seed)
    assert (seed.title, seed.source, seed.location, seed.licence, seed.language, seed.domain) == (
        *("A title", "a.jsonl", "line 1", "CC-BY-4.0", "en", "law"),
    )
    assert [row.reason for row in dropped if isinstance(row, Dropped)] == [
        *("short", "headings", "contents", "language", "no_text_field"),
    ]
    assert found == list(read_seeds(source, file, "law", cut, lambda text: "es" if "informará" in text else "en"))


def test_two_columns_of_the_texts_name_are_refused(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text('text,title,title,text\n"The tenant pays.",a,b,c\n')
    with pytest.raises(InputError, match="2 columns are named 'text'"):
        list(read_documents(f"file://{path}", Fields()))


def test_a_text_that_is_null_is_called_so(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": null}\n{"text": "The tenant pays."}\n')
    null, document = read_documents(f"file://{path}", Fields())
    assert (null.detail, document.text) == ("'text' is null", "The tenant pays.")

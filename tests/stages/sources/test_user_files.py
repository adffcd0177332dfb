"""Files as users have them: stray quotes, other encodings, wrong suffixes, links, archives, signed URLs, long runs."""

import bz2
import gzip
import io
import json
import lzma
import os
import unicodedata
import zipfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from configs.errors import InputError
from configs.schema import Source
from stages.dedup import guards
from stages.sources import formats, parts
from stages.sources import pdf as pdf_reader
from stages.sources.documents import Document, Fields, Unreadable
from stages.sources.listing import list_files, list_source
from stages.sources.opening import open_file
from stages.sources.parts import parts_of
from stages.sources.passages import cut, first_sentence, split_sentences
from stages.sources.readers import read_documents
from tests.factories.signed_urls import QUERY, SIGNATURE, signed_files

LINES = '{"text": "first text"}\n{"text": "second text"}\n'


def write(path, data):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


def texts(path, **fields):
    """The texts of a file, with the reason in place of one that cannot be read."""
    rows = read_documents(str(path), Fields(**fields))
    return [row.reason if isinstance(row, Unreadable) else row.text for row in rows]


# Quotation marks in tables


def rows_with(places, delimiter="\t", count=200):
    """The lines of a table in which some cells are replaced."""
    cells = [places.get(number, f"text {number}") for number in range(count)]
    return ["text" + delimiter + "title", *(f"{cell}{delimiter}title" for cell in cells)], cells


@pytest.mark.parametrize("delimiter", ["\t", ",", ";"])
@pytest.mark.parametrize(
    "places",
    [
        {5: '"stray'},  # never closed
        {5: 'in "the" middle'},
        {5: '"stray', 198: 'its end"'},  # a well-formed cell of 194 lines
        {5: '"said" he', 9: '"', 12: '5"', 190: '"again'},
    ],
)
def test_a_stray_quotation_mark_merges_no_rows(tmp_path, delimiter, places):
    lines, cells = rows_with(places, delimiter)
    path = write(tmp_path / ("a.tsv" if delimiter == "\t" else "a.csv"), "\n".join(lines))
    assert texts(path) == cells


def test_quoted_cells_keep_their_line_breaks_delimiters_and_quotation_marks(tmp_path):
    table = (
        'text,title\n"One, two\nthree, four\n\nfive",a\n"He said ""no"".",b\n"He said \\"yes\\", twice.",c\n'
        '"Comma, again",d\r\nplain,e\n'
    )
    assert texts(write(tmp_path / "a.csv", table)) == [
        *("One, two\nthree, four\n\nfive", 'He said "no".', 'He said "yes", twice.', "Comma, again", "plain"),
    ]
    assert texts(write(tmp_path / "b.csv", 'text\n"one\ntwo"\nthree\n')) == ["one\ntwo", "three"]
    assert texts(write(tmp_path / "c.csv", 'id,"te\nxt"\n1,x\n'), text="te\nxt") == ["x"]


def test_a_row_with_too_many_cells_is_counted_with_its_number(tmp_path):
    path = write(tmp_path / "a.csv", 'text,title\nfine,a\n"open, b, c\nfine,d\n')
    rows = list(read_documents(str(path), Fields()))
    assert [row.location for row in rows] == ["row 1", "row 2", "row 3"]
    assert [getattr(row, "reason", "") for row in rows] == ["", "bad_row", ""]


@pytest.mark.parametrize(
    ("name", "table"),
    [
        ("a.csv", "id;text\n1;first text\n2;second text\n"),
        ("a.csv", "id\ttext\n1\tfirst text\n2\tsecond text\n"),
        ("a.csv", "id|text\n1|first text\n2|second text\n"),
        ("a.tsv", "id,text\n1,first text\n2,second text\n"),
        ("a.csv", "sep=;\r\nid;text\r\n1;first text\r\n2;second text\r\n"),
        ("a.csv", "id, text\n1,first text\n2,second text\n"),
        ("a.csv", "id,text\r1,first text\r2,second text\r"),
        ("a.CSV", '"id","text"\n"1","first text"\n"2","second text"\n'),
    ],
)
def test_the_delimiter_is_found_by_the_header(tmp_path, name, table):
    assert texts(write(tmp_path / name, table)) == ["first text", "second text"]


def test_a_delimiter_of_the_config_is_the_only_one(tmp_path):
    path = write(tmp_path / "a.csv", "id~text\n1~a,b\n")
    assert texts(path, delimiter="~") == ["a,b"]
    with pytest.raises(InputError, match=r"no column 'text' in the first row \(id~text\).*delimiter"):
        texts(path)
    with pytest.raises(InputError, match="no column 'text'"):
        texts(write(tmp_path / "b.csv", "id,text\n"), delimiter=";")


# Encodings

SPANISH = "El médico recetó “digoxina” a la señora Muñoz; ¿qué ocurrió después? — Nada."
CHINESE = "第一条 为了保护当事人的合法权益，制定本法。人民法院应当依法审理案件。"
TRADITIONAL = "第一條 為了保護當事人的合法權益，制定本法。人民法院應當依法審理案件。"


@pytest.mark.parametrize(
    ("text", "encoding", "language"),
    [
        (SPANISH, "cp1252", "es"),
        (SPANISH.replace("“", "«").replace("”", "»").replace("—", "-"), "latin-1", "es"),
        (SPANISH, "utf-8-sig", "es"),
        (SPANISH, "utf-16", "es"),
        (SPANISH, "utf-16-le", "es"),
        (SPANISH, "utf-16-be", "es"),
        (SPANISH, "utf-32", "es"),
        ("A plain text with one café.", "cp1252", "en"),
        (CHINESE, "gb18030", "zh"),
        (CHINESE, "utf-16", "zh"),
        (CHINESE, "utf-16-le", "zh"),
        (TRADITIONAL, "big5", "zh"),
    ],
)
@pytest.mark.parametrize(
    ("suffix", "form"),
    [
        (".txt", "{}"),
        (".csv", "title,text\na,{}\n"),
        (".jsonl", '{{"text": "{}"}}\n'),
        (".json.gz", '[{{"text": "{}"}}]'),
        (".html", "<p>{}</p>"),
    ],
)
def test_files_that_are_not_utf_8_are_read(tmp_path, text, encoding, language, suffix, form):
    if suffix == ".html":
        pytest.importorskip("lxml")
    data = form.format(text).encode(encoding)
    path = write(tmp_path / f"a{suffix}", gzip.compress(data) if suffix.endswith(".gz") else data)
    assert texts(path, language=language) == [text]


def test_the_encoding_of_the_config_is_used(tmp_path):
    path = write(tmp_path / "a.csv", "text\nПривет, мир\n".encode("cp1251"))
    assert texts(path, encoding="cp1251", delimiter=";") == ["Привет, мир"]
    assert texts(path, delimiter=";") == ["invalid_utf8"]


def test_one_damaged_row_of_utf_8_does_not_change_the_encoding_of_the_others(tmp_path):
    good = f'{{"text": "{SPANISH}"}}\n'.encode()
    assert texts(write(tmp_path / "a.jsonl", good + b'{"text": "caf\xe9"}\n' + good)) == [
        *(SPANISH, "invalid_utf8", SPANISH),
    ]
    assert texts(write(tmp_path / "b.txt", b"a \xe2\x80 b")) == ["invalid_utf8"]


def test_the_first_odd_byte_may_come_late(tmp_path):
    path = write(tmp_path / "a.csv", b"text\n" + (b"plain " * 50 + b"\n") * 2000 + "café\n".encode("cp1252"))
    assert texts(path)[-1] == "café"


# Suffixes


@pytest.mark.parametrize(
    ("name", "compress"),
    [
        ("a.ndjson", bytes),
        ("A.JSONL.GZ", gzip.compress),
        ("a.jsonl.bz2", bz2.compress),
        ("a.NDJSON.xz", lzma.compress),
        ("a.jsonl.zst", zstandard.compress),
        ("a.jsonl.zstd", lambda data: zstandard.compress(data[:30]) + zstandard.compress(data[30:])),
    ],
)
def test_suffixes_and_compressions_in_any_case(tmp_path, name, compress):
    path = write(tmp_path / name, compress(LINES.encode()))
    assert [file.name for file in list_files(str(tmp_path))] == [name]
    assert texts(path) == ["first text", "second text"]


@pytest.mark.parametrize(
    ("name", "compress"),
    [
        ("a.jsonl.gz", bytes),
        ("a.jsonl", gzip.compress),
        ("a.jsonl.gz", bz2.compress),
        ("a.jsonl.xz", gzip.compress),
        ("a.jsonl.gz", lambda data: gzip.compress(gzip.compress(data))),
        ("a.txt", lzma.compress),
    ],
)
def test_a_file_is_decompressed_by_what_it_is_and_not_by_its_name(tmp_path, name, compress):
    path = write(tmp_path / name, compress(b'{"text": "The lease ends in May."}\n'))
    assert "The lease ends in May." in texts(path)[0]


def test_a_large_compressed_file_without_its_suffix_is_named(tmp_path):
    path = write(tmp_path / "a.jsonl", gzip.compress(b'{"text": "a"}\n'))
    with pytest.raises(InputError, match=r"a\.jsonl: is compressed; add \.gz to its name"):
        open_file(str(path), [(0, 5)])


@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.jsonl.bz2", "a.jsonl.xz", "a.jsonl.zst"])
def test_a_cut_compressed_file_is_named(tmp_path, name):
    lines = "".join(json.dumps({"text": f"text {number * 7919}"}) + "\n" for number in range(5000)).encode()
    compress = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress, "zst": zstandard.compress}
    path = write(tmp_path / name, compress[name.rpartition(".")[2]](lines)[:-20])
    with pytest.raises(InputError, match=rf"{name}: .*truncated or damaged"):
        texts(path)


ARRAY = [{"text": "first text"}, {"text": "second text"}]


@pytest.mark.parametrize(
    "content",
    [
        json.dumps(ARRAY),
        json.dumps(ARRAY, indent=2),
        "\ufeff" + "\n".join(json.dumps(row, indent=2) for row in ARRAY),
        "\n".join(json.dumps(row, indent=1).replace("{\n ", "{", 1) for row in ARRAY),
        "[\n" + ",\n".join(map(json.dumps, ARRAY)) + "\n]\n",
        "".join(json.dumps(row) + ",\n" for row in ARRAY),
        "\r\n".join(map(json.dumps, ARRAY)),
        "\r".join(map(json.dumps, ARRAY)),
    ],
)
def test_json_in_lines_files_however_it_is_laid_out(tmp_path, content):
    assert texts(write(tmp_path / "a.jsonl", content)) == ["first text", "second text"]


def test_a_damaged_first_line_costs_that_line(tmp_path):
    assert texts(write(tmp_path / "a.jsonl", '{"text": "torn\n' + LINES)) == ["bad_json", "first text", "second text"]


def test_a_web_page_is_its_text(tmp_path):
    pytest.importorskip("lxml")
    page = (
        "<html><head><title> The  page </title><style>p {}</style></head><body><nav>Home</nav><h1>Head</h1>"
        "<p>One <b>bold</b> word,<br>a line.</p><script>x = 1</script><ul><li>first<li>second</ul>"
        "<table><tr><td>a</td><td>b</td></tr></table>Tail &amp; end</body></html>"
    )
    (document,) = read_documents(str(write(tmp_path / "a.HTM", page)), Fields())
    assert isinstance(document, Document)
    assert document.title == "The page"
    assert document.text == "Head\n\nOne bold word,\na line.\n\nfirst\n\nsecond\n\na b\n\nTail & end"
    named = "<meta charset='iso-8859-2'><p>Zażółć gęślą jaźń</p>".encode("iso-8859-2")
    assert texts(write(tmp_path / "b.html", named)) == ["Zażółć gęślą jaźń"]
    assert texts(write(tmp_path / "c.html", "<p></p>")) == ["empty"]


def test_a_word_file_is_its_paragraphs_and_tables(tmp_path):
    docx = pytest.importorskip("docx")
    file = docx.Document()
    file.add_heading("The lease", 1)
    file.add_paragraph("The tenant pays rent.")
    table = file.add_table(1, 2)
    table.cell(0, 0).text, table.cell(0, 1).text = "rent", "900"
    file.add_paragraph("The end.")
    file.save(tmp_path / "a.docx")
    (document,) = read_documents(str(tmp_path / "a.docx"), Fields())
    assert document == Document("The lease\n\nThe tenant pays rent.\n\nrent; 900\n\nThe end.", "The lease", "file")
    assert texts(write(tmp_path / "b.docx", b"PK no archive")) == ["bad_file"]


def pdf(*lines):
    """A PDF file of one page with these lines."""
    shown = b" ".join(b"(%s) Tj T*" % line.encode() for line in lines)
    content = b"BT /F1 12 Tf 14 TL 72 700 Td %s ET" % shown
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents 4 0 R"
        b" /Resources << /Font << /F1 << /Type /Font /Subtype /Type1 /BaseFont /Helvetica >> >> >> >>",
        b"<< /Length %d >>\nstream\n%s\nendstream" % (len(content), content),
    ]
    whole, places = b"%PDF-1.4\n", []
    for number, body in enumerate(objects, 1):
        places.append(len(whole))
        whole += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    start = len(whole)
    return whole + b"xref\n0 5\n0000000000 65535 f \n%strailer\n<< /Size 5 /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF" % (
        table,
        start,
    )


def test_a_pdf_file_is_the_text_of_its_pages(tmp_path):
    pytest.importorskip("pypdf")
    data = pdf("The tenant pays the rent in ad-", "vance. The owner re-", "Opens the door.")
    expected = ["The tenant pays the rent in advance. The owner re-\nOpens the door."]
    assert texts(write(tmp_path / "a.PDF", data)) == expected
    assert texts(write(tmp_path / "b.pdf.gz", gzip.compress(data))) == expected
    assert texts(write(tmp_path / "c.pdf", pdf())) == ["empty"]
    assert texts(write(tmp_path / "d.pdf", b"%PDF-1.4 and no more")) == ["bad_file"]
    assert texts(write(tmp_path / "e.pdf", b"")) == []


def test_a_pdf_file_that_takes_too_long_costs_itself_alone(tmp_path, monkeypatch):
    pytest.importorskip("pypdf")
    slow = write(tmp_path / "slow.pdf", pdf(*["a"] * 2_000_000))
    fast = write(tmp_path / "fast.pdf", pdf("The tenant pays the rent."))
    assert texts(fast) == ["The tenant pays the rent."]
    monkeypatch.setattr(pdf_reader, "MAX_SECONDS", 0.3)
    (dropped,) = read_documents(str(slow), Fields())
    assert isinstance(dropped, Unreadable)
    assert (dropped.reason, "not read in 0.3 s" in dropped.detail) == ("bad_file", True)
    monkeypatch.undo()
    assert texts(fast) == ["The tenant pays the rent."]


def test_a_killed_reader_of_pdf_files_is_started_again(tmp_path):
    pytest.importorskip("pypdf")
    file = write(tmp_path / "a.pdf", pdf("The tenant pays the rent."))
    assert texts(file) == ["The tenant pays the rent."]
    for process in pdf_reader._waiting:
        process.kill()
        process.wait()
    assert texts(file) == ["The tenant pays the rent."]


def test_what_is_passed_over_is_counted_with_its_fix(tmp_path, monkeypatch):
    for name in ("a.txt", "b.xlsx", "c.XLSX", "d.doc", "e.zip", "f.tar.gz", "g.png", "LICENSE", "h.pdf", ".hidden.pdf"):
        write(tmp_path / name, "x")
    (tmp_path / "i.txt").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "j.txt")
    monkeypatch.setattr(formats, "is_installed", lambda reader: reader != "pdf")
    listing = list_source(str(tmp_path))
    assert [file.name for file in listing.files] == ["a.txt"]
    note = listing.note()
    for part in (
        "2 .xlsx (export them as CSV)",
        "1 .doc (save them as .docx, .pdf or .txt)",
        "1 .zip, 1 .tar.gz (unpack them; a zip archive can be read as path: zip://*::FILE.zip)",
        "1 .pdf (pip install 'gristmill[documents]' to read them)",
        "1 broken links (",
        "1 pipes, sockets and devices (",
        "1 without a suffix",
        "1 .png",
    ):
        assert part in note
    with pytest.raises(InputError, match=r"no readable file.*1 \.pdf \(pip install 'gristmill\[documents\]'"):
        list_source(f"{tmp_path}/*.pdf")


# Folders


def test_linked_folders_are_followed_once_and_loops_end(tmp_path):
    source, elsewhere = tmp_path / "source", tmp_path / "elsewhere"
    write(source / "sub" / "a.txt", "x")
    write(elsewhere / "b.txt", "x")
    write(elsewhere / "deep" / "c.txt", "x")
    (source / "link").symlink_to(elsewhere)
    (source / "again").symlink_to(elsewhere)
    (source / "alias").symlink_to(source / "sub")
    (elsewhere / "deep" / "loop").symlink_to(source)
    (source / "self").symlink_to("self")
    (source / "linked.txt").symlink_to(elsewhere / "b.txt")
    assert [file.name for file in list_files(str(source))] == [
        *("again/b.txt", "again/deep/c.txt", "linked.txt", "sub/a.txt"),
    ]
    (tmp_path / "root").symlink_to(source)
    assert len(list_files(f"{tmp_path}/root")) == 4
    assert [file.name for file in list_files(f"{source}/**/*.txt")] == [file.name for file in list_files(str(source))]
    assert [file.name for file in list_files(f"{source}/*/*.txt")] == ["again/b.txt", "sub/a.txt"]


def test_a_run_does_not_read_what_runs_have_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "a.txt", "x")
    write(tmp_path / "out" / "README.md", "x")
    write(tmp_path / "out" / "runs" / "lock", "x")
    write(tmp_path / "out" / "runs" / "2026-11-21" / "run.json", "{}")
    write(tmp_path / "other" / "current.json", "{}")
    write(tmp_path / "other" / "manifests" / "2026-11-21.json", "{}")
    listing = list_source(".", "out")
    assert [file.name for file in listing.files] == ["a.txt"]
    assert "1 this data set's own folder" in listing.note()
    assert "1 folders of other data sets" in listing.note()
    assert [file.name for file in list_source("**/*.txt", "out").files] == ["a.txt"]
    for name in ("README.md", "current.json", "manifests/x.json", "data/domain=law/x.parquet", "docs/b.txt"):
        write(tmp_path / "same" / name, "x")
    assert [file.name for file in list_source("same", "same").files] == ["docs/b.txt"]


def test_the_home_folder_is_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    write(tmp_path / "docs" / "a.txt", "x")
    source = Source.model_validate({"path": "~/docs", "licence": "MIT"})
    assert source.path == f"{tmp_path}/docs"
    for path in ("~/docs", "~/docs/*.txt", "~/docs/a.txt", "file://~/docs"):
        assert [file.name for file in list_files(path)] == ["a.txt"]


# URLs


@pytest.mark.parametrize("path", ["zip://*::{}", "zip://::{}", "zip://**/*.jsonl::{}", "zip://d/a.jsonl::{}"])
@pytest.mark.parametrize("place", ["{}/a.zip", "file://{}/a.zip", "a.zip"])
def test_files_in_archives(tmp_path, monkeypatch, path, place):
    monkeypatch.chdir(tmp_path)
    with zipfile.ZipFile("a.zip", "w") as archive:
        archive.writestr("d/a.jsonl", LINES)
        archive.writestr("d/b.png", "x")
    if path.startswith("zip://*::"):
        with zipfile.ZipFile("a.zip", "w") as archive:
            archive.writestr("a.jsonl", LINES)
    (file,) = list_files(path.format(place.format(tmp_path)))
    assert file.name.endswith("a.jsonl")
    assert file.bytes == len(LINES)
    assert texts(file.url) == ["first text", "second text"]


@pytest.fixture(scope="module")
def server():
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as target:
        target.writestr("d/b.jsonl", LINES)
    contents = {"/a.jsonl": LINES.encode(), "/A.JSONL.GZ": gzip.compress(LINES.encode()), "/a.zip": archive.getvalue()}
    with signed_files(contents) as address:
        yield address


@pytest.mark.parametrize("name", ["a.jsonl", "A.JSONL.GZ"])
def test_signed_urls_are_read(server, name):
    (file,) = list_files(f"{server}/{name}?{QUERY}")
    assert file.name == name
    assert texts(file.url) == ["first text", "second text"]


def test_an_archive_behind_a_signed_url(server):
    (file,) = list_files(f"zip://d/*.jsonl::{server}/a.zip?{QUERY}")
    assert file.name == "b.jsonl"
    assert texts(file.url) == ["first text", "second text"]


@pytest.mark.parametrize("path", ["{}/b.jsonl?{}", "{}/a.jsonl?{}x", "zip://d/*.jsonl::{}/b.zip?{}", "{}/a.png?{}"])
def test_no_message_has_the_signature(server, path):
    with pytest.raises(InputError) as caught:
        list_files(path.format(server, QUERY))
    message = str(caught.value)
    assert server in message
    assert SIGNATURE not in message
    assert "AKIA" not in message
    with pytest.raises(InputError) as caught:
        texts(path.format(server, QUERY).replace("a.png", "b.txt").replace("*", "x"))
    assert SIGNATURE not in str(caught.value)


# Large files


def many_rows(name):
    rows = [{"text": f"text {number}" + ("\nover, two lines" if number % 7 == 0 else "")} for number in range(3000)]
    if name.endswith(".jsonl"):
        return "".join(json.dumps(row) + "\n" + ("\n" if number % 9 == 0 else "") for number, row in enumerate(rows))
    head = "sep=;\n" if name.startswith("sep") else ""
    return head + "id;text\n" + "".join(f'{number};"{row["text"]}"\n' for number, row in enumerate(rows))


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "sep.csv", "a.parquet"])
def test_the_parts_of_a_large_file_are_its_rows(tmp_path, monkeypatch, name):
    monkeypatch.setattr(parts, "MAX_PART_BYTES", 10_000)
    path = tmp_path / name
    if name.endswith(".parquet"):
        pq.write_table(pa.table({"text": [f"text {number}" for number in range(3000)]}), path, row_group_size=100)
        monkeypatch.setattr(parts, "MAX_PART_BYTES", 2_000)
    else:
        write(path, many_rows(name))
    (file,) = list_files(str(path))
    pieces = [part for part, _ in parts_of(file, None)]
    assert len(pieces) > 3
    assert name == "a.parquet" or sum(part.bytes for part in pieces) == file.bytes
    whole = list(read_documents(file.url, Fields()))
    assert len(whole) >= 3000
    assert [row for part in pieces for row in read_documents(file.url, Fields(), part)] == whole


def test_rows_that_are_added_change_the_last_part_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(parts, "MAX_PART_BYTES", 10_000)
    path = write(tmp_path / "a.jsonl", many_rows("a.jsonl"))
    (file,) = list_files(str(path))
    before = parts_of(file, None)
    with path.open("a") as stream:
        stream.write(LINES)
    (file,) = list_files(str(path))
    assert parts_of(file, None)[: len(before) - 1] == before[:-1]


@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.json", "array.jsonl", "wide.csv", "a.txt", "quote.csv"])
def test_what_cannot_be_cut_stays_whole(tmp_path, monkeypatch, name):
    monkeypatch.setattr(parts, "MAX_PART_BYTES", 1000)
    content = json.dumps([{"text": f"text {number}"} for number in range(1000)])
    data = {
        "a.jsonl.gz": gzip.compress(os.urandom(3000)),
        "wide.csv": ("text\n" + "a\n" * 3000).encode("utf-16"),
        "quote.csv": b'text,title\n"open,a\n' + b"more,b\n" * 1000,
    }.get(name, content.encode())
    (file,) = list_files(str(write(tmp_path / name, data)))
    assert [part for part, _ in parts_of(file, None)] == [file]


# Long runs of one character: a quadratic pattern takes an hour on them

RUNS = 100_000


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "unit",
    [
        " ",
        ".",
        "\n",
        "\r",
        "\t",
        "…",
        "!",
        '."',
        ".)",
        "。",
        "。”",
        "\n ",
        " \n",
        "\r ",
        "\x0b",
        "\u200b",
        ": ",
        "a.",
        "( ",
        "x",
    ],
)
def test_long_runs_take_linear_time(unit):
    run = unit * (RUNS // len(unit))
    for text in (f"The end{run}of it", f"The end{run}", f"{run}of it"):
        passages = list(cut(text, 200, 1200))
        assert all(len(passage) <= 1200 for passage in passages)
        split_sentences(text)
        first_sentence(text)
        plain = guards.normalized(text)
        guards.numbers_and_negations(plain)
        guards.modifiers_and_names(text, plain)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("suffix", [".txt", ".md", ".csv", ".tsv", ".jsonl", ".json", ".html"])
@pytest.mark.parametrize(
    "unit", [" ", ".", '"', "\n", "#", "<", "<div>", "<!--", "{", "}", "[", "\\", "&", '"\n', "\t", ","]
)
def test_no_reader_stalls_on_a_run(tmp_path, suffix, unit):
    if suffix == ".html":
        pytest.importorskip("lxml")
    head = {".csv": "text,title\n", ".tsv": "text\ttitle\n", ".jsonl": '{"text": "x"}\n', ".json": '{"text": "x"}\n'}
    run = unit * (RUNS // len(unit))
    path = write(tmp_path / f"a{suffix}", head.get(suffix, "") + f"start {run} end\nlast,row\n")
    assert texts(path) is not None


# Names with accents, and record separators


@pytest.mark.parametrize(("asked", "stored"), [("NFC", "NFD"), ("NFD", "NFC"), ("NFC", "NFC")])
@pytest.mark.parametrize("path", ["Año/señal.jsonl", "Año", "Año/*.jsonl", "A?*o/señal.*", "**/señal.*"])
def test_a_name_is_found_however_its_accents_are_written(tmp_path, asked, stored, path):
    """macOS, archives and keyboards write an accent as a part of the letter or after it."""
    file = write(tmp_path / unicodedata.normalize(stored, "Año/señal.jsonl"), LINES)
    write(tmp_path / "other/senal.jsonl", LINES)
    found = list_files(f"{tmp_path}/{unicodedata.normalize(asked, path)}")
    assert [source.url for source in found] == [f"file://{file}"]
    assert texts(found[0].url) == ["first text", "second text"]


def test_two_files_whose_names_differ_in_that_alone_are_two(tmp_path):
    for form in ("NFC", "NFD"):
        write(tmp_path / unicodedata.normalize(form, "señal.jsonl"), f'{{"text": "{form}"}}\n')
    assert len(list_files(str(tmp_path))) == 2
    for form in ("NFC", "NFD"):
        (file,) = list_files(f"{tmp_path}/{unicodedata.normalize(form, 'señal.jsonl')}")
        assert texts(file.url) == [form]


@pytest.mark.parametrize(
    "content",
    [
        '\x1e{"text": "first text"}\n\x1e{"text": "second text"}\n',
        '\x1e{"text": "first text"}\x1e{"text": "second text"}',
        '\x1e\x1e\n\x1e{"text": "first text"}\n\x1e \n{"text": "second text"}',
        '\ufeff\x1e{\n  "text": "first text"\n}\n\x1e{\n  "text": "second text"\n}\n',
    ],
)
def test_json_texts_with_record_separators_are_rows(tmp_path, content):
    """RFC 7464."""
    assert texts(write(tmp_path / "a.jsonl", content)) == ["first text", "second text"]
    damaged = content.replace("first text", 'first" text')
    assert texts(write(tmp_path / "b.jsonl", damaged))[-1] == "second text"

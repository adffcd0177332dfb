"""Text that the models have not seen: real documents of the held-out corpora, and a data set's held-out rows."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from configs.catalogue import Corpus, corpora
from configs.errors import InputError
from model.data.shards import HeldOutByAll, HeldOutRule, read_texts, shard_sha256
from model.data.shared_text import find_shared_rows
from stages.sources.corpora import read_corpus

_CONTEXT_NUMBER = re.compile(r"^Context \(\d+\): *", re.MULTILINE)  # PubMedQA's, not part of an abstract


@dataclass(slots=True)
class HeldOutText:
    """Documents of one domain and where they come from."""

    name: str
    sources: list[str]
    documents: list[str] = field(default_factory=list)
    bytes: int = 0  # of UTF-8 over all documents

    def add(self, document: str, max_bytes: int) -> bool:
        """Adds a document, cut between characters where the domain would get more than `max_bytes`.

        Returns False once the domain is full.
        """
        encoded = document.encode()
        kept = encoded[: max(max_bytes - self.bytes, 0)].decode(errors="ignore")
        if kept.strip():
            self.documents.append(kept)
            self.bytes += len(kept.encode())
        return self.bytes < max_bytes and kept == document


def read_corpora(domain: str, max_bytes: int) -> HeldOutText:
    """Returns about `max_bytes` of the domain's held-out corpora, the same share of each, each in its own order.

    Of a question about a text, the text alone is taken, and only once; of other questions, the question with its
    choices.

    Raises:
        InputError: no corpus is held out for the domain, or one cannot be fetched.
    """
    names = [name for name, corpus in corpora().items() if corpus.held_out and corpus.domain == domain]
    if not names:
        domains = sorted({corpus.domain for corpus in corpora().values() if corpus.held_out})
        raise InputError(
            f"--domains: no held-out text for {domain!r}, only for {', '.join(domains)}; name one of these, or declare "
            "a corpus of the domain with `held_out: true` in configs/catalogue/corpora.yaml"
        )
    text = HeldOutText(domain, names)
    streams = {name: _documents(name, corpora()[name]) for name in names}
    bytes_taken = dict.fromkeys(names, 0)
    while streams and text.bytes < max_bytes:
        name = min(streams, key=lambda name: bytes_taken[name])
        document = next(streams[name], None)
        if document is None:
            del streams[name]
            continue
        bytes_taken[name] += len(document.encode())
        text.add(document, max_bytes)
    return text


@dataclass(slots=True)
class DataSetRows:
    """A data set's rows, as the evaluated models saw them."""

    shards: Sequence[Path]
    rule: HeldOutByAll  # which rows none of the models was trained on
    texts: dict[str, HeldOutText]  # held-out rows by domain
    characters: int  # of all rows that are not held out

    def sample(self, max_characters: int) -> Iterator[str]:
        """Yields rows that are not held out, spread evenly over all shards, of about `max_characters` in total."""
        every, number = max(-(-self.characters // max_characters), 1), 0
        for path in self.shards:
            for rows in read_texts(path, self.rule):
                for row in rows:
                    if not row.held_out:
                        if number % every == 0:
                            yield row.text
                        number += 1


def read_rows(shards: Sequence[Path], rules: Iterable[HeldOutRule], max_bytes: int) -> DataSetRows:
    """Reads the rows that no training with one of these rules saw, at most `max_bytes` of each domain.

    Held-out rows whose text is in the other rows too are left out, as in training (`model.data.shared_text`).

    Raises:
        InputError: a shard cannot be read, or none of the rows is held out.
    """
    rule = HeldOutByAll(tuple(rules))
    texts: dict[str, HeldOutText] = {}
    left_out = find_shared_rows(shards, rule).left_out
    characters = 0
    for path in shards:
        left_out_here = left_out.get(shard_sha256(path), frozenset())
        for rows in read_texts(path, rule):
            for row in rows:
                if not row.held_out:
                    characters += len(row.text)
                elif row.number not in left_out_here:
                    name = row.domain or "all"
                    text = texts.setdefault(name, HeldOutText(name, ["the data set's held-out rows"]))
                    text.add(row.text, max_bytes)
    if not texts:
        share = min(rule.share for rule in rule.rules)
        raise InputError(f"--data: none of the rows is held out at a share of {share}; give more data or --held-out")
    return DataSetRows(shards, rule, {f"{name}, data": texts[name] for name in sorted(texts)}, characters)


def _documents(name: str, corpus: Corpus) -> Iterator[str]:
    """Yields the different texts of a corpus."""
    asks_about_a_text = "context" in corpus.options
    seen: set[str] = set()
    for document in read_corpus(name):
        text = document.text
        if asks_about_a_text:
            text = _CONTEXT_NUMBER.sub("", text.rpartition("\n")[0])  # the question is the last line
        if text and text not in seen:
            seen.add(text)
            yield text

"""Text that no model has seen: real documents of the corpora declared `held_out`, and a data set's held-out rows."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from configs.catalogue import Corpus, corpora
from configs.errors import InputError
from model.data.shards import read_texts
from stages.sources.corpora import read_corpus

_MARK = re.compile(r"^Context \(\d+\): *", re.MULTILINE)  # PubMedQA's, no part of an abstract


@dataclass(slots=True)
class Texts:
    """Documents of one domain and where they are from; `bytes` of UTF-8 over all of them."""

    name: str
    sources: list[str]
    documents: list[str] = field(default_factory=list)
    bytes: int = 0

    def keep(self, text: str, most: int) -> bool:
        """Adds the text, cut where the domain has `most` bytes; False once it is full."""
        raw = text.encode()[: max(most - self.bytes, 0)]
        whole = raw.decode(errors="ignore")
        if whole.strip():
            self.documents.append(whole)
            self.bytes += len(whole.encode())
        return self.bytes < most and len(raw) == len(text.encode())


def read_real(domain: str, most: int) -> Texts:
    """About `most` bytes of the domain's held-out corpora, each in its order and all the same share.

    Of a question about a text that text alone is taken, once; of others the question with its choices. Raises
    InputError when no corpus is held out for the domain, or one cannot be fetched.
    """
    names = [name for name, corpus in corpora().items() if corpus.held_out and corpus.domain == domain]
    if not names:
        known = sorted({corpus.domain for corpus in corpora().values() if corpus.held_out})
        raise InputError(
            f"--domains: no held-out text for {domain!r}, only for {', '.join(known)}; take one of them, or declare "
            "a corpus of it with `held_out: true` in configs/catalogue/corpora.yaml"
        )
    texts = Texts(domain, names)
    streams = [(_documents(name, corpora()[name]), Texts(name, [])) for name in names]
    while streams and texts.bytes < most:
        stream, taken = min(streams, key=lambda pair: pair[1].bytes)  # the one that has given least
        text = next(stream, None)
        if text is None:
            streams.remove((stream, taken))
            continue
        taken.bytes += len(text.encode())
        texts.keep(text, most)
    return texts


def read_rows(shards: Sequence[Path], share: float, most: int) -> dict[str, Texts]:
    """By domain, at most `most` bytes each of the rows that training with this held-out share left out.

    Raises InputError for a shard that cannot be read, and when none of its rows is held out.
    """
    found: dict[str, Texts] = {}
    for path in shards:
        for rows in read_texts(path, share):
            for row in rows:
                if row.held_out:
                    name = row.domain or "all"
                    found.setdefault(name, Texts(name, ["the data set's held-out rows"])).keep(row.text, most)
    if not found:
        raise InputError(f"--data: none of the rows is held out at a share of {share}; give more data or --held-out")
    return dict(sorted(found.items()))


def _documents(name: str, corpus: Corpus) -> Iterator[str]:
    about = "context" in corpus.options
    seen: set[str] = set()
    for document in read_corpus(name):
        text = document.text
        if about:
            text = _MARK.sub("", text.rpartition("\n")[0])
        if text and text not in seen:
            seen.add(text)
            yield text

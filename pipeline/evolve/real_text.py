"""Real text to measure rows with: documents that no row is about, from the sources or from packaged corpora."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from configs.catalogue import corpora
from configs.errors import InputError
from configs.schema import Config
from stages.evolve.roles import role_of, uniform
from stages.record import Seed
from stages.seeds import list_sources
from stages.sources.corpora import read_corpus
from stages.sources.passages import cut
from stages.sources.seed_source import read_seeds
from stages.storage.utf8 import utf8_size

MIN_DOCUMENTS = 12  # held-out ones: with fewer no interval means anything
MAX_PASSAGES_PER_DOCUMENT = 8
HELD_OUT_BYTES, CORE_BYTES = 200_000, 50_000
_PASSAGE_CHARS = (200, 1200)  # of the packaged corpora
Documents = dict[str, list[str]]  # passages by document


@dataclass(frozen=True, slots=True)
class RealText:
    """`held_out`: passages by document; `core`: what every student learns; `origin`: where both are from."""

    held_out: list[list[str]]
    core: list[str]
    origin: str


def from_sources(config: Config, domain: str, documents: set[str], seeds: set[str]) -> RealText:
    """Text of the domain's sources.

    `documents`, `seeds`: ids of those that the rows are about. Those passages belong to the core, so that a row which
    repeats its passage teaches nothing new; the rest of their documents is not used, nor what the loop's gate is
    measured with (`evolve`). Raises InputError when fewer than MIN_DOCUMENTS documents are left.
    """
    own: dict[str, str] = {}
    unused: Documents = defaultdict(list)
    for seed in _passages(config, domain):
        if seed.id in seeds:
            own[seed.id] = seed.text
        elif seed.document_id not in documents and _is_free(config, seed.document_id):
            if len(unused[seed.document_id]) < MAX_PASSAGES_PER_DOCUMENT:
                unused[seed.document_id].append(seed.text)
            _forget_surplus(unused)
    held_out, core = _divide(unused)
    if len(held_out) < MIN_DOCUMENTS:
        raise InputError(
            f"{domain}: only {len(held_out)} documents of its sources are left to measure with, {MIN_DOCUMENTS} are "
            "needed: no row may be about them; add sources"
        )
    return RealText(held_out, [*own.values(), *core], "sources of the configuration")


def from_corpora(domain: str) -> RealText:
    """Text of the packaged corpora of the domain that are held out for evaluation, so that no row is about them.

    Raises InputError when there are none of the domain, or one cannot be fetched.
    """
    names = [name for name, corpus in corpora().items() if corpus.held_out and corpus.domain == domain]
    if not names:
        known = sorted({corpus.domain for corpus in corpora().values() if corpus.held_out})
        raise InputError(f"{domain}: no packaged real text of this domain, only of {', '.join(known)}; give --config")
    unused: Documents = {}
    for name in names:
        for document in read_corpus(name):
            passages = list(cut(document.text, *_PASSAGE_CHARS))[:MAX_PASSAGES_PER_DOCUMENT]
            if passages:
                unused[f"{name} {document.location}"] = passages
            _forget_surplus(unused)
    return RealText(*_divide(unused), f"packaged corpora: {', '.join(names)}")


def _passages(config: Config, domain: str) -> Iterator[Seed]:
    options = config.domains[domain]
    for file in list_sources(config).files:
        if file.domain == domain:
            for seed in read_seeds(options.seeds[file.place], file.file, domain, options.passages):
                if isinstance(seed, Seed):
                    yield seed


def _is_free(config: Config, document: str) -> bool:
    return config.evolve is None or role_of(document, config.evolve.measured_share) in ("train", "core")


def _order(document: str) -> float:
    return uniform("attribution", document)


def _size(passages: Sequence[str]) -> int:
    return sum(utf8_size(text) for text in passages)


def _forget_surplus(unused: Documents) -> None:
    """Keeps memory bounded: documents that come late in the order are not needed."""
    wanted = 4 * (HELD_OUT_BYTES + CORE_BYTES) // 200
    if len(unused) > 2 * wanted:
        for document in sorted(unused, key=_order)[wanted:]:
            del unused[document]


def _divide(unused: Documents) -> tuple[list[list[str]], list[str]]:
    """Held-out documents and core, in turn in the order of the documents' hashes, until each has its bytes."""
    held_out: list[list[str]] = []
    core: list[str] = []
    spent = [0, 0]
    for document in sorted(unused, key=_order):
        passages = unused[document]
        part = int(spent[1] < CORE_BYTES and (spent[0] >= HELD_OUT_BYTES or spent[1] < spent[0]))
        if spent[part] >= (HELD_OUT_BYTES, CORE_BYTES)[part]:
            break
        spent[part] += _size(passages)
        if part:
            core += passages
        else:
            held_out.append(passages)
    return held_out, core

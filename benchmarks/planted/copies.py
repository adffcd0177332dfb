"""Planted duplicates and planted evaluation text: how much of it is found, and how much else is dropped. On one core.

    python benchmarks/planted/copies.py [PASSAGES]     per corpus, 150 if left out

Duplicates: passages of all packaged seed corpora go through the stages Sign, Match and Drop as answers of three dates
and three shards each. Half of them are published on the first date, half are in the second one's first shard. Copies
are planted behind them: in capitals, with other white space, with up to three commas and full stops changed, with one
word (two characters in Chinese) of a text of 400 characters (200) replaced. There are hard negatives too: the
passage with one number, one unit or one article changed. Recall is of the copies, precision of all that is dropped.

Contamination: items of all held-out corpora (those of 8 words and more; shorter ones are not looked for) are put into
real passages: verbatim, with case, punctuation and white space changed, and in part (half of it, 20 words at least).
The negatives are real passages alone. Writes benchmarks/results/quality.json.
"""

import json
import random
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import MISSING, fields
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from benchmarks.figures import Figures, processor
from configs.catalogue import corpora
from configs.schema import Dedup, Passages, Source
from filters.contamination import Contamination
from filters.text.words import words
from stages.dedup.drop import Drop
from stages.dedup.keys import KEY, PAIR
from stages.dedup.match import Match
from stages.dedup.sign import Sign
from stages.record import CANDIDATE, Candidate, Seed
from stages.sources.corpora import read_corpus
from stages.sources.seed_source import read_seeds, source_listing
from stages.storage.records import FileRef, ShardRecord
from stages.storage.shard import ShardSpec
from stages.storage.writer import ShardWriter

ITEMS = 200  # per held-out corpus
_HAN = re.compile("[\u4e00-\u9fff]")
_HAN_NUMBER = "一二三四五六七八九十百千万零〇两第"
_HAN_NEGATION = "不未无非没勿禁左右应必可"
_UNITS = {"mg": "g", "g": "mg", "ml": "l", "mm": "cm", "cm": "mm", "%": "mg", "kg": "g", "mmHg": "mm"}
_UNIT = re.compile(r"(?<=\d)(\s?)(mg|g|ml|mm|cm|kg|mmHg|%)(?![\w/])")
_LONG = 400
# words that make a number of what follows them, or are one, or negate: without them it is another text
_SKIPPED = """
articles article section sections chapter chapters parts title titles annex three seven eight types stage stages grade
phase eleven twelve twenty thirty forty fifty sixty hundred thousand twice
shall never unless except right cannot without neither indicated
"""
_LEAVE = set(_SKIPPED.split())


def passages(per_corpus: int) -> Iterator[str]:
    """Real passages of every seed corpus, spread over it."""
    for name, corpus in corpora().items():
        if not corpus.held_out:
            source = Source(corpus=name)
            (file,) = source_listing(source, name).files
            seeds = read_seeds(source, file, corpus.domain, Passages())
            texts = sorted({seed.text for seed in islice(seeds, 20 * per_corpus) if isinstance(seed, Seed)})
            random.Random(name).shuffle(texts)
            yield from texts[:per_corpus]


def capitals(text: str, _: random.Random) -> str:
    return text.upper()


def spaced(text: str, rng: random.Random) -> str:
    return (
        "".join(rng.choice(["\n", "  ", " \t"]) if letter == " " and rng.random() < 0.3 else letter for letter in text)
        + "\n"
    )


def punctuated(text: str, rng: random.Random) -> str:
    """Up to three commas or full stops before a space become semicolons."""
    marks = [match.start() for match in re.finditer(r"[,.](?=\s[^\d\s])|[，。]", text)]
    for place in rng.sample(marks, min(3, len(marks))):
        text = text[:place] + ("；" if text[place] in "，。" else ";") + text[place + 1 :]
    return text


def worded(text: str, rng: random.Random) -> str:
    """One word of a long text replaced."""
    if len(_HAN.findall(text)) * 2 > len(text):
        places = [
            match.start() for match in re.finditer(rf"(?:(?![{_HAN_NUMBER}{_HAN_NEGATION}])[\u4e00-\u9fff]){{4}}", text)
        ]
        place = rng.choice(places or [0])
        return text[: place + 1] + "另外" + text[place + 3 :] if places and len(text) >= _LONG // 2 else text
    candidates = [match for match in re.finditer(r"(?<=\s)[a-z]{5,9}(?=\s[a-z]{2,})", text) if match[0] not in _LEAVE]
    if len(text) < _LONG or not candidates:
        return text
    word = rng.choice(candidates)
    return text[: word.start()] + "otherwise" + text[word.end() :]


def renumbered(text: str, rng: random.Random) -> str:
    """One number of the text raised by one."""
    numbers = list(re.finditer(r"\d{1,6}", text))
    if numbers:
        number = rng.choice(numbers)
        return text[: number.start()] + str(int(number[0]) + 1) + text[number.end() :]
    return text


def remeasured(text: str, rng: random.Random) -> str:
    """One unit changed."""
    if units := list(_UNIT.finditer(text)):
        unit = rng.choice(units)
        return text[: unit.start(2)] + _UNITS[unit[2]] + text[unit.end() :]
    return text


def recited(text: str, rng: random.Random) -> str:
    """One article changed: 第十二条 to 第十三条, Article 5 to Article 6."""
    if articles := list(re.finditer(r"第[一二三四五六七八九十百]*([一二三四五六七八])条", text)):
        article = rng.choice(articles)
        after = "一二三四五六七八九"["一二三四五六七八".index(article[1]) + 1]
        return text[: article.start(1)] + after + text[article.end(1) :]
    if articles := list(re.finditer(r"[Aa]rticle (\d+)", text)):
        article = rng.choice(articles)
        return text[: article.start(1)] + str(int(article[1]) + 1) + text[article.end(1) :]
    return text


COPIES: list[Callable[[str, random.Random], str]] = [capitals, spaced, punctuated, worded]
NEGATIVES: list[Callable[[str, random.Random], str]] = [renumbered, remeasured, recited]


def candidate(name: str, text: str, passage: str = "") -> Candidate:
    plain: dict[str, Any] = {field.name: "" for field in fields(Candidate) if field.default_factory is MISSING}
    plain |= dict.fromkeys(("seed", "prompt_tokens", "output_tokens", "depth"), 1)
    messages = [{"role": "assistant", "content": text}]
    mine = {"id": name, "text": text, "messages": messages, "rejected": None, "adapter": None, "passage": passage}
    return Candidate(**plain | mine | {"parents": [], "domain": "law"})


class Rows:
    """A stage's body that writes what it was given."""

    def __init__(self, rows: list[Candidate]) -> None:
        self._rows = rows

    def open(self) -> None:
        return None

    def run(self, spec: ShardSpec, out: ShardWriter) -> None:
        out.rows_in = len(self._rows)
        out.keep_rows(self._rows)


def commit(root: Path, stage: str, number: int, schema: Any, body: Any, payload: dict[str, Any]) -> ShardRecord:
    spec = ShardSpec(str(root), f"runs/{stage}", number, 9, "f", 0, json.dumps(payload), "law")
    out = ShardWriter(spec, schema)
    body.open()
    body.run(spec, out)
    return out.commit()


def dedup(
    root: Path, date: str, shards: list[list[Candidate]], history: list[FileRef]
) -> tuple[set[str], list[FileRef]]:
    """The ids that one date drops, and its index for later dates."""
    inputs = [commit(root, f"{date}/screen", n, CANDIDATE, Rows(rows), {}).kept for n, rows in enumerate(shards)]
    sign = Sign(Dedup())
    signs = [
        commit(root, f"{date}/sign", n, KEY, sign, {"input": ref, "shard": n}).kept for n, ref in enumerate(inputs)
    ]
    ranges = [{"inputs": signs, "history": history, "low": n << 62, "high": (n + 1) << 62} for n in range(4)]
    pairs = [commit(root, f"{date}/match", n, PAIR, Match(Dedup()), payload).kept for n, payload in enumerate(ranges)]
    records = [
        commit(
            root, f"{date}/dedup", n, CANDIDATE, Drop(), {"input": ref, "shard": n, "signs": signs[n], "pairs": pairs}
        )
        for n, ref in enumerate(inputs)
    ]
    dropped = {
        name for each in records if each.rejects for name in pq.read_table(root / each.rejects.file)["id"].to_pylist()
    }
    return dropped, [record.sides["index"] for record in records if "index" in record.sides]


def duplicates(texts: list[str], figures: Figures) -> None:
    rng = random.Random(0)
    with tempfile.TemporaryDirectory() as folder:
        # the corpora's own near duplicates are taken out first: they are neither planted nor wrong to drop
        twins, _ = dedup(Path(folder), "before", [[candidate(str(n), text) for n, text in enumerate(texts)]], [])
    originals = [text for n, text in enumerate(texts) if str(n) not in twins]
    half = len(originals) // 2
    first = [candidate(f"original/{n}", text) for n, text in enumerate(originals[:half])]
    days: list[list[list[Candidate]]] = [[[], [], []], [[], [], []]]
    days[0][0] += [candidate(f"original/{n + half}", text) for n, text in enumerate(originals[half:])]
    planted: Counter[str] = Counter()
    for n, text in enumerate(originals):
        seen = {text}
        for edits in (COPIES, NEGATIVES):
            for edit in edits:
                edited = edit(text, rng)
                if edited not in seen:
                    seen.add(edited)
                    kind = f"{'copy' if edits is COPIES else 'negative'}/{edit.__name__}"
                    planted[kind] += 1
                    days[rng.randrange(2)][rng.choice([1, 2])].append(candidate(f"{kind}/{n}", edited))
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        dropped, index = dedup(root, "2026-01-01", [first[::3], first[1::3], first[2::3]], [])
        for date, shards in zip(("2026-01-02", "2026-01-03"), days, strict=True):
            gone, more = dedup(root, date, shards, index)
            dropped |= gone
            index += more
    dropped_by_kind = Counter(name.rpartition("/")[0] for name in dropped)
    for kind, count in sorted(planted.items()):
        print(f"  {kind:<24}{dropped_by_kind[kind]:>6} of {count:>6} dropped")
    print(f"  {'original':<24}{dropped_by_kind['original']:>6} of {len(originals):>6} dropped")
    right = sum(count for kind, count in dropped_by_kind.items() if kind.startswith("copy"))
    copies = sum(count for kind, count in planted.items() if kind.startswith("copy"))
    figures.put("planted duplicates: recall", right / copies, 0.99)
    figures.put("planted duplicates: precision", right / max(len(dropped), 1), 0.95)


def contamination(texts: list[str], figures: Figures) -> None:
    rng = random.Random(0)
    rows: list[Candidate] = []
    kinds: list[str] = []
    for name, corpus in corpora().items():
        if not corpus.held_out:
            continue
        items = sorted({document.text for document in read_corpus(name)})
        long = [item for item in items if len(words(item)) >= 8]
        print(f"  {name:<24}{len(items) - len(long):>6} of {len(items):>6} items below 8 words")
        for item in rng.sample(long, min(ITEMS, len(long))):
            parts = item.split()
            start = rng.randrange(max(len(parts) - max(20, len(parts) // 2), 0) + 1)
            forms = {
                "verbatim": item,
                "case and punctuation": re.sub(r"[,.;:]", " –", item).swapcase().replace(" ", "\n"),
                "part": " ".join(parts[start : start + max(20, len(parts) // 2)]),
            }
            for form, text in forms.items():
                real = rng.choice(texts)
                middle = rng.choice([match.end() for match in re.finditer(r"\s", real)] or [len(real)])
                whole = f"{real[:middle]} {text} {real[middle:]}"
                shown = rng.random() < 0.5  # in the answer, else in the passage
                rows.append(candidate(f"{name}/{form}", *((whole, "") if shown else (real, whole))))
                kinds.append(form)
    planted = len(rows)
    rows += [candidate("real", text) for text in texts]
    kinds += ["real passage"] * len(texts)
    judge = Contamination()
    verdicts = [verdict for at in range(0, len(rows), 512) for verdict in judge(rows[at : at + 512])]
    hit = [verdict.reason is not None for verdict in verdicts]
    dropped_by_kind = Counter(kind for kind, dropped in zip(kinds, hit, strict=True) if dropped)
    for kind, count in Counter(kinds).items():
        print(f"  {kind:<24}{dropped_by_kind[kind]:>6} of {count:>6} dropped")
    figures.put("planted contamination: recall", sum(hit[:planted]) / planted, 0.99)
    figures.put("planted contamination: precision", sum(hit[:planted]) / max(sum(hit), 1), 0.95)


def main() -> int:
    figures = Figures("quality", "python benchmarks/planted/copies.py", processor())
    texts = list(passages(int(sys.argv[1]) if len(sys.argv) > 1 else 150))
    duplicates(texts, figures)
    contamination(texts, figures)
    return 0


if __name__ == "__main__":
    sys.exit(main())

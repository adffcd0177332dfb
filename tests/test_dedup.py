"""Keys: equal texts meet, near texts mostly meet, texts that differ in a number never do."""

import random

from hypothesis import given
from hypothesis import strategies as st

from configs.schema import Dedup
from stages.dedup import keys

OPTIONS = Dedup()
WORDS = [
    "the",
    "court",
    "held",
    "that",
    "a",
    "contract",
    "made",
    "under",
    "duress",
    "is",
    "voidable",
    "at",
    "the",
    "option",
    "of",
    "the",
    "party",
    "whose",
    "consent",
    "was",
    "so",
    "obtained",
    "and",
    "damages",
    "follow",
    "where",
    "the",
    "other",
    "side",
    "knew",
    "or",
    "should",
    "have",
    "known",
    "of",
    "the",
    "threat",
    "at",
    "that",
    "time",
    "while",
    "the",
    "remedy",
    "lapses",
    "when",
    "the",
    "party",
    "affirms",
    "the",
    "bargain",
    "after",
    "the",
    "pressure",
    "has",
    "ceased",
    "to",
    "operate",
    "upon",
    "its",
    "mind",
]


def _shared(one: str, other: str) -> int:
    return sum(a == b for a, b in zip(keys(one, OPTIONS)[1:], keys(other, OPTIONS)[1:], strict=True))


@given(st.text(max_size=200))
def test_keys_are_total_deterministic_and_blind_to_case_and_space(text):
    made = keys(text, OPTIONS)
    assert len(made) == 1 + OPTIONS.bands
    assert made == keys(text, OPTIONS)
    assert all(0 <= key < 2**64 for key in made)
    assert keys(" A  b\n", OPTIONS) == keys("a B", OPTIONS)


def test_one_word_of_fifty_changed_is_near():
    rng = random.Random(3)
    found = 0
    for _ in range(100):
        words = rng.sample(WORDS, len(WORDS))
        text = " ".join(words)
        words[rng.randrange(len(words))] = "estoppel"
        found += _shared(text, " ".join(words)) > 0
    assert found >= 99


def test_other_texts_are_not_near():
    rng = random.Random(4)
    letters = "abcdefghijklmnopqrstuvwxyz"
    texts = [" ".join("".join(rng.choices(letters, k=6)) for _ in range(60)) for _ in range(40)]
    assert not any(_shared(a, b) for i, a in enumerate(texts) for b in texts[:i])


def test_another_dose_is_another_text():
    text = " ".join(WORDS)
    assert _shared(f"{text} 5 mg twice a day", f"{text} 50 mg twice a day") == 0
    assert _shared(f"{text} under article 12(3)", f"{text} under article 12(4)") == 0

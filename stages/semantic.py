"""Semantic keys: rows that may say the same in other words, told by their sketches.

A row's sketch is its embedding projected to 64 numbers (Johnson and Lindenstrauss 1984; `filters/sketch.py`). A key is
twelve of the sketch's signs (Charikar 2002) with all that an embedding hardly sees and law and medicine turn on:
numbers, names, negations, what may and must be, left and right. Rows that differ in one of these never meet.
"""

import re
import unicodedata
from hashlib import blake2b

import numpy as np

BANDS = 4
BITS = 12  # signs of a band
WINDOW = 32  # rows of a group that a row is compared with: a huge group costs no more than a large one

_POLAR_LATIN = r"""
not|no|nor|never|none|neither|without|cannot|\w+n't|unless|except|save|only|may|might|must|shall|should|can|could|will
|would|ought|need\w*|required?|requir\w+|prohibit\w*|forbid\w*|forbidden|permit\w*|allow\w*|entitle\w*|oblig\w*|deny|denie[sd]
|grant\w*|affirm\w*|revers\w*|dismiss\w*|reject\w*|uph[eo]ld|\w*lawful\w*|\w*legal\w*|\w*valid\w*|\w*liable|\w*guilty|\w*indicated
|plaintiffs?|defendants?|appellants?|respondents?|claimants?|petitioners?|all|any|each|every|some|most|both|either
|left|right|bilateral|unilateral|upper|lower|anterior|posterior|proximal|distal|medial|lateral|superior|inferior|dorsal|ventral
|acute|chronic|mild|moderate|severe|hyper\w+|hypo\w+|\w*increas\w*|\w*decreas\w*|reduc\w*|rais\w+|elevat\w*|lower\w*|higher|high
|low|more|less|fewer|greater|least|most|maximum|minimum|above|below|over|under|before|after|during|until|early|late|positive|negative
|present|absent|presence|absence|male|female|men|women|boys?|girls?|he|she|his|her|mother|father|benign|malignant|\w*significan\w*
|ni|sin|nunca|jamás|tampoco|ningun\w*|nada|salvo|excepto|sólo|solo|solamente|deb(?:e|en|er|erá|erán|ía|ían)|pued[ea]n?|podrán?|podría\w*
|prohib\w*|permit\w*|oblig\w*|\w*indicad[oa]s?|izquierd\w+|derech\w+|aument\w*|disminu\w*|mayor\w*|menor\w*|más|menos|antes|después
|durante|hasta|agud\w+|crónic\w+|leves?|graves?|hiper\w+|hipo\w+|alt[oa]s?|baj[oa]s?|positiv\w+|negativ\w+|todos?|todas?
""".replace("\n", "")
_POLAR = re.compile(
    rf"\b(?:{_POLAR_LATIN})\b"
    "|[不未无非没勿禁应须可得能只左右上下增减升降高低前后内外多少早晚急慢轻重男女阴阳]|除外|除非|超过|必[须要]"
)
# within a sentence: at its head every word has a capital
_NAME = re.compile(
    r"(?<=[^\W_]\s)[A-ZÁÉÍÓÚÑ][\w'’-]*|(?<=[,;(]\s)[A-ZÁÉÍÓÚÑ][\w'’-]*|\b\w*[a-z0-9]\w*[A-Z]\w*|\b[A-Z]{2,}\b"
)


def semantic_keys(text: str, numbers: str, group: str, sketch: bytes) -> list[int]:
    """One key a band: 64-bit integers. `numbers` are the text's own; rows of another `group` never meet."""
    plain = unicodedata.normalize("NFKC", text)
    guards = "|".join([group, numbers, *_POLAR.findall(plain.casefold()), "", *_NAME.findall(plain)])
    signs = np.frombuffer(sketch, np.int8)[: BANDS * BITS] > 0
    return [
        int.from_bytes(
            blake2b(f"semantic|{band}|{guards}|".encode("utf-8", "replace") + part, digest_size=8).digest(), "big"
        )
        for band, part in enumerate(np.packbits(row).tobytes() for row in signs.reshape(BANDS, BITS))
    ]


def closest(mine: np.ndarray, theirs: np.ndarray, start: np.ndarray, stop: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each sketch of `mine` [N, D] the one of `theirs` [M, D] with the highest cosine among `start` to `stop` [N].

    Of equal ones the first. Returns places in `theirs` [N] and cosines [N]; -1 and -1.0 where the range is empty.
    """
    best, place = np.full(len(mine), -1.0, np.float32), np.full(len(mine), -1)
    for step in range(WINDOW):
        rows = np.flatnonzero(start + step < stop)
        if not len(rows):
            break
        for some in np.array_split(rows, len(rows) // 65_536 + 1):
            other = start[some] + step
            left, right = mine[some].astype(np.float32), theirs[other].astype(np.float32)
            norms = np.sqrt((left * left).sum(1) * (right * right).sum(1))
            cosine = (left * right).sum(1) / np.maximum(norms, 1)
            better = cosine > best[some]
            best[some[better]], place[some[better]] = cosine[better], other[better]
    return place, best

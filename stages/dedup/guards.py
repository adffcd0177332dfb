"""Numbers and words that two duplicates must have in common, in the same order: doses, articles, "not", "must".

In law and medicine another dose, article, "not" or "left" makes another text. MinHash and embeddings do not see that:
with one of sixty words changed, both take the texts for copies. So these words become a part of the keys.
"""

import re
import unicodedata

# Matched in `normalized` text. "one" and 一 alone are left out: mostly they are not numbers.
_NUMBER = re.compile(
    r"\d+(?:[.,:/-]\d+)*(?:\s?(?:%|[kmμn]?g|mcg|[dcmμ]?l|[mμn]?mol|i?u|ie|[ckmμn]?m|[khm]?pa|mmhg|kcal|h|s|min)\b)?"
    r"|第?[〇零一二三四五六七八九十百千万亿两]{2,}|第[〇零一二三四五六七八九十百千万亿两]"
    r"|\b(?:articles?|art\.|artículos?|sections?|chapters?|parts?|titles?|annex|schedules?|types?|stages?|grades?|phases?)"
    r"\s[ivxlcdm]+\b"
    r"|\b(?:two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|twenty|thirty|forty|fifty|sixty|hundred|thousand"
    r"|half|twice|dos|tres|cuatro|cinco|seis|siete|ocho|nueve|diez|once|doce|veinte|treinta|cien|mil|medio|media)\b"
)
_SPACE = re.compile(r"\s+")
_NEGATION = re.compile(
    r"\b(?:not|no|nor|never|none|neither|without|cannot|\w+n['’]t|unless|except|may|must|shall|left|right|(?:contra)?indicated"
    r"|ni|sin|nunca|jamás|tampoco|salvo|excepto|deben?|deberán?|pueden?|podrán?|(?:contra)?indicad[oa]s?|izquierd[oa]s?)\b"
    r"|[不未无非没勿禁左右]|应当|必须|可以"
)
# Words that change what a text says and that paraphrases mostly keep. An embedding hardly changes with them.
_MODIFIERS = r"""
only|might|should|can|could|will|would|ought|need\w*|requir\w+|prohibit\w*|forbid\w*|permit\w*|allow\w*|entitle\w*|oblig\w*
|den(?:y|ied|ies)|grant\w*|affirm\w*|revers\w*|dismiss\w*|reject\w*|uph[eo]ld|(?:un)?lawful\w*|(?:il)?legal\w*|(?:in)?valid\w*|liable|non
|guilty|plaintiffs?|defendants?|appellants?|respondents?|claimants?|petitioners?|all|any|each|every|some|most|both|either
|bilateral|unilateral|upper|lower|anterior|posterior|proximal|distal|medial|lateral|superior|inferior|dorsal|ventral|acute
|chronic|mild|moderate|severe|hyper\w+|hypo\w+|increas\w*|decreas\w*|reduc\w*|rais\w+|elevat\w*|lower\w*|higher|high|low
|more|less|fewer|greater|least|maximum|minimum|above|below|over|under|before|after|during|until|early|late|positive|negative
|present|absent|presence|absence|male|female|men|women|boys?|girls?|s?he|his|her|mother|father|benign|malignant
|(?:in)?significan\w*|ningun\w*|nada|s[óo]lo|solamente|debería\w*|podría\w*|prohib\w*|permit\w*|derech\w+|aument\w*|disminu\w*
|mayor\w*|menor\w*|m[áa]s|menos|antes|después|durante|hasta|agud\w+|crónic\w+|leves?|graves?|hiper\w+|hipo\w+|alt[oa]s?
|baj[oa]s?|positiv\w+|negativ\w+|todos?|todas?
""".replace("\n", "")
_MODIFIER = re.compile(
    rf"\b(?:{_MODIFIERS})\b|[应须可得能只上下增减升降高低前后内外多少早晚急慢轻重男女阴阳]|超过|必要"
)
# Within a sentence only: the first word of a sentence always has a capital.
_NAME = re.compile(
    r"(?<=[^\W_]\s)[A-ZÁÉÍÓÚÑ][\w'’-]*|(?<=[,;(]\s)[A-ZÁÉÍÓÚÑ][\w'’-]*|\b[^\Wa-z0-9]*+[a-z0-9]\w*?[A-Z]\w*"
    r"|\b[A-Z]{2,}\b"
)


def normalized(text: str) -> str:
    """A text in NFKC, casefolded, with one space for each run of whitespace."""
    return _SPACE.sub(" ", unicodedata.normalize("NFKC", text).casefold()).strip()


def numbers_and_negations(plain: str) -> str:
    """The numbers with their units and the negations of a `normalized` text, in their order: part of all near keys."""
    return "|".join([*_NUMBER.findall(plain), "", *_NEGATION.findall(plain)])


def modifiers_and_names(text: str, plain: str) -> str:
    """Words that change what a text says, and its capitalised words within sentences: part of the semantic keys too.

    `plain` is the `normalized` text. Names depend on case: a copy in capitals has others, but the exact key finds it.
    """
    return "|".join([*_MODIFIER.findall(plain), "", *_NAME.findall(unicodedata.normalize("NFKC", text))])

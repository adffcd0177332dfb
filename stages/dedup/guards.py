"""What two texts must have in common, in its order, to be taken for one: numbers, negations, what may and must be.

In law and medicine a dose, an article, a "not" or a "left" makes another text, and neither MinHash nor an embedding
sees it: with one word of sixty changed both take the texts for copies.
"""

import re
import unicodedata

# over NFKC, casefolded text; "one" and 一 alone are mostly no numbers
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
# words that turn what is said, as far as a paraphrase keeps them: an embedding does not see them change
_TURNS = r"""
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
_TURN = re.compile(rf"\b(?:{_TURNS})\b|[应须可得能只上下增减升降高低前后内外多少早晚急慢轻重男女阴阳]|超过|必要")
# within a sentence: at its head every word has a capital
_NAME = re.compile(
    r"(?<=[^\W_]\s)[A-ZÁÉÍÓÚÑ][\w'’-]*|(?<=[,;(]\s)[A-ZÁÉÍÓÚÑ][\w'’-]*|\b\w*[a-z0-9]\w*[A-Z]\w*|\b[A-Z]{2,}\b"
)


def normal(text: str) -> str:
    """A text without its case, its kinds of characters and of blanks."""
    return _SPACE.sub(" ", unicodedata.normalize("NFKC", text).casefold()).strip()


def guards(plain: str) -> str:
    """Numbers with their units and negations, of a `normal` text: what MinHash is not let see past."""
    return "|".join([*_NUMBER.findall(plain), "", *_NEGATION.findall(plain)])


def turns(text: str, plain: str) -> str:
    """Besides that the words that turn what is said, and words with a capital within a sentence, for embeddings.

    `plain` is the `normal` text. Casing is part of it: a copy in capitals has other names, but is an exact copy anyhow.
    """
    return "|".join([*_TURN.findall(plain), "", *_NAME.findall(unicodedata.normalize("NFKC", text))])

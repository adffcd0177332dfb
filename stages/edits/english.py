"""English: which words stay where they stand, and changes that no table of pairs makes."""

import re
from collections.abc import Iterator
from functools import lru_cache
from itertools import permutations, product

from stages.edits.edit import Edit

_AUXILIARY = "is|are|was|were|shall|must|will|can|may|should|could"
_NEGATED = re.compile(rf"\b(?:({_AUXILIARY}|does|do|did|has|have|had) not|(can)not)\b")
_NOT_NEGATED = re.compile(
    rf"\b({_AUXILIARY})\b(?= [a-z])(?! (?:not|no|also be|either|neither|to|un\w+)\b)"
    r"|\b(has|have|had)\b(?= (?:been|\w+ed)\b)"
)
_MODALS = {"shall": "may", "must": "may", "may": "must", "shall not": "may", "may not": "may", "must not": "may"}
_MODAL = re.compile(r"\b(shall not|may not|must not|shall|must|may)\b")
# "no one shall" and "no one may" are the same
_FIXED_MODAL = re.compile(r"\b(?:[Nn]o|[Nn]one|[Nn]othing|nor|neither|only|unless)\b")
_AS_MAY_BE = re.compile(r"\bas $")  # "as may be prescribed" permits nothing
# "whether it is" and "whether it is not" are the same; "were correlated with" says what was done, not what was found;
# "either … or had not" and "depending on the severity it cannot" make no sense
_FIXED_NEGATION = re.compile(
    r"\b(?:[Nn]o|[Nn]one|[Nn]othing|nor|[Ee]ither|[Nn]either|[Ww]hether|[Uu]nless|[Dd]epend\w*|var(?:y|ies)|(?:dis|con)cordan\w+)\b"
    r"|\b(?:was|were|been) (?:\w+ly )?(?:correlated|compared|matched|adjusted)\b"
)
_RELATIVE = re.compile(r"\b(?:which|who|that)\s$")  # "a member who has not objected": one of whom more is said
_STATISTICS = re.compile(r"\b[PpRr]2? ?[=<>] ?-?0?[.,]")  # which would tell; a correlation of more than 1 is none
_REASON = re.compile(r"\b(?:thus|thereby|therefore|hence|due to|owing to|[Bb]ecause|since|so that)\b|, as \w+ \w+s\b")
# "is evident, being broader"; "were studied (weighted by time)": how it is, if it is
_QUALIFIED = re.compile(r"[^.;,(]*(?:, (?:being|with|as|including|\w+ing)\b| \((?!\d))")
_CONDITION = re.compile(r"(?:Where|If|When|Once|Until|While)\b[^,]*,")  # the rest of the sentence follows from it
_SHARE_OR_COUNT = re.compile(r"(?<![\w.,])(\d{1,3}(?:,\d{3})+|\d{1,6}(?:\.\d{1,3})?)(?![\w]|[.,]\d)(\s?%)?")
MAX_NUMBERS = 30  # of a sentence
_ROUNDED = 0.6  # points: a share of 4 % may be one of 3.5 %
_NEGATION_BEFORE = re.compile(r"\b(?:not|never|no)\s(?:an?\s)?$")
_COMPARATIVE = re.compile(r"\w+er|more|fewer|least|most")  # not later than
_ARTICLE_BEFORE = re.compile(r"\b[Aa]n? $")
_ASKS_FOR_WITH = re.compile(  # in accordance with: "in accordance without" is no statement
    r"\b(?:accordance|line|conjunction|conformity|connection|compli\w+|comply|consistent\w*|compatible|associated|deal\w*|dealt"
    r"|together|along|combined|compar\w+|interfer\w+|agree\w*|conflict\w*|contact|relationship|provided|charged|begin\w*"
    r"|concerned|familiar|faced|met|diagnosed|fused|mixed|correlat\w+)\s$"
)
_FIXED_WITH = re.compile(  # goes on after "with" or "without"; of a list "without" would deny each member
    r" (?:it|them|regard|respect|one or|at least|several|some|many|multiple)\b|[^.;]*,[^.;]*\b(?:and|or)\b"
)
# Words that the rest of the sentence decides: by the term that it defines, or by one of these words.
_TERM = re.compile(r"^[A-Z][^:.;]{2,100}: (?=[A-Z])")  # "Elevated calcitonin: …" tells what its definition may say
_KEPT_IN_DEFINITIONS = re.compile(
    r"presence|absence|with|without|normal|abnormal|improved|worsened|better|worse|positive|negative|large|small|thick|thin"
    r"|wide|narrow|strong|weak|rapid|slow|faster|slower|mild|severe|partial|complete|common|rare|frequent|longer|shorter"
    r"|upper|stop|start"
)
_AMOUNTS = re.compile(
    r"(?:in|de)creas(?:e|es|ed|ing)|reduced|high(?:er|est)?|low(?:er|est)?|above|below|more|fewer|greater|smaller"
    r"|excess|deficiency|maximum|minimum"
)
_TOO_MUCH_OR_LITTLE = re.compile(r"\bhyp(?:er|o)[a-z]{3,}", re.IGNORECASE)
_TIMES = re.compile("before|after|following|preceding|prior to|until|during|earlier|later|early|late")
_ORDERED = re.compile(
    r"\b(?:subsequent\w*|prior|previous\w*|earlier|later|then|initial\w*|induc\w+|delay\w*|pre-?\w*op\w*|post-?\w*op\w*"
    r"|baseline|at first|enrol\w*|recruit\w*|follow-?up)\b",
    re.IGNORECASE,
)
_SIGNS = re.compile("positive|negative|present|absent")
_ALIKE = re.compile(r"\b(?:dis|con)cordan\w+|\b(?:same|alike|identical|opposite|contrary)\b")  # which two signs must be
_QUALITIES = re.compile("better|worse|improved|worsened")
# only employers do these, and only to employees
_EMPLOYMENT = re.compile(
    r"\b(?:terminat|fir(?:ed|ing)\b|hir(?:ed|ing)\b|former|dismiss|retire|laid.off|discharg|retaliat|promot|demot|wages?\b)",
    re.IGNORECASE,
)
_CHANGED_TO = re.compile(r"\bto \d+(?:\.\d+)? ?%")  # "decreased to 58 % of control"
_IS_DEFINED = re.compile(r",? or (?!not\b)[^,.;]{1,40},")  # "your medial, or inside part of the knee, looks"
_COMPARED = re.compile(r"\b(?:alone|compared|versus|vs|controls?)\b")
# Words that mean something else before these.
_FOLLOWED = {
    "medial": r" (?:layer|wall|coat|necrosis|degeneration)",
    "before": r" (?:(?:the|an?|this) )?(?:\w+ )?(?:[A-Z]{2,}|[Cc]ourts?|[Tt]ribunal|[Jj]udge|[Cc]ommi\w+|[Bb]oard)\b",
    "failure": r" to\b",
    "Council": r" of\b",
    "civil": r" (?:rights|action|procedure|suit|code|law|liberties|servant|servic|war|unrest|disobedience)",
    "right": r" (?:to|of|and|or|under|in|not)\b",
    "once": r" (?:an? (?!hour|day|week|month|year)|the|its?|h?is|s?he|they|this|that|these|all)\b",
    "more": r" (?!than\b|\w+s\b)",
    "most": r" \w+ly\b",
    "criminal": r" (?:convict|offen[cs]e|prosecut|sentence|histor|record|charge)",
    "District Court": r" (?:for|of)\b",
    # a noun, or "the state of things"
    "state": r"(?! (?:laws?|courts?|governments?|agenc\w+|official\w*|prison\w*|constitution\w*|claims?|statut\w+"
    r"|judges?|supreme|fund\w*|regulat\w+|authorit\w+|legislat\w+|employees?|police|level)\b)",
    "during": r" (?:(?:the|his|her|its|their) )?(?:pleasure|good behaviou?r|consultations?|visits?)\b",
    # who complains is the plaintiff
    "plaintiff's": r" (?:\w+ )?complaint",
    "plaintiffs": r"['’] (?:\w+ )?complaint",
}


_VERBS = frozenset(("begin", "end", "start", "stop"))  # and nouns
_BEFORE_VERB = re.compile(r"\b(?:to|shall|will|may|must|can|should|would|could|not|they|we)\s$")


def fits(match: re.Match[str], new: str) -> bool:
    """Whether the new word gives a sentence that is grammatical and says something else."""
    before, word, after = match.string[: match.start()], match[0], match.string[match.end() :]
    if _ARTICLE_BEFORE.search(before) and (new[0] in "aeiou") != (word[0] in "aeiou"):
        return False  # "a" would have to be "an"
    if word in ("above", "below") and not after.startswith(" "):
        return False  # "as described above" points at the text, not at an amount
    if word in ("with", "without") and (_FIXED_WITH.match(after) or _ASKS_FOR_WITH.search(before)):
        return False
    if word in _VERBS and not _BEFORE_VERB.search(before):
        return False
    if word == "direct" and _BEFORE_VERB.search(before):
        return False
    if word == "more" and before.endswith("one or "):
        return False
    if word in _FOLLOWED and re.match(_FOLLOWED[word], after):
        return False
    if _is_decided(word, before, after):
        return False
    return not _NEGATION_BEFORE.search(before) or _COMPARATIVE.fullmatch(word) is not None


def _is_decided(word: str, before: str, after: str) -> bool:
    """Whether the rest of the sentence leaves only this word possible."""
    rest = f"{before} {after}"
    term = _TERM.match(before + word + after)
    is_told_by_the_term = _KEPT_IN_DEFINITIONS.fullmatch(word) or _AMOUNTS.fullmatch(word) or _TIMES.fullmatch(word)
    if term and (len(before) < term.end() or is_told_by_the_term):
        return True
    if word == "include" and before == "Examples ":
        return True
    if _SIGNS.fullmatch(word) and _ALIKE.search(rest):
        return True
    if _QUALITIES.fullmatch(word) and ", but" in rest:
        return True
    if word.startswith("employe") and _EMPLOYMENT.search(rest):
        return True
    if _IS_DEFINED.match(after) or (_AMOUNTS.fullmatch(word) and _CHANGED_TO.search(after)):
        return True
    if _AMOUNTS.fullmatch(word) and _TOO_MUCH_OR_LITTLE.search(rest):
        return True
    if _TIMES.fullmatch(word) and _ORDERED.search(rest):
        return True
    return word in ("presence", "absence") and _COMPARED.search(rest) is not None


def is_amount(match: re.Match[str]) -> bool:
    """Whether a number in digits (group 1) counts or measures something, and the sentence does not tell which it is.

    Nearly all in English do; levels do not.
    """
    if _STATISTICS.search(match.string[: match.end(1)], max(0, match.start(1) - 5)):
        return False
    return match.start(1) not in _places_of_calculated(match.string)


@lru_cache(maxsize=64)
def _places_of_calculated(sentence: str) -> frozenset[int]:
    """Where the numbers begin that can be calculated: shares in per cent beside their two counts, and these.

    A sentence with more than MAX_NUMBERS is a table: all of its numbers.
    """
    numbers = [(m.start(1), float(m[1].replace(",", "")), bool(m[2])) for m in _SHARE_OR_COUNT.finditer(sentence)]
    if len(numbers) > MAX_NUMBERS:
        return frozenset(place for place, _, _ in numbers)
    shares = [(place, value) for place, value, is_share in numbers if is_share]
    counts = [(place, value) for place, value, is_share in numbers if not is_share and value.is_integer()]
    places: set[int] = set()
    for share, (part, whole) in product(shares, permutations(counts, 2)):
        if whole[1] > part[1] > 0 and abs(100 * part[1] / whole[1] - share[1]) < _ROUNDED:
            places |= {share[0], part[0], whole[0]}
    return frozenset(places)


def more_edits(sentence: str, draw: int) -> Iterator[Edit]:
    """The edits of "shall", "must" and "may", and one that negates the sentence or takes its "not" away."""
    for match in () if _FIXED_MODAL.search(sentence) else _MODAL.finditer(sentence):
        if not _AS_MAY_BE.search(sentence[: match.start()]):
            yield Edit("modal", sentence, match.start(), match[0], _MODALS[match[0]])
    if _FIXED_NEGATION.search(sentence):
        return
    if _TERM.match(sentence) or _STATISTICS.search(sentence) or _REASON.search(sentence):
        return
    condition = _CONDITION.match(sentence)
    if condition and re.search(rf"\b(?:{_AUXILIARY}|has|have|had|does|do|did)\b", condition[0]):
        return
    match = _NEGATED.search(sentence) or _NOT_NEGATED.search(sentence)
    if match is None or _RELATIVE.search(sentence[: match.start()]):
        return
    if _NEGATED.fullmatch(match[0]):
        new = match[0].removesuffix("not").rstrip()
    else:
        new = "cannot" if match[0] == "can" else f"{match[0]} not"
        if _QUALIFIED.match(sentence, match.end()):
            return
    yield Edit("negation", sentence, match.start(), match[0], new)

"""English: where a word may be replaced, which numbers may be, and edits that no table of pairs gives."""

import re
from collections.abc import Iterator
from functools import lru_cache
from itertools import combinations, permutations, product

from stages.edits.edit import Edit

_MODALS = {"shall": "may", "must": "may", "may": "must", "shall not": "may", "may not": "may", "must not": "may"}
_MODAL = re.compile(r"\b(shall not|may not|must not|shall|must|may)\b")
# "no one shall" and "no one may" are the same; what is made "in contravention of this clause" must be forbidden by it
_FIXED_MODAL = re.compile(
    r"\b(?:[Nn]o|[Nn]one|[Nn]othing|nor|neither|only|unless|contraven\w+|discretion"
    r"|(?:think|thinks|deem|deems|see|sees) fit)\b"
)
_AS_MAY_BE = re.compile(r"\bas $")  # "as may be prescribed" permits nothing
# "may be exempt" is no contradiction of "shall be exempt": nobody does anything
_STATE = re.compile(
    r" (?:not )?(?:have|extend|apply|mean|include|consist|remain|continue|cease|lie|vest|belong|constitute|comprise"
    r"|contain|take effect|(?:come|enter) into force"
    r"|be (?:an?|the|any|exempt|responsible|liable|subject|entitled|eligible|void|valid|invalid|binding|final|lawful"
    r"|unlawful|sufficient|competent|independent|available|applicable|compatible|free|equal|effective|proportionate"
    r"|necessary|able|capable))\b"
)
# what may happen, not what somebody is permitted to do
_POSSIBLE = re.compile(
    r" (?:not |also |only )?(?:refer|take on|occur|result|lead|cause|appear|present|involve|affect|indicate|reflect"
    r"|develop|arise|range|vary|contribute|play|suggest|represent|persist|progress|manifest|mimic|accompany|worsen|improve)\b"
)
_ALTERNATIVES = re.compile(r" be \w+(?:,| or)\b")  # "may be solitary or multiple" is all that there is
_OBLIGED = re.compile(r"\b(shall|must)( not)?\b(?= [a-z])(?! (?:also|either|neither|to|un\w+)\b)")
# "shall not notify without undue delay"; "not less than a third shall not be reserved" is no contradiction
_FIXED_OBLIGATION = re.compile(
    r"\b(?:[Ww]hether|[Ee]ither|without|provided|as soon as|[Nn]ot less|[Nn]ot more|[Aa]t least|[Aa]t most)\b"
)
_STATISTICS = re.compile(r"\b[PpRr]2? ?[=<>] ?-?0?[.,]")  # an edit would show: no p-value and no correlation is above 1
# What follows a number that lies in an interval, "2.8 (95 % CI 1 to 1.1)" or "2.8 (1 to 3.1)", is said in two units,
# "299 mg/g (34 mg/mmol)", is a mean with its deviation, or a count of these.
_INTERVAL = re.compile(
    r"[^.;()\[\]]{0,20}[,;(\[]\s?(?:\d\d ?% ?)?(?:CI\b|confidence|credible|range|IQR|interquartile)"
    r"|[,;]?\s?[(\[]?[-–−]?\d+(?:\.\d+)?\s?(?:to|[-–−])\s?[-–−]?\d|[^.,;()\[\]]{0,25}[(\[][^()\[\]\d]{0,20}\d"
    r"|\s?(?:±|\+/-)|\s(?:SDs?|standard deviations?)\b",
    re.IGNORECASE,
)
_COUNTED_OR_COMPARED = (
    re.compile(r"=\s?$|±\s?$|\b(?:PMID|ISBN|DOI|ID|NCT)\b\W{0,3}$"),
    re.compile(
        r"\b(?:vs|versus|CI|OR|HR|RR|(?:odds|hazard|risk) ratios?|confidence intervals?|relative risk"
        r"|best|worst|highest|lowest|longest|shortest|maxim\w+|minim\w+|peak|most of|majority|half)\b"
    ),
)
_SHARE_OR_COUNT = re.compile(r"(?<![\w.,])(\d{1,3}(?:,\d{3})+|\d{1,6}(?:\.\d{1,3})?)(?![\w]|[.,]\d)(\s?%)?")
MAX_NUMBERS = 30  # of a sentence
_ROUNDED = 0.6  # points: a share of 4 % may be one of 3.5 %
_NEGATION_BEFORE = re.compile(r"\b(?:not|never|no)\s(?:an?\s)?$")
_NEGATED = re.compile(r"\b(?:not|never|no|nor|neither|without)\s[^.,;]{0,25}$")  # no increase is no decrease either
_COMPARATIVE = re.compile(r"\w+er|more|fewer|least|most")  # not later than
_ARTICLE_BEFORE = re.compile(r"\b[Aa]n? $")
# Words that the rest of the sentence decides: by the term that it defines, or by one of these words.
TERM = re.compile(r"^[A-Z][^:.;]{2,100}: (?=[A-Z])")  # what follows "Elevated calcitonin: …" is clear
_KEPT_IN_DEFINITIONS = re.compile("partial|complete|longer|shorter")
_AMOUNTS = re.compile("(?:in|de)creas(?:e|es|ed|ing)|high(?:er|est)|low(?:er|est)|more|fewer|greater|smaller")
# too much or too little; "whether it is higher" and "whether it is lower" are the same
_TOLD_OF_AMOUNTS = re.compile(
    r"\b(?:efficacy|inhibit\w*|so as to|(?:so|such) that|upper)\b|\bhyp(?:er|o)[a-z]{3,}"
    r"|\b(?:less|more) than (?:normal|usual)|\bwhether\b",
    re.IGNORECASE,
)
# figures or words that tell it too: "decreased to 58 % of control", "higher (-3.3 vs. -2.4)", "low risk, low weight"
_AMOUNT_IS_SEEN = re.compile(r"\d|\bper (?:minute|second|hour|day|cent)\b|\b(?:low|high|reduced|elevated|raised)\b")
_IS_DEFINED = re.compile(r",? or (?!not\b)[^,.;]{1,40},")  # "your medial, or inside part of the knee, looks"
_BODY = (
    r"(?:leg|limb|lip|jaw|lobe|arm|extremit|eyelid|back|abdom|body|third|half|pole|border|quadrant|face|spine|airway|tract"
    r"|motor|respiratory|urinary|gastro|incisor|teeth|tooth|segment|toe|trochanter|saphenous|omentum|wing|curvature|chamber"
    r"|house|court)"
)
# Words that mean something else before these.
_FOLLOWED = {
    "Council": r" of\b",
    "President": r" (?:[A-Z][a-z]+ [A-Z]|of (?:a|the|that|any|each|such) State\b)",  # whose name tells the office
    "Governor": r" (?:[A-Z][a-z]+ [A-Z]|of (?:a|the|that|any|each|such) State\b)",
    "civil": r" (?:rights|action|procedure|suit|code|law|liberties|servant|servic|war|unrest|disobedience)",
    "more": r" (?!than\b|\w+s\b)",
    "criminal": r" (?:convict|offen[cs]e|prosecut|sentence|histor|record|charge)",
    "District Court": r" (?:for|of|\()",
    "Supreme Court": r" (?:of|\()",
    "at least": r" (?:part|partly|some|one|once|in part)\b",
    "lower": rf" {_BODY}",
    "greater": rf" {_BODY}",
    "malignant": r" (?:hypertherm|hypertens|melanoma|lymphoma|mesothel|glioma|otitis|syndrome|transform)",
    # who complains is the plaintiff
    "plaintiff's": r" (?:\w+ )?complaint",
    "plaintiffs": r"['’] (?:\w+ )?complaint",
}
_PARTY = re.compile(r"plaintiff|defendant")
_SUES = re.compile(  # so it is the plaintiff
    r"(?:['’]s?)? (?:also |then |first |each |both |all )?"
    r"(?:sued|sue|alleg|claim|sought|seek|complain|brought|filed (?:suit|this|the|an?)\b)"
)
_WRONGED = re.compile(  # so it is the defendant
    r"(?:['’]s?)? (?:had |has |have )?"
    r"(?:discriminated|retaliated|violated|failed|infringed|breached|fired|terminated|refused)"
)
_FILED_BY = re.compile(r"\b(?:filed|brought|actions?|suits?|lawsuits?|complaints?)\b[^;]{0,90}\bby (?:the )?$")


def fits(match: re.Match[str], new: str) -> bool:
    """Whether the new word gives a sentence that is grammatical and says something else."""
    before, word, after = match.string[: match.start()], match[0], match.string[match.end() :]
    if _ARTICLE_BEFORE.search(before) and (new[0] in "aeiou") != (word[0] in "aeiou"):
        return False  # "a" would have to be "an"
    if word.startswith("plaintiff") and (_FILED_BY.search(before) or _SUES.match(after)):
        return False
    if word.startswith("defendant") and (before.endswith("criminal ") or _WRONGED.match(after)):
        return False
    if word == "more" and before.endswith("one or "):
        return False
    if (party := _PARTY.match(new)) and party[0] in before + after:
        return False  # the plaintiffs and the plaintiff's claim
    if word in _FOLLOWED and re.match(_FOLLOWED[word], after):
        return False
    if _is_decided(word, before, after):
        return False
    return not _NEGATION_BEFORE.search(before) or _COMPARATIVE.fullmatch(word) is not None


def _is_decided(word: str, before: str, after: str) -> bool:
    """Whether the rest of the sentence leaves only this word possible."""
    rest = f"{before} {after}"
    term = TERM.match(before + word + after)
    is_told_by_the_term = _KEPT_IN_DEFINITIONS.fullmatch(word) or _AMOUNTS.fullmatch(word)
    if term and (len(before) < term.end() or is_told_by_the_term):
        return True
    if _IS_DEFINED.match(after):
        return True
    if _AMOUNTS.fullmatch(word) and _NEGATED.search(before):
        return True
    is_told = _AMOUNT_IS_SEEN.search(rest) or _TOLD_OF_AMOUNTS.search(rest)
    return _AMOUNTS.fullmatch(word) is not None and is_told is not None


def is_amount(match: re.Match[str]) -> bool:
    """Whether a number in digits (group 1) counts or measures something that the rest of the sentence does not say.

    Nearly all numbers in English do; levels do not, nor does the 4 of "member 4 (ACSM4)".
    """
    start, end = match.span(1)
    if start in _places_of_calculated(match.string):
        return False
    if _STATISTICS.search(match.string, max(0, start - 5), end):
        return False
    is_counted, is_compared = _COUNTED_OR_COMPARED
    if is_compared.search(match.string) or is_counted.search(match.string, max(0, start - 8), start):
        return False
    is_named = re.search(rf"[A-Za-z]{re.escape(match[1])}\b", match.string)
    return not is_named and not _INTERVAL.match(match.string, end)


@lru_cache(maxsize=64)
def _places_of_calculated(sentence: str) -> frozenset[int]:
    """Where the numbers begin that others give away: a percentage and its two counts, a sum and what it adds up.

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
    totals = {value: place for place, value in counts}
    for left, right in combinations(counts, 2):
        if left[1] > 0 < right[1] and (total := totals.get(left[1] + right[1])) is not None:
            places |= {left[0], right[0], total}
    return frozenset(places)


def more_edits(sentence: str, draw: int) -> Iterator[Edit]:
    """The edits of "shall", "must" and "may", and one that negates an obligation or takes its "not" away.

    Other negations are left alone: the rest of the sentence mostly gives the reason for what it says.
    """
    if _FIXED_MODAL.search(sentence):
        return
    for match in _MODAL.finditer(sentence):
        before, after, new = sentence[: match.start()], sentence[match.end() :], _MODALS[match[0]]
        if match[0] == "may":
            is_no_contrast = _ALTERNATIVES.match(after) or _POSSIBLE.match(after)
        else:
            is_no_contrast = _STATE.match(after)
        # with "may" in the sentence, "shall, not may" would not say which of the two verbs is meant
        is_there = re.search(r"\b(?:must|shall)\b" if new == "must" else r"\bmay\b", f"{before} {after}")
        if not is_no_contrast and not is_there and not _AS_MAY_BE.search(before):
            yield Edit("modal", sentence, match.start(), match[0], new)
    match = _OBLIGED.search(sentence)
    if match and not _FIXED_OBLIGATION.search(sentence) and not _STATE.match(sentence, match.end()):
        yield Edit("negation", sentence, match.start(), match[0], match[1] if match[2] else f"{match[0]} not")

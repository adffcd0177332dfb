"""Spanish: which words stay where they stand."""

import re
from collections.abc import Iterator

from stages.edits.edit import Edit

_NEGATION_BEFORE = re.compile(r"\b(?:no|ni|nunca|jamás|sin)\s(?:\w+\s)?$")
# ya no pueden … porque desaparecieron; no es A, sino B: the rest of the sentence would contradict
_BOUND_NEGATION = re.compile(
    r"\b(?:sino|ni|no s[oó]lo|o no|ya no|a menos|salvo|porque|ya que|puesto que|debido a|aunque|a[uú]n si|aun cuando)\b"
    r"|^(?:Para \w+[aei]r|Si)\b"
)
_SCOPE = re.compile(  # "all cannot" is unclear, and "both can" is negated as "neither can"
    r"\b(?:cualquier|cualquiera|tod[oa]s|amb[oa]s|nadie|ning[uú]n\w*|alg[uú]n\w*|tanto|tambi[eé]n|siempre|similarmente|asimismo)\b",
    re.IGNORECASE,
)
_PERHAPS = re.compile(  # "puede ser" says perhaps, of which "no puede ser" is not the opposite
    r" (?:no|parecer|ser|haber|deber|necesitar|generar|decidir|ocurrir|suceder|existir|resultar|tener)\b"
)
_PRONOUN_BEFORE = re.compile(r"\b(?:[mts]e|l[aeo]s?|nos)\s$", re.IGNORECASE)  # "se puede" is negated as "no se puede"
# the only drawback is that it is difficult: "easy" would contradict
_ATTITUDE = re.compile(
    r"\b(?:limitaci[oó]n|restricci[oó]n|(?:des)?ventaja|inconveniente|problema|(?:des)?afortunadamente|obviamente)\b",
    re.IGNORECASE,
)
_GOES_ON = re.compile(r"[^.]*[:;(]")  # … pueden filtrarse: presione la tecla l
_SERVES = re.compile(
    r"^Para \w+[aei]r\b|\b(?:servicio|opci[oó]n|orden|herramienta|programa)s? que $"
)  # what serves, permits
_PHRASE = re.compile(
    r"\b(?:hacer(?:lo|la|se)?|dominio|clave|salud|opini[oó]n|vida|uso)\s$", re.IGNORECASE
)  # uso diario
# more than one, the greater part; "stays active and goes on" would contradict
_BOUND_WORD = re.compile(r"(?:m[aá]s|menos) de (?:un[ao]?|1)\b|(?:mayor|menor) parte\b|(?:in)?activ[oa] y\b")
_BEFORE_NOUN = re.compile(r" de(?! que\b)\b| del\b")  # "antes de que" asks for another mood than "después de que"
_PREDICATE = re.compile(r"(?:in)?necesari[oa]|(?:im)?posible|f[aá]cil|dif[ií]cil")  # says something only after a copula
_COPULA = re.compile(r"\b(?:es|son|sea|sean|ser[áa]n?|fue|era|eran|resulta|resultan|est[áa]n?|queda)\s$")


def fits(match: re.Match[str], new: str) -> bool:
    """Whether the new word gives a sentence that is grammatical and says something else."""
    sentence, before, word = match.string, match.string[: match.start()], match[0]
    if _NEGATION_BEFORE.search(before) or _ATTITUDE.search(sentence) or _PHRASE.search(before):
        return False
    if "no " in (word[:3], new[:3]):
        is_bound = _BOUND_NEGATION.search(sentence) or _SCOPE.search(sentence) or _PRONOUN_BEFORE.search(before)
        return not (is_bound or _PERHAPS.match(sentence, match.end()) or _GOES_ON.match(sentence, match.end()))
    if word in ("antes", "después") and not _BEFORE_NOUN.match(sentence, match.end()):
        return False
    if _BOUND_WORD.match(sentence, match.start()) or (word.startswith(("permit", "impid")) and _SERVES.search(before)):
        return False
    return not _PREDICATE.fullmatch(word) or _COPULA.search(before) is not None


def more_edits(sentence: str, draw: int) -> Iterator[Edit]:
    """None: what Spanish has is in the tables."""
    yield from ()

"""Spanish: which words stay where they stand, and medical specialties.

"puede", "permite", "posible", "necesario", "fácil" and "automático" always stay: in one sentence of three, readers
found, their opposite contradicts the rest or says the same.
"""

import re
from collections.abc import Iterator

from stages.edits.edit import Edit
from stages.edits.tables import neighbour

_NEGATION_BEFORE = re.compile(r"\b(?:no|ni|nunca|jamás|sin)\s(?:\w+\s)?$")
# ya no pueden … porque desaparecieron; no es A, sino B: the rest of the sentence would contradict
_BOUND_NEGATION = re.compile(
    r"\b(?:sino|ni|no s[oó]lo|o no|ya no|a menos|salvo|aunque|a[uú]n si|aun cuando|si bien|a pesar|incluso|inclusive)\b"
    r"|^(?:Para \w+[aei]r(?:l[aeo]s?|se)?|Si)\b",
    re.IGNORECASE,
)
_REASON = re.compile(  # what is the reason of a thing, or follows from it, would contradict another quality of it
    r"\b(?:porque|ya que|puesto que|dado que|debido a|gracias a|por lo tanto|por lo que|hacen? posible"
    r"|de (?:modo|forma|manera) que)\b",
    re.IGNORECASE,
)
_SCOPE = re.compile(  # "all cannot" is unclear, and "both can" is negated as "neither can"
    r"\b(?:s[oó]lo|solamente|[uú]nicamente|cualquier|cualquiera|tod[oa]s|amb[oa]s|nadie|ning[uú]n\w*|alg[uú]n\w*|tanto|tambi[eé]n|adem[aá]s|siempre|similarmente|asimismo)\b",
    re.IGNORECASE,
)
_PERHAPS = re.compile(  # "podrá ser" says perhaps, of which "no podrá ser" is not the opposite
    r" (?:no|que|desear|querer|preferir|pensar|creer|estar|tratar"
    r"|parecer|seguir|ser|haber|deber|necesitar|generar|decidir|ocurrir|suceder|existir|resultar|tener)\b"
)
_PRONOUN_BEFORE = re.compile(r"\b(?:[mts]e|l[aeo]s?|nos)\s$", re.IGNORECASE)  # "se podrá" is negated as "no se podrá"
# the only drawback is that it is slow: "fast" would contradict
_ATTITUDE = re.compile(
    r"\b(?:limitaci[oó]n|restricci[oó]n|(?:des)?ventaja|beneficio|prop[oó]sito|objetivo|inconveniente|problema"
    r"|(?:des)?afortunadamente|obviamente)s?\b",
    re.IGNORECASE,
)
_GOES_ON = re.compile(r"[^.]*(?:[:;(]|\bpero\b|\bdepend\w+)")  # … pueden filtrarse: presione la tecla l
_PHRASE = re.compile(
    r"\b(?:hacer(?:lo|la|se)?|dominio|clave|salud|opini[oó]n|vida|uso|trabajo)\s$", re.IGNORECASE
)  # uso diario
# more than one, the greater part, the bare minimum; "stays active and goes on" would contradict
_BOUND_WORD = re.compile(
    r"(?:m[aá]s|menos) de (?:un[ao]?|1)\b|(?:m[aá]s|menos) de (?!\d|[a-z]+ (?:minuto|hora|d[ií]a|semana|mes|año))"
    r"|(?:al menos|como m[aá]ximo) (?!\d|un|dos|tres)|(?:mayor|menor) parte\b|(?:in)?activ[oa] y\b"
    r"|m[ií]nimo (?:indispensable|necesario)"
)
_DEGREE = re.compile(
    r"\b(?:versi[oó]n|versiones|el|la|los|las|del|al|de)\s$", re.IGNORECASE
)  # the greatest; a major version
_VERY = re.compile(r" (?:muy|tan|tanto|demasiado|del todo|necesariamente|siempre)\b")  # "not very" is not the opposite
_JUDGED = re.compile(r"(?:acept|rechaz|permit|prohib)\w*d[oa]")
_CONDITIONAL = re.compile(r"\b(?:si|cuando)\s[^,;]*$", re.IGNORECASE)  # what follows would contradict
_BEFORE_NEVER = re.compile(r"(?:\b[Cc]asi|,)\s$")
_AFTER_NEVER = re.compile(r" (?:antes|m[aá]s|deb\w+|hay)\b")
_ONLY_BEFORE = re.compile(r"\bs[oó]lo\s$")  # a medium that can only be written is absurd
_BEFORE_NOUN = re.compile(r" de(?! que\b)\b| del\b")  # "antes de que" asks for another mood than "después de que"
_PREDICATE = re.compile(  # says something only after a copula: not the verb in "activa las inclusiones"
    r"v[aá]lid[oa]|nul[oa]|r[aá]pid[oa]|lent[oa]|(?:in)?activ[oa]"
)
_COPULA = re.compile(
    r"\b(?:es|son|ser[áa]n?|fue|era|eran|resulta|resultan|est[áa]n?|estado|queda|sigue|permanece)"
    r"(?: (?:muy|m[aá]s))?\s$"
)
_CONDITION = re.compile(
    r"\b(?:[Ss]i|[Cc]uando|[Mm]ientras|[Dd]onde|que(?: l?es?)?)\s(?:no\s)?(?:es|fue|era|son|est[áa]n?)\s$"
)  # "if it is necessary"
_QUALITY = re.compile(  # of which the rest of the sentence often says more
    r"(?:permitid|p[uú]blic|privad|podr[áa]|temporal|permanente|reduc|aument|nunca|(?:des)?habilit|(?:des)?activ)\w*"
)
_BOUND_LIMIT = re.compile(r"\b(?:como|siempre que\b[^,;]*)\s$", re.IGNORECASE)  # tanto A como al menos B
_FRAMED = re.compile(r"\bal (?:comienzo|principio|inicio|final)\b", re.IGNORECASE)  # says before and after, too
_DOWN_TO = re.compile(r" al?\b")  # reducir al espacio: another sense
_CODE = "tiene el código"  # before it is the name of a disease
# A disease belongs to one of these by its text; neighbours are of different organs.
_SPECIALTIES = [
    "Gastroenterología", "Neurología", "Neumología", "Dermatología", "Cardiología", "Psiquiatría", "Oncología",
    "Oftalmología", "Urología", "Otorrinolaringología", "Hematología", "Ortopedia", "Endocrinología", "Reumatología",
    "Nefrología", "Pediatría", "Ginecología", "Alergología", "Obstetricia",
]  # fmt: skip
_SPECIALTY = re.compile(rf"(?<=especialidad de )(?:{'|'.join(_SPECIALTIES)})\b")


def fits(match: re.Match[str], new: str) -> bool:
    """Whether the new word gives a sentence that is grammatical and says something else."""
    sentence, before, word = match.string, match.string[: match.start()], match[0]
    if _NEGATION_BEFORE.search(before) or _ATTITUDE.search(sentence) or _PHRASE.search(before):
        return False
    is_bound = _BOUND_NEGATION.search(sentence) or _REASON.search(sentence)
    is_explained = is_bound or _GOES_ON.match(sentence, match.end()) is not None
    if "no " in (word[:3], new[:3]):
        is_fixed = _SCOPE.search(sentence) or _PRONOUN_BEFORE.search(before) or re.search(r":|\bpero\b", before)
        is_fixed = is_fixed or _VERY.match(sentence, match.end())
        return not (is_explained or is_fixed or _PERHAPS.match(sentence, match.end()))
    if is_explained and (_QUALITY.fullmatch(word) or _PREDICATE.fullmatch(word)):
        return False
    if word.startswith("podr") and (_SCOPE.search(sentence) or _PERHAPS.match(sentence, match.end())):
        return False
    if _JUDGED.fullmatch(word) and _CONDITIONAL.search(before):
        return False
    if word == "nunca" and (_BEFORE_NEVER.search(before) or _AFTER_NEVER.match(sentence, match.end())):
        return False
    if word in ("lectura", "escritura") and _ONLY_BEFORE.search(before):
        return False
    if word in ("mayor", "menor") and _DEGREE.search(before):
        return False
    if _CODE in sentence[match.end() :]:
        return False
    if word in ("antes", "después") and (not _BEFORE_NOUN.match(sentence, match.end()) or _FRAMED.search(sentence)):
        return False
    if word in ("al menos", "como máximo") and _BOUND_LIMIT.search(before):
        return False
    if word in ("máximo", "mínimo") and before.endswith("al "):
        return False
    if word.startswith("reduc") and _DOWN_TO.match(sentence, match.end()):
        return False
    if word.startswith("obligatori") and "andatory" in sentence:
        return False
    if _BOUND_WORD.match(sentence, match.start()):
        return False
    return not _PREDICATE.fullmatch(word) or (_COPULA.search(before) is not None and not _CONDITION.search(before))


def more_edits(sentence: str, draw: int) -> Iterator[Edit]:
    """The edits that name another medical specialty; the rest of what Spanish has is in the tables."""
    for match in _SPECIALTY.finditer(sentence):
        new = neighbour(_SPECIALTIES, match[0], up=draw % 2 == 1)
        yield Edit("specialty", sentence, match.start(), match[0], new)

"""Spanish: where a word may be replaced, which numbers may be, and edits of medical specialties.

"puede", "permite", "posible", "necesario", "fácil", "automático", "mayor", "local", "externo", "aumentar", "activar"
and "versión anterior" are never replaced: in one sentence of three, readers found, their opposite contradicts the rest
or says the same.
"""

import re
from collections.abc import Iterator

from stages.edits.edit import Edit
from stages.edits.tables import neighbour

_NEGATION_BEFORE = re.compile(r"\b(?:no|ni|nunca|jamás|sin|tampoco)\s(?:\w+\s)?$")
# ya no pueden … porque desaparecieron; no es A, sino B: the rest of the sentence would contradict
_BOUND_NEGATION = re.compile(
    r"\b(?:sino|ni|no s[oó]lo|o no|ya no|a menos|salvo|aunque|a[uú]n si|aun cuando|si bien|a pesar|incluso|inclusive)\b"
    r"|^(?:Para \w+[aei]r(?:l[aeo]s?|se)?|Si)\b",
    re.IGNORECASE,
)
_REASON = re.compile(  # what is the reason of a thing, or follows from it, would contradict another quality of it
    r"\b(?:porque|entonces|ya que|puesto que|dado que|debido a|gracias a|por lo tanto|por lo que|hacen? posible"
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
    r"|(?:des)?afortunadamente|obviamente|(?:mejor|peor) de los caso|exterior|interior|subyacente)s?\b",
    re.IGNORECASE,
)
_GOES_ON = re.compile(r"[^.]*(?:[:;(]|\bpero\b|\bdepend\w+)")  # … pueden filtrarse: presione la tecla l
_PHRASE = re.compile(
    r"\b(?:hacer(?:lo|la|se)?|dominio|clave|salud|opini[oó]n|vida|uso|trabajo)\s$", re.IGNORECASE
)  # uso diario
# more than one, the greater part, the bare minimum; "stays active and goes on" would contradict
_BOUND_WORD = re.compile(
    r"(?:m[aá]s|menos) de (?:un[ao]?|1)\b|(?:m[aá]s|menos) de (?!\d|[a-z]+ (?:minuto|hora|d[ií]a|semana|mes|año))"
    r"|(?:al menos|como m[aá]ximo) (?!\d|un|dos|tres)|(?:in)?activ[oa] y\b"
)
_VERY = re.compile(r" (?:muy|tan|tanto|demasiado|del todo|necesariamente|siempre)\b")  # "not very" is not the opposite
_CONDITIONAL = re.compile(r"\b(?:si|cuando)\s[^,;]*$", re.IGNORECASE)  # what follows would contradict
_BEFORE_NEVER = re.compile(r"(?:\b[Cc]asi|,)\s$")
_AFTER_NEVER = re.compile(r" (?:antes|m[aá]s|deb\w+|hay)\b")
_PURPOSE = re.compile(r"\b(?:para|a fin de|con el fin)\b", re.IGNORECASE)  # must, or may, be done to reach it
_BEFORE_NOUN = re.compile(r" de(?! que\b)\b| del\b")  # "antes de que" asks for another mood than "después de que"
_PREDICATE = re.compile(  # says something only after a copula: not the verb in "activa las inclusiones"
    r"v[aá]lid[oa]|nul[oa]|r[aá]pid[oa]|lent[oa]|(?:in)?activ[oa]|temporal|permanente|(?:in)?compatible|obligatori[oa]"
    r"|(?:(?:des)?habilit|(?:des)?activ|acept|rechaz|permit|prohib)\w*d[oa]"
)
_COPULA = re.compile(
    r"\b(?:es|son|ser[áa]n?|fue|era|eran|resulta|resultan|est[áa]n?|estado|queda|sigue|permanece)"
    r"(?: (?:muy|m[aá]s))?\s$"
)
_PARTIES = re.compile("demanda|compra|vende|arrenda|acreedor|deudor|empleador|trabajador")
_ONLY_AFTER = {  # elsewhere the word is another thing: facilitar la lectura, compendios de origen
    **dict.fromkeys(("lectura", "escritura"), re.compile(r"\b(?:permisos?|acceso|operaci[oó]n|operaciones) de\s$")),
    **dict.fromkeys(("de origen", "de destino"), re.compile(r"\b(?:direcci[oó]n|direcciones|puertos?|IP)\s$")),
}
_BOUND_LIMIT = re.compile(r"\b(?:como|siempre que\b[^,;]*)\s$", re.IGNORECASE)  # tanto A como al menos B
_FRAMED = re.compile(  # says before and after, too
    r"\b(?:al (?:comienzo|principio|inicio|final)|luego|posterior\w*|previ[oa]\w*|ya|primera vez|inicial\w*"
    r"|nuev[oa]mente|sucesor|segund[oa]|primer[oa]?|aún|todav[ií]a|cada intento|respuesta)\b",
    re.IGNORECASE,
)
_FUTURE = re.compile(r"\bque ser[áa]n?\b")
_A_NOUN = re.compile(r"\b(?:el|al|del|un|gran)\s$")  # the public
_SELLS = re.compile(r"\b(?:vend|comercia|empresa)")
_ALREADY = re.compile(r"\bya\b")
_LISTENS = re.compile(r"\b(?:escuch|esper|recib|env[ií])", re.IGNORECASE)  # for what comes in
_SELECTS = re.compile(r"\bnecesari|\b[uú]nic[oa]")  # what is needed is switched on
_UNIT = re.compile(  # what a number in digits counts; a lower one than ten mostly counts what is listed nearby
    r"\s?%|\s(?:(?:milisegundo|segundo|minuto|hora|d[ií]a|semana|mese|año|euro|[a-z]*byte|metro|kil[oó]metro|kilo)s?|mes"
    r"|[KMGT]i?B|[kMG]Hz|[kMG]bit/s|m?[gl]|[ck]?m|kg)\b"
)
_COUNTED = re.compile(r"\s[a-záéíóúñ]{4,}s\b(?! (?:anteriores|siguientes|mencionad|descrit|list))")
_RANGE_BEFORE = re.compile(r"\d\s?%? (?:a|y|o|e|hasta)\s$")  # its other end is a limit
_PORT_BEFORE = re.compile(r"\bpuerto (?:TCP |UDP )?$")
_YEAR = re.compile(r"(?:19|20)\d\d")
_YEAR_BEFORE = re.compile(r"\b(?:en|de|desde|hasta|el año|del año)\s$", re.IGNORECASE)
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
    after = sentence[match.end() :]
    is_bound = _BOUND_NEGATION.search(sentence) or _REASON.search(sentence)
    is_explained = is_bound or _GOES_ON.match(after) is not None
    if "no " in (word[:3], new[:3]):
        is_fixed = _SCOPE.search(sentence) or _PRONOUN_BEFORE.search(before) or re.search(r":|\bpero\b", before)
        is_fixed = is_fixed or re.search(r"\by (?:puede|podr)", after)
        is_fixed = is_fixed or _VERY.match(after) or _PURPOSE.search(sentence)
        return not (is_explained or is_fixed or _PERHAPS.match(after))
    if word in ("antes", "después"):
        is_framed = _FRAMED.search(before + after) or _PURPOSE.search(after) or _FUTURE.search(after)
        return not is_bound and _BEFORE_NOUN.match(after) is not None and not is_framed
    if _PARTIES.match(word):
        return True
    if before.endswith("«") or (word.startswith("p") and after.startswith(" Internet")):
        return False
    if is_explained or _CODE in after or _BOUND_WORD.match(sentence, match.start()):
        return False
    if (pattern := _ONLY_AFTER.get(word)) and not pattern.search(before):
        return False
    match word:
        case "podrá" | "podrán" if _SCOPE.search(sentence) or _PERHAPS.match(after):
            return False
        case "podrá" | "podrán" | "deberá" | "deberán" if _PURPOSE.search(sentence):
            return False
        case "nunca" if _BEFORE_NEVER.search(before) or _AFTER_NEVER.match(after):
            return False
        case "público" | "privado" | "pública" | "privada" if _A_NOUN.search(before) or after.startswith(" virtual"):
            return False
        case "al menos" | "como máximo" if _BOUND_LIMIT.search(before):
            return False
        case "entrante" | "entrantes" | "saliente" | "salientes" if _LISTENS.search(sentence):
            return False
        case "obligatorio" | "obligatoria" if "andatory" in sentence or "único" in before:
            return False
        case "con fines de lucro" | "sin fines de lucro" if _SELLS.search(sentence):
            return False
        case "habilita" | "deshabilita" if _SELECTS.search(sentence):
            return False
    if not _PREDICATE.fullmatch(word):
        return True
    return _COPULA.search(before) is not None and not _CONDITIONAL.search(before) and not _ALREADY.search(before)


def is_amount(match: re.Match[str]) -> bool:
    """Whether a number in digits (group 1) is a year, a port or followed by a unit, and is no end of a range."""
    number, before, after = match[1], match.string[: match.start(1)], match.string[match.end(1) :]
    if _RANGE_BEFORE.search(before) or _REASON.search(after) or _NEGATION_BEFORE.search(before):
        return False
    if _YEAR.fullmatch(number):
        return _YEAR_BEFORE.search(before) is not None
    if _UNIT.match(after) or _PORT_BEFORE.search(before):
        return True
    is_count = number.isdigit() and int(number) >= 10 and "bits" not in after  # 256 characters follow from eight bits
    return is_count and _COUNTED.match(after) is not None


def more_edits(sentence: str, draw: int) -> Iterator[Edit]:
    """The edits that name another medical specialty; the rest of what Spanish has is in the tables."""
    for match in _SPECIALTY.finditer(sentence):
        new = neighbour(_SPECIALTIES, match[0], up=draw % 2 == 1)
        yield Edit("specialty", sentence, match.start(), match[0], new)

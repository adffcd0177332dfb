"""Definitions: what a passage itself says that a term means, as statutes, contracts and glossaries do.

`‘controller’ means the person which …;`, `本法所称网络，是指…。`, `«cliente»: la persona que …;`, and glossaries, whose
paragraphs are all of the form `Digenic inheritance: A type of inheritance that …`.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from stages.sources.passages import first_sentence, length_factor

MIN_CHARS, MAX_CHARS = 45, 420  # of a meaning, in characters; a third of it in Chinese
MAX_TERM_WORDS = 9
MAX_REPEATED = 0.5  # share of a term's words that its meaning repeats
MIN_STEM = 5  # letters that two forms of a word share
MIN_ENTRIES = 2  # of a glossary: one paragraph with a colon is a heading as a rule


@dataclass(frozen=True, slots=True)
class Definition:
    """A term and what it means, both verbatim."""

    term: str
    meaning: str  # without a mark at its end
    statement: str  # the passage's own words for both, with one full stop at the end


_QUOTED = r"[‘“\"«](?P<term>[^‘’“”\"«»\n]{2,80})[’”\"»]"
# Every repetition is bounded, since passages are users' texts.
_STATEMENTS = {
    "en": re.compile(
        rf"{_QUOTED}(?:,? in relation to [^,;.\n]{{1,80}},)?\s+(?:means|shall mean|refers to|designates)\s+"
        rf"(?P<meaning>[^;\n]{{1,{MAX_CHARS}}})"
    ),
    "es": re.compile(
        rf"(?:(?<=\d\) )|\b[Ss]e (?:entiende|entenderá)n? por ){_QUOTED}[:,]?\s+"
        rf"(?P<meaning>[^;\n]{{1,{MAX_CHARS}}})"
    ),
    "zh": re.compile(
        r"(?:^|[。；\n])\s*(?:第[零一二三四五六七八九十百千]{1,9}条(?:之[一二三四五])?\s*|（[一二三四五六七八九十]{1,4}）\s*)?"
        r"(?P<start>)(?:(?:本|前)(?:法|法典|条例|条|款|章|节|编|办法|规定|决定)(?:中)?所称的?)?"
        r"[“\"]?(?!其他|其它|所称)(?P<term>[\u4e00-\u9fff、]{2,20}?)[”\"]?(?:（以下[^）\n]{1,30}）)?，?是指(?P<meaning>[^。；\n]{1,140})(?=[。；])"
    ),
}
_LABEL = re.compile(r"(?P<term>(?=[A-ZÁÉÍÓÚÑ\u4e00-\u9fff])\w[^:：.!?;\n]{1,80})[:：]\s+(?P<meaning>\S[^\n]*)")
# Labels that begin so name a part of a text or a speaker.
_PARTS = (
    "abstract aim aims answer background case comment conclusion conclusions context data definition design discussion "
    "doctor example examples findings guest history hypothesis importance intervention interventions introduction "
    "limitations measurements method methods note notes nurse objective objectives observations outcome outcomes "
    "participants patient patients procedure purpose question rationale reason result results sample scope section "
    "setting settings significance source step study subjects summary synopsis table tip title warning "
    "antecedentes conclusiones conclusión ejemplo introducción método métodos nota objetivo objetivos paciente "
    "pregunta respuesta resultado resultados resumen advertencia médico"
)
_PART_WORDS = frozenset(_PARTS.split())
# The meaning is elsewhere, is a list, or is cut off.
_NO_MEANING = re.compile(
    r"(?:as|is|are|has been) (?:so )?(?:defined|specified|referred to)|within the meaning|meaning (?:given|assigned)"
    r"|referred to as such|(?:as|in the sense) of (?:Article|point)|the following|[:：—–]\s*$|\(\s*\*|<|\||[“\"‘]$"
    r"|tal como se defin|definid[oa]s? en|los? siguientes?|下列|以下|第.{1,9}条|[：]|前款|前项|上述",
    re.IGNORECASE,
)
_ABOUT_ITSELF = re.compile(  # a remark on the entry
    r"\b(?:this|these) (?:terms?|features?|findings?|phenotypes?|abnormalit(?:y|ies)|signs?)\b|\bNote\b|\bsynonym",
    re.IGNORECASE,
)
_SPOKEN = re.compile(r"\b(?:I|you|your|we|my|yo|usted|nosotros)\b|[?？]", re.IGNORECASE)
_PAIRS = ("()", "[]", "“”", "«»", "（）", "《》")


def find_definitions(passage: str, language: str) -> list[Definition]:
    """The definitions of a passage, in order.

    Of a term that is defined twice there is none, nor one that hardly says more than the term does ("Hill areas": such
    areas as are declared to be Hill areas).
    """
    definitions = [*_statements(passage, language), *_entries(passage, language)]
    terms = [definition.term.casefold() for definition in definitions]
    return [
        each
        for each, term in zip(definitions, terms, strict=True)
        if terms.count(term) == 1 and _repeated_share(each, language) <= MAX_REPEATED
    ]


def _statements(passage: str, language: str) -> Iterator[Definition]:
    """Of sentences that say what a term means."""
    pattern = _STATEMENTS.get(language)
    for match in pattern.finditer(passage) if pattern else ():
        meaning = match["meaning"]
        if language != "zh":
            is_item = passage[match.end() : match.end() + 1] == ";"  # of a list, so it may end without a full stop
            meaning = first_sentence(f"{meaning}." if is_item else meaning) or ""
        start = match.start("start") if language == "zh" else match.start()
        meaning = meaning.strip().rstrip(".。").rstrip()
        statement = passage[start : match.start("meaning") + len(meaning)]
        if _is_meaning(meaning, language):
            yield Definition(match["term"].strip(" ,"), meaning, _as_sentence(statement, language))


def _entries(passage: str, language: str) -> Iterator[Definition]:
    """Of a passage all of whose paragraphs are entries of a glossary."""
    paragraphs = [line for line in passage.splitlines() if line.strip()]
    entries = [match for match in map(_LABEL.match, paragraphs) if match and _is_term(match["term"])]
    if not MIN_ENTRIES <= len(entries) == len(paragraphs):
        return
    for entry in entries:
        meaning = entry["meaning"].rstrip()
        is_whole = meaning.endswith((".", "。")) and not _ABOUT_ITSELF.search(meaning)
        meaning = meaning.rstrip(".。")
        if is_whole and not meaning[:1].islower() and _is_meaning(meaning, language):
            yield Definition(entry["term"].strip(), meaning, _as_sentence(entry[0], language))


def _repeated_share(definition: Definition, language: str) -> float:
    """The share of the words of a term (in Chinese: of its pairs of characters) that its meaning has too."""
    term, meaning = definition.term.casefold(), definition.meaning.casefold()
    if language == "zh":
        pairs = [term[place : place + 2] for place in range(len(term) - 1)]
        return sum(pair in meaning for pair in pairs) / max(1, len(pairs))
    words = [word for word in re.findall(r"\w+", term) if len(word) > MIN_STEM - 2]
    stems = {word[:MIN_STEM] for word in re.findall(r"\w+", meaning)}
    return sum(word[:MIN_STEM] in stems for word in words) / max(1, len(words))


def _is_term(label: str) -> bool:
    words = re.findall(r"\w+", label.casefold())
    return 0 < len(words) <= MAX_TERM_WORDS and words[0] not in _PART_WORDS and not _SPOKEN.search(label)


def _is_meaning(meaning: str, language: str) -> bool:
    factor = length_factor(language)
    return (
        MIN_CHARS * factor <= len(meaning) <= MAX_CHARS * factor
        and not _NO_MEANING.search(meaning)
        and not _SPOKEN.search(meaning)
        and all(meaning.count(left) == meaning.count(right) for left, right in _PAIRS)
        and meaning.count("‘") <= meaning.count("’")  # which is the apostrophe too
        and meaning.count('"') % 2 == 0
    )


def _as_sentence(statement: str, language: str) -> str:
    return " ".join(statement.split()).rstrip(" ;.。；") + ("。" if language == "zh" else ".")

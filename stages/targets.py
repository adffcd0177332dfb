"""Targets: the sentence of a passage that a row is about, where a task does not ask about the whole passage."""

import re

from stages.sources.passages import length_factor, split_sentences

MIN_CHARS, MAX_CHARS = 60, 420  # of a target, in characters
MIN_PASSAGE_SHARE = 1.7  # characters of the passage for each character of the sentence
_SPEAKER = re.compile(r"^(?:\[\w+\]|(?:doctor|patient|nurse|clinician|guest\w*)(?: \w+)?:)\s+", re.IGNORECASE)
_NUMBERING = re.compile(r"^(?:\(?\w{1,4}[.)]|[-•*–])\s+")
# Sentences that begin like these lean on the one before.
_LEANING = {
    "en": "it this these they those such however he she his her its their that there here and but or so thus "
    "then therefore hence also another other others both each neither provided first second third yes no "
    "is are was were has have had may can might must does did would should could characterized caused seen includes "
    "well as furthermore moreover additionally finally instead meanwhile afterwards again conversely "
    "similarly consequently in",
    "es": "esto esta este estos estas ese esa eso esos esas él ella ellos ellas su sus lo se y pero o así entonces "
    "además también otro otra otros otras ambos cada finalmente posteriormente sin por no es son tiene "
    "luego ello aquí ahí allí mientras dicho dicha dichos dichas éste ésta éstos éstas ése ésa usualmente todavía casi "
    "específicamente alternativamente indica significa contiene incluye utiliza ofrece funciona sirve",
    "zh": "",
}
_LEANING_WORDS = {language: frozenset(words.split()) for language, words in _LEANING.items()}
_LEANING_SPANISH = re.compile(  # en este caso, para todo esto
    r"^(?:\w+ ){0,4}(?:en|para|con|de|desde|tras|durante|a) (?:est|es)[aeo]s?\b"
    r"|^(?:el|la|los|las) \w+ que \w+ (?:est|es)[aeo]s?\b|^en ambos casos\b"
    r"|^(?:en|para) (?:el|la|los|las) (?:primer|segund|tercer|otr|últim)\w* (?:caso|ejemplo|lugar)\b"
    r"|^(?:el (?:primero|tercero)|l[ao]s? (?:primer|segund|tercer)[oa]s? (?:\(|es|son|tiene|permite|consiste))"
    r"|\b(?:todo|por|para|con) (?:esto|eso|ello)\b"
    r"|^(?:de hecho|de forma alternativa|como (?:implica|indica) su"
    r"|si (?:no )?l[aeo]s?|(?:el|la|los|las) siguientes?)\b"
    r"|^\w+[ai]d[oa]s? (?:al|en|por|como|con)\b"
    r"|^(?:much|algun|vari)[oa]s (?:son|est[áa]n|tienen|pueden|permiten|funcionan|ven)\b",
    re.IGNORECASE,
)
_ENGLISH = re.compile(  # not translated
    r"(?:\b(?:the|of|and|is|are|with|for|to|from|can|will|be|by|on|that)\b.*){2}", re.IGNORECASE
)
_LEANING_HAN = re.compile(
    r"^[\"“]|^[^，。；]{0,12}(?:修改为|规定：)|^(?:第[零一二三四五六七八九十百千]+条\s*)?"
    r"(?:（[一二三四五六七八九十]+）|情节|拒不|逾期|造成|构成|有前|有上|违反前|其|该|此|这|那|但|并|且|而|或|因此|同时|另外|前款|前项|基于上述|本条规定|本款|上述|以上|他|她|它|对此|所以"
    r"|[^，]{2,12}后，(?:应当|可以|不得|必须))"  # after that … shall: who is said before
)
_EXCEPTION = {  # such a sentence takes back a part of the one before it
    "en": re.compile(
        r"provided (?:further )?that|by way of derogation|(?:this|the \w+|paragraphs?)\b.{0,40}\bnot apply\b",
        re.IGNORECASE,
    ),
    "es": re.compile(r"(?:sin embargo|no obstante|salvo|se except[úu]a)", re.IGNORECASE),
    "zh": re.compile(r"但|有下列情形之一的除外"),
}
# "in" leans only in phrases such as these
_IN_PHRASE = re.compile(
    r"^in (?:addition|this|these|that|such|contrast|particular|other|all|both|its|their)\b", re.IGNORECASE
)
_LEANING_ENGLISH = re.compile(  # "Patients present with …": of which disease was said before
    r"^(?:the )?(?:(?:affected|most|many|some|all) )?(?:patients?|infants?|newborns?|children|individuals?|males"
    r"|females|families|participants|students|subjects)\b"
    r"(?! (?:with|without|who|whose|of|in|from|under\w*|having|aged|receiving|diagnosed|treated|suffering|infected)\b)",
    re.IGNORECASE,
)
_AIMS = (
    r"(?:test|determine|assess|evaluate|examine|investigate|compare|describe|explore|establish|identify|measure|study)"
)
_NO_STATEMENT = (
    re.compile(  # an aim; the end of a date, or of a quotation that began before; something said before; signatures
        rf"^To (?:\w+ly )?{_AIMS}\b(?!.*, we\b)|^(?i:{_AIMS}) (?:the|an?|whether|if|how)\b"
        r"|^\d{1,2}, \d{4}\b|^\d+ (?:that|which|who|of|and|or|to)\b|&\w+;|\(\s?\*"
        r"|^[^‘]*[.;]’|\b[Tt]his (?:feature|finding|abnormality|phenotype|term)\b"
        r"|\b(?:Done at|For the European Parliament)\b"
    )
)
_SPOKEN = {  # what is said to somebody
    "en": re.compile(r"\b(?:I|I'm|me|my|you|your|uh|um|okay)\b|\bas well\.$"),
    "es": re.compile(
        r"^(?:\w+,? )?\w+[aei]mos\b"  # describamos, primero veamos
        r"|^(?:sepa|recuerde|consulte|tenga|note|vea|observe|aseg[uú]rese|imagine|suponga|considere)\b"
        r"|\b(?:nosotr[oa]s|nuestr[oa]s?|debemos|podemos|tenemos|hemos|vamos)\b",
        re.IGNORECASE,
    ),
}
_TWO_SENTENCES = re.compile(r"(?:[a-z]{2}|\d|\)|\d ?[a-zA-Z%]{1,2})\. (?:\d+\. )?[A-Z]")  # "for 1 h. Then"
_CITATION = re.compile(r"(?:See,? )?[A-Z][^,;]{1,100} v\. [^;]{1,100}?, \d{1,4} (?:F\.|U\.|S\.|L\.|WL)[^;]{1,60}\)\.$")
_OPENED = re.compile(r"[‘“«(]\W*\d*\.$")  # a quotation that begins and does not go on
_ABBREVIATED = re.compile(
    r"\b(?:[A-Z]|Ct|Cir|Supp|Nos?|Inc|Ltd|Co|Corp|Jr|Sr|Dr|Mrs?|Ms|St|vs?|al|[Aa]rts?|[Pp]aras?|Jan|Feb|Mar|Apr|Aug|Sept?"
    r"|Oct|Nov|Dec|[Pp]er cent)\.$"
)  # so a sentence may be cut off
_MARK = {"zh": "。", "en": ".", "es": "."}


def targets(passage: str, language: str) -> list[str]:
    """The sentences of a passage that say something by themselves.

    Such a sentence ends with a full stop, has MIN_CHARS to MAX_CHARS characters (a third of it in Chinese), begins with
    a capital, does not lean on the sentence before ("It …", "However, …"), and is not limited by the one after it
    ("Provided that …"). Names of speakers and numbers of clauses before it are left out. A passage that is hardly
    longer than the sentence has none: it would give the answer away.
    """
    sentences = [_NUMBERING.sub("", _SPEAKER.sub("", raw)) for raw in split_sentences(passage)]
    exception = _EXCEPTION.get(language)
    return [
        sentence
        for before, sentence, following in zip(["", *sentences], sentences, [*sentences[1:], ""], strict=False)
        if _stands_alone(sentence, language)
        and not before.endswith("；")  # whose subject it may share
        and len(passage) >= MIN_PASSAGE_SHARE * len(sentence)
        and not (exception and exception.match(following))
    ]


def _stands_alone(sentence: str, language: str) -> bool:
    factor = length_factor(language)
    if not MIN_CHARS * factor <= len(sentence) <= MAX_CHARS * factor or not sentence.endswith(_MARK.get(language, ".")):
        return False
    if any(sentence.count(left) != sentence.count(right) for left, right in ("()", "[]", "“”", "《》")):
        return False
    if sentence.count('"') % 2 or "<" in sentence or "|" in sentence:  # half of a quotation, or markup
        return False
    if (spoken := _SPOKEN.get(language)) and spoken.search(sentence):
        return False
    if _TWO_SENTENCES.search(sentence) or _OPENED.search(sentence) or _ABBREVIATED.search(sentence):
        return False
    if language == "zh":
        return not _LEANING_HAN.match(sentence)
    if language == "es" and (_LEANING_SPANISH.search(sentence) or _ENGLISH.search(sentence)):
        return False
    if language == "en" and (_LEANING_ENGLISH.match(sentence) or _NO_STATEMENT.search(sentence)):
        return False
    if language == "en" and _CITATION.match(sentence):
        return False
    first = re.match(r"\w+", sentence)
    if first is None or not (sentence[0].isupper() or sentence[0].isdigit()):
        return False
    word = first[0].casefold()
    return bool(word == "in" and not _IN_PHRASE.match(sentence)) or word not in _LEANING_WORDS.get(language, ())

"""Names in a text: people, places, organisations, acts, medicines, each recognised by some evidence.

In English and Spanish the evidence is a capital letter, but not at the start of a sentence, a line or a quotation.
Medicines are recognised by the stems of their international names (WHO, The use of stems in the selection of INN).
Chinese has no capitals: acts and works in 《》 are names, and people with their title.
"""

import re
import unicodedata
from collections.abc import Iterator

from filters.text.words import HAN, words

_LETTERS = "A-Za-zÀ-ÖØ-öø-ÿĀ-ž"
_WORD = re.compile(rf"[{_LETTERS}]+(?:[’'-][{_LETTERS}]+)*")
_CAPITAL = re.compile(rf"(?=[A-ZÀ-ÖØ-Þ])[{_LETTERS}](?=[^’'-]*[a-zß-öø-ÿ])")  # not a word all in capitals
_PARTICLES = re.compile(r"of|the|for|and|de|del|la|las|los|y|e|von|van|da|do")  # within a name
_TITLED = re.compile(r"\b(?:dra?|mr?s?|sra?|prof|professor|judge|justice|juez|doctor)\.?\s+$", re.IGNORECASE)
# a full stop that ends no sentence: after a title or an initial, in citations, before numbers
_SHORT = re.compile(
    rf"(?:^|[^{_LETTERS}])(?:dra?|mr?s?|sra?|prof|jr|st|vs?|no|art|inc|ltd|co|corp|etc|[{_LETTERS}])\.\s*$",
    re.IGNORECASE,
)
_STARTS = re.compile(
    r"[.!?…:;•*#|>\n\"“«¿¡\[‘]\s*[\"“«'‘(\[*_]*\s*$|^\s*[\"“«'‘(\[*_-]*\s*$|[-–—•*]\s+$"
    r"|(?:^|\n)\s*\(?\w{1,3}[.)]\s*$|\s['(]$"
)
# words before a term that the text defines: the Controller, your Account
_ARTICLE = re.compile(
    r"\b(?:the|an?|this|that|these|each|every|any|all|our|your|its|their|his|her|my|el|la|los|las|una?|su|sus|del|al)\s+$",
    re.IGNORECASE,
)
_LABEL = re.compile(r"[ *_]*:")
_DOTS = re.compile(r"(?<=\b[A-Z])\.(?=[A-Z]\.|\W)")
_COMPARED_LETTERS = 6  # longer words are compared by their beginning: Constitutional and Constitution
_COMMON_WORDS = """
monday tuesday wednesday thursday friday saturday sunday january february march april may june july august september
october november december american african asian european english british french german spanish italian chinese
japanese indian latin greek roman western eastern northern southern christian christmas internet web god earth
act acts court courts article articles section sections part parts title chapter annex schedule rule rules law laws
state states member members union government constitution parliament president minister ministers council commission
committee department office agency authority board judge justice plaintiff plaintiffs defendant defendants party
parties agreement contract regulation regulations directive code statute federal national supreme district appeals
patient patients doctor doctors miss madam hello thanks okay inc corp dept ltd jan feb mar apr jun jul aug sept oct nov
dec summer winter spring autumn fall first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth
thirteenth fourteenth amendment amendments clause rights ley leyes tribunal juez artículo artículos estado gobierno
constitución ministerio comisión consejo unión presidente table figure box note question answer summary
passage text context conclusion results methods background objective
"""
_COMMON = frozenset(words(_COMMON_WORDS))
_STEMS = """
mab nib pril sartan vastatin conazole nidazole prazole cillin mycin floxacin olol dipine gliptin gliflozin glutide
cyclovir navir tegravir buvir caine setron triptan parin xaban gatran lukast thiazide semide zepam zolam oxetine cycline
platin rubicin taxel glitazone formin profen coxib dronate buterol meterol tropium asone isone olone barbital
sartán vastatina conazol nidazol prazol cilina micina floxacino dipino gliptina gliflozina glutida caína setrón triptán
parina xabán gatrán tiazida semida oxetina ciclina platino rubicina glitazona formina profeno dronato tropio asona
isona olona
"""
_DRUG = re.compile(
    rf"(?<![{_LETTERS}-])(?!April)[{_LETTERS}][a-zß-öø-ÿ]{{2,}}(?:{'|'.join(_STEMS.split())})s?(?![{_LETTERS}])"
)
_WORK = re.compile(r"《([^《》\n]{1,60})》")
_SURNAMES = """
王李张刘陈杨黄赵吴周徐孙马朱胡郭何高林罗郑梁谢宋唐许韩冯邓曹彭曾肖田董袁潘蒋蔡余杜叶程苏魏吕丁沈姚卢姜崔钟谭陆汪范金石廖
贾夏韦付方白邹孟熊秦邱江尹薛闫段雷侯龙史陶黎贺顾毛郝龚邵万钱严覃武戴莫孔向汤
""".replace("\n", "")
_PERSON = re.compile(
    rf"(?:(?<![\u4e00-\u9fff])|(?<=[据由经向与和是被]))((?!高[级等])(?:[{_SURNAMES}]|欧阳|司马|上官|诸葛)[\u4e00-\u9fff]{{0,2}}?)"
    "(?:法官|教授|医生|医师|律师|博士|先生|女士|主任|院长)"
)


def unsupported(answer: str, source: str) -> list[str]:
    """The answer's names that have a word which is not in the source, in order, as they are written."""
    known = _known_words(source)
    normalized = unicodedata.normalize("NFKC", source)
    missing = [name for name in names(answer) if not _is_supported(name, known, normalized)]
    return list(dict.fromkeys(missing))


def names(text: str) -> Iterator[str]:
    """The names of a text: works, people with titles, medicines, then runs of capitalised words."""
    plain = unicodedata.normalize("NFKC", text)
    yield from (match[1] for match in _WORK.finditer(plain))
    yield from (match[1] for match in _PERSON.finditer(plain))
    for match in _DRUG.finditer(plain):
        yield match[0]
    start = 0
    for line in plain.splitlines(keepends=True):
        if not _is_heading(line):
            yield from _capitalised(plain, start, start + len(line))
        start += len(line)


def _is_heading(line: str) -> bool:
    """Whether a line is in title case without a final mark, or is marked as a heading."""
    long_words = [match[0] for match in _WORD.finditer(line) if len(match[0]) > 3]
    capital = sum(bool(_CAPITAL.match(word)) or word.isupper() for word in long_words)
    ended = re.search(r"[.!?…][\"”»')\]]*\s*$", line)
    return line.lstrip().startswith("#") or (not ended and len(long_words) < 12 and capital * 2 > len(long_words))


def _capitalised(text: str, start: int, stop: int) -> Iterator[str]:
    """Names made of capitalised words within a sentence, and of the particles between them."""
    run: list[re.Match[str]] = []
    for match in _WORD.finditer(text, start, stop):
        gap = text[run[-1].end() : match.start()] if run else ""
        if run and not gap.isspace() and not (gap == ". " and _SHORT.search(text[run[-1].start() : match.start()])):
            yield from _name(text, run)
            run = []
        may_be_name = run or not _at_start(text[max(match.start() - 12, 0) : match.start()])
        if (_CAPITAL.match(match[0]) and may_be_name) or (run and _PARTICLES.fullmatch(match[0])):
            run.append(match)
        else:
            yield from _name(text, run)
            run = []
    yield from _name(text, run)


def _name(text: str, run: list[re.Match[str]]) -> Iterator[str]:
    while run and _PARTICLES.fullmatch(run[-1][0]):
        run = run[:-1]
    distinctive = [match for match in run if words(match[0])[0] not in _COMMON and len(match[0]) > 3]
    if not distinctive or _LABEL.match(text, run[-1].end()):
        return
    if len(run) > 1 or not _ARTICLE.search(text[max(run[0].start() - 8, 0) : run[0].start()]):
        yield " ".join(match[0] for match in run)


def _at_start(before: str) -> bool:
    """Whether a sentence, line, label or quotation starts after these characters, and not a name after its title."""
    if _TITLED.search(before):
        return False
    return bool(_STARTS.search(before)) and not (before.rstrip().endswith(".") and _SHORT.search(before))


def _known_words(source: str) -> set[str]:
    """The stems and beginnings of the source's words, and its abbreviations."""
    plain = _DOTS.sub("", unicodedata.normalize("NFKC", source))
    tokens = words(source)
    short = {word.casefold() for word in re.findall(r"\b[A-ZÀ-Þ]{2,6}\b", plain)}
    return (
        {stem(word) for word in tokens}
        | {word[:_COMPARED_LETTERS] for word in tokens if len(word) >= _COMPARED_LETTERS}
        | short
    )


def _is_supported(name: str, known: set[str], source: str) -> bool:
    if HAN.search(name):
        return name in source or name.removeprefix("中华人民共和国") in source
    capital = " ".join(part for part in re.split(r"[\s-]", name) if part[:1].isupper()) or name
    parts = [word for word in words(capital) if len(word) > 2 or not word.isascii()]
    abbreviated: set[int] = set()  # indices of the words that an abbreviation in the source stands for
    for start in range(len(parts)):
        for stop in range(start + 2, min(start + 6, len(parts)) + 1):
            if "".join(word[0] for word in parts[start:stop]) in known:
                abbreviated |= set(range(start, stop))
    return all(
        index in abbreviated or word in _COMMON or stem(word) in known or word[:_COMPARED_LETTERS] in known
        for index, word in enumerate(parts)
    )


def stem(word: str) -> str:
    """A word without the s of a plural: Ministers and Minister become equal."""
    return word[:-1] if len(word) > 4 and word.endswith("s") else word

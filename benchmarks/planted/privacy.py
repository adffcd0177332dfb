"""Personal data planted in real passages: what `privacy` finds of it, and what it finds where there is none.

    python benchmarks/planted/privacy.py [PASSAGES] [--show]

Every kind is planted in passages of the packaged corpora of its languages, bare or after a label, at the end of a word
anywhere in the passage; the numbers are drawn here, by their own check-digit arithmetic. A planted item is found when
every letter and digit of it is masked. False findings are those that touch no planted item, counted in the planted
passages, in as many that nothing was planted in, and in hard negatives. Contact data that real passages hold are
reviewed below and left out of both counts. `--show` prints every miss and every false finding.
"""

import random
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator

from benchmarks.figures import Figures, processor
from configs import catalogue
from filters.privacy import ALL_KINDS
from filters.text.personal import Found, find
from stages.sources.corpora import read_corpus
from stages.sources.passages import cut

Draw = Callable[[random.Random], str]
# Addresses of the public that the corpora hold, looked at one by one: left out of both counts and printed apart.
REVIEWED = re.compile(
    r"@(?:lists\.|bugs\.)?debian\.org$|@(?:[a-z]+\.)?(?:falcot|example)\.com$"
    r"|^(?:130\.89\.148\.77|2001:67c:2564:a119::77|213\.244\.11\.247)$"  # web servers in examples of the handbook
    r"|^(?:3-8-4-9-2-0|5484367|869723)$"  # patients of ACI-BENCH, who were made up
)


def digits(rng: random.Random, count: int, first: str = "0123456789") -> str:
    return rng.choice(first) + "".join(rng.choice("0123456789") for _ in range(count - 1))


def grouped(number: str, sizes: tuple[int, ...], mark: str) -> str:
    parts, place = [], 0
    for size in sizes:
        parts.append(number[place : place + size])
        place += size
    return mark.join(part for part in [*parts, number[place:]] if part)


def email(rng: random.Random) -> str:
    first = rng.choice(
        ["maria", "john.smith", "li_wei", "a.garcia+news", "j-doe", "x99", "ANNA.KING", "o'neill", "wang1987", "núria"]
    )
    host = rng.choice(
        ["gmail.com", "hotmail.es", "163.com", "qq.com", "nhs.uk", "uni-koeln.de", "a-b.co.uk", "salud.gob.mx"]
    )
    at = rng.choice(["@"] * 9 + [" [at] "])
    return first + (str(rng.randrange(100)) if rng.random() < 0.3 else "") + at + host


def us_phone(rng: random.Random) -> str:
    area = rng.choice(["212", "415", "305", "617", "702", "206", "312", "404", "713", "503"])
    tail, last = digits(rng, 3, "23456789"), digits(rng, 4)
    tail = "555" if tail.endswith("11") else tail
    form = "({}) {}-{}|{}-{}-{}|{}.{}.{}|+1 {} {} {}|+1-{}-{}-{}|1-{}-{}-{}|({}){}-{}|+1 ({}) {}-{}|{} {} {}|+1{}{}{}"
    form += "|{}{}{}|{}-{}-{}x42|001-{}-{}-{}"
    return rng.choice(form.split("|")).format(area, tail, last)


def gb_phone(rng: random.Random) -> str:
    if rng.random() < 0.5:
        form = "07{} {}|+44 7{} {}|+447{}{}|(+44) 7{} {}|07{}-{}"
        return rng.choice(form.split("|")).format(rng.choice(["911", "700", "400", "812", "985"]), digits(rng, 6))
    a, b = digits(rng, 3, "79"), digits(rng, 4)
    return rng.choice(["020 {} {}", "(020) {} {}", "+44 20 {} {}", "020-{}-{}"]).format(f"7{a}"[:4], b)


def es_phone(rng: random.Random) -> str:
    if rng.random() < 0.25:
        form = "+52 55 {} {}|55 {} {}|(55) {}-{}|+52 (55) {} {}"
        return rng.choice(form.split("|")).format(digits(rng, 4, "5"), digits(rng, 3) + rng.choice("123456789"))
    number = rng.choice(["61", "63", "65", "67", "91", "93"]) + digits(rng, 6) + rng.choice("123456789")
    mark = rng.choice(" -.")
    shape = rng.choice([(3, 3), (3, 2, 2), (9,)])
    if shape == (9,) and number[0] == "9":
        shape = (2, 3, 2)
    return rng.choice(["", "", "+34 ", "0034 ", "(+34) "]) + grouped(number, shape, mark)


def zh_phone(rng: random.Random) -> str:
    if rng.random() < 0.3:
        form = "010-{}{}|(021) {}{}|0755-{}{}|+86 10 {} {}|（020）{}{}|010 {} {}"
        return rng.choice(form.split("|")).format(digits(rng, 4, "2368"), digits(rng, 4))
    number = rng.choice(["138", "139", "150", "186", "177", "199"]) + digits(rng, 8)
    form = rng.choice(["{}", "{}", "+86 {}", "+86-{}", "0086{}", "(+86){}"]).format(
        grouped(number, *rng.choice([((11,), ""), ((3, 4), "-"), ((3, 4), " ")]))
    )
    return form.translate({48 + n: 0xFF10 + n for n in range(10)}) if rng.random() < 0.1 else form


def ip(rng: random.Random) -> str:
    if rng.random() < 0.3:
        words = [f"{rng.randrange(1, 65536):x}" for _ in range(6)]
        return rng.choice(["2001:67c:" + ":".join(words), f"2a02:{words[0]}::{words[1]}", "2606:4700::" + words[2]])
    return ".".join(str(rng.randrange(1, 255)) for _ in range(3)).join(
        [rng.choice(["8", "52", "81", "93", "151", "203"]) + ".", ""]
    )


def us_ssn(rng: random.Random) -> str:
    area = rng.choice([n for n in range(1, 900) if n != 666])
    return grouped(f"{area:03}{rng.randrange(1, 100):02}{rng.randrange(1, 10000):04}", (3, 2), rng.choice("-- "))


def dni(rng: random.Random) -> str:
    letters = "TRWAGMYFPDXBNJZSQVHLCKE"
    if rng.random() < 0.3:
        lead, rest = rng.randrange(3), digits(rng, 7)
        letter, mark = letters[int(f"{lead}{rest}") % 23], rng.choice(["", "-"])
        return f"{'XYZ'[lead]}{mark}{rest}{mark}{letter}"
    number = digits(rng, 8)
    text = rng.choice([number, f"{number[:2]}.{number[2:5]}.{number[5:]}"])
    letter = letters[int(number) % 23]
    return text + rng.choice(["", "-", " "]) + letter if rng.random() < 0.9 else number + letter.lower()


def resident(rng: random.Random) -> str:
    body = rng.choice(["110105", "310115", "440305", "510107", "610113", "420106"])
    body += f"{rng.randrange(1940, 2015)}{rng.randrange(1, 13):02}{rng.randrange(1, 29):02}{digits(rng, 3)}"
    weights = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
    number = body + "10X98765432"[sum(int(c) * w for c, w in zip(body, weights, strict=True)) % 11]
    return rng.choice([number, number, number.lower(), grouped(number, (6, 8), " ")])


def nhs(rng: random.Random) -> str:
    while True:
        body = digits(rng, 9, "467")
        check = 11 - sum(int(c) * (10 - place) for place, c in enumerate(body)) % 11
        if check != 10:
            number = body + str(check % 11)
            return rng.choice(
                [f"NHS number {number}", grouped(number, (3, 3), " "), f"NHS no. {grouped(number, (3, 3), '-')}"]
            )


def nino(rng: random.Random) -> str:
    number = rng.choice(["AB", "CE", "JK", "PR", "SY"]) + digits(rng, 6) + rng.choice("ABCD")
    return rng.choice([number, grouped(number, (2, 2, 2, 2), " ")])


def curp(rng: random.Random) -> str:
    born = f"{rng.randrange(50, 99)}{rng.randrange(1, 13):02}{rng.randrange(1, 29):02}"
    body = "GOM" + rng.choice("AEX") + born + rng.choice("HM") + rng.choice(["DF", "JC", "NL"]) + "RMN0"
    alphabet = "0123456789ABCDEFGHIJKLMNÑOPQRSTUVWXYZ"
    return body + str(-sum(alphabet.index(c) * (18 - place) for place, c in enumerate(body)) % 10)


def aadhaar(rng: random.Random) -> str:
    body = digits(rng, 11, "23456789")
    number = next(body + str(n) for n in range(10) if _verhoeff(body + str(n)) == 0)
    return rng.choice([grouped(number, (4, 4), " "), f"Aadhaar {number}", grouped(number, (4, 4), "-")])


def _verhoeff(number: str) -> int:
    """The dihedral group of ten, by its rule instead of its table."""
    turn = (1, 5, 7, 6, 2, 8, 3, 0, 9, 4)
    check = 0
    for place, character in enumerate(reversed(number)):
        value = int(character)
        for _ in range(place % 8):
            value = turn[value]
        flip = check >= 5
        remainder = (-(value % 5) if flip else value % 5) + check % 5
        check = remainder % 5 + 5 * (flip != (value >= 5))
    return check


def card(rng: random.Random) -> str:
    head, size = rng.choice(
        [("4", 16), ("53", 16), ("37", 15), ("6011", 16), ("62", 16), ("2221", 16), ("62", 19), ("3530", 16)]
    )
    body = head + digits(rng, size - 1 - len(head))
    total = sum(sum(divmod(int(c) * (1 + place % 2), 10)) for place, c in enumerate(reversed(body), 1))
    number = body + str(-total % 10)
    if size == 15:
        return grouped(number, *rng.choice([((15,), ""), ((4, 6), " "), ((4, 6), "-")]))
    return grouped(number, *rng.choice([((19,), ""), ((4, 4, 4, 4), " "), ((4, 4, 4, 4), "-")]))


def iban(rng: random.Random) -> str:
    country, bban = rng.choice(
        [("DE", digits(rng, 18)), ("GB", "NWBK" + digits(rng, 14)), ("NL", "ABNA" + digits(rng, 10)), ("ES", _ccc(rng))]
    )
    check = 98 - int("".join(str(int(c, 36)) for c in bban + country + "00")) % 97
    number = f"{country}{check:02}{bban}"
    return rng.choice([number, grouped(number, (4,) * 8, " "), grouped(number, (4,) * 8, "-"), number.lower()])


def _ccc(rng: random.Random) -> str:
    """A Spanish account: bank, office, two check digits, number."""
    bank, account = rng.choice(["2100", "0049", "0182"]) + digits(rng, 4), digits(rng, 10)
    weights = (1, 2, 4, 8, 5, 10, 9, 7, 3, 6)
    marks = (11 - sum(int(c) * w for c, w in zip(part, weights, strict=True)) % 11 for part in ("00" + bank, account))
    return bank + "".join({10: "1", 11: "0"}.get(mark, str(mark)) for mark in marks) + account


def record(labels: str) -> Draw:
    def draw(rng: random.Random) -> str:
        number = rng.choice(
            [digits(rng, 7, "123456789"), "H" + digits(rng, 6), digits(rng, 6, "1234") + "-" + digits(rng, 2)]
        )
        return rng.choice(labels.split("|")) + number

    return draw


def passport(labels: str) -> Draw:
    return lambda rng: rng.choice(labels.split("|")) + rng.choice(["", "E", "PA", "X"]) + digits(rng, 8)


PLANTS: list[tuple[str, str, Draw]] = [
    *[("email", language, email) for language in ("en", "es", "zh")],
    *[("ip", language, ip) for language in ("en", "es", "zh")],
    *[("card", language, card) for language in ("en", "es", "zh")],
    *[("iban", language, iban) for language in ("en", "es", "zh")],
    ("phone", "en", us_phone),
    ("phone", "en", gb_phone),
    ("phone", "es", es_phone),
    ("phone", "zh", zh_phone),
    ("ssn", "en", us_ssn),
    ("nhs", "en", nhs),
    ("nino", "en", nino),
    ("aadhaar", "en", aadhaar),
    ("dni", "es", dni),
    ("curp", "es", curp),
    ("resident_id", "zh", resident),
    (
        "record",
        "en",
        record(
            "MRN |MRN: |medical record number |patient ID: |Medical record no. |MRN# |hospital number is |chart number "
        ),
    ),
    (
        "record",
        "es",
        record("historia clínica n.º |NHC: |número de historia clínica |N.º de historia: |ID del paciente |HC nº "),
    ),
    ("record", "zh", record("病历号：|病历号 |住院号|病案号为|门诊号:|患者编号：|患者ID：")),
    ("passport", "en", passport("passport |passport no. |Passport Number: ")),
    ("passport", "es", passport("pasaporte |pasaporte n.º |número de pasaporte ")),
    ("passport", "zh", passport("护照号|护照号码：|护照：")),
]
# What may precede an item, by kind; half of the items have nothing before them.
CARRIERS = {
    "email": {"en": "email: |write to ", "es": "correo: |escriba a ", "zh": "邮箱：|邮箱是|请联系"},
    "phone": {
        "en": "call |Tel. |phone: |his mobile is ",
        "es": "llame al |tel. |teléfono: |móvil ",
        "zh": "电话：|手机号|请拨打|联系电话",
    },
    "ip": {"en": "from |IP address ", "es": "desde |la IP ", "zh": "IP地址为|来自"},
    "card": {"en": "card |Visa ", "es": "tarjeta |con la tarjeta ", "zh": "银行卡号|卡号："},
    "iban": {"en": "IBAN |to account ", "es": "IBAN |cuenta ", "zh": "账户|IBAN："},
    "ssn": {"en": "SSN |Social Security number "},
    "dni": {"es": "DNI |con DNI n.º |NIE "},
    "resident_id": {"zh": "身份证号|身份证号码：|公民身份号码为"},
    "curp": {"es": "CURP |con CURP: "},
    "nino": {"en": "NI number |National Insurance "},
}
NEGATIVES = {
    "en": "Case C-131/12 of 13 May 2014|ECLI:EU:C:2014:317|42 U.S.C. § 1983 and 28 U.S.C. § 1331|"
    "Regulation (EU) 2016/679|No. 1:09-cv-01234-ABC|Case No. 2:15-cv-09876|45 C.F.R. § 164.512(b)(1)|"
    "Section 12.3.4.1 of the lease|DFARS 252.227-7013|410 U.S. 113, 164-65 (1973)|HP:0001250 and HP:0002133|"
    "ICD-10 code E11.9, I10 and F32.1|blood pressure 120/80 mmHg, pulse 72|sodium 138 mmol/L, glucose 5.6|"
    "NCT01234567 and NCT04567890|PMID: 12345678; PMC3456789|doi:10.1016/j.jclinepi.2009.06.005|"
    "500 mg every 8 hours for 10 days|EC 3.4.21.68 and EC 1.14.13.39|OMIM 154700, ORPHA:558|CAS 50-78-2|"
    "version 10.12.4.2|ISBN 978-3-16-148410-0|1 200 000 people and 3,456,789 cells|"
    "between 1998 and 2004, pages 1234-1250|the 2010-2015 period|GenBank NM_000546.6|chr17:7668402-7687550|"
    "rs1042522|95% CI 1.23-4.56, p = 0.0003|PubMed 31452104 31452105 31452106|12 03 2019 14:30|"
    "1,234,567.89 dollars|$ 212 555 000|docket 03-1234-56|patent US 6,285,999 B1|CELEX 32016R0679|"
    "patient 3 of 12|the patient was 45, 170 cm|2024-11-05T10:22:33|lot 20231105-0042|room 212 of 415|"
    "USC 1396a(a)(10)|medical record of 2019|P.L. 104-191, 110 Stat. 1936|192.168.0.12 and 127.0.0.1|"
    "3.14159265358979|100 200 300 400",
    "es": "artículo 24.2 de la Constitución|Ley Orgánica 3/2018, de 5 de diciembre|STC 292/2000|"
    "ECLI:ES:TS:2019:1234|asunto C-131/12|Real Decreto 1720/2007|BOE-A-2018-16673|recurso n.º 1234/2015|"
    "sentencia 345/2011, de 23 de marzo|expediente 2019/00345|presión arterial 120/80|glucosa 126 mg/dl|"
    "650.000.000 de euros|612.345.678 euros|950 000 000 habitantes|CIE-10 E11.9|500 mg cada 8 horas|"
    "entre 1998 y 2004|HP:0001250|el 12-03-2019 a las 14:30|NCT01234567|paciente 12|historia clínica de 2019|"
    "código postal 28013|1.234.567,89 €|cuenta con 345.678.901 acciones|Reglamento (UE) 2016/679|"
    "Cláusula 4.2.1.3|DOCM 12345678|PMID 30123456|300 000 000 de pesos|leucocitos 7.500.000",
    "zh": "第十二条第二款|(2019)最高法民终123号|（2021）京01民终4567号|国发〔2015〕12号|法释[2020]17号|"
    "血压120/80mmHg|人民币13800000000元|ICD-10编码E11.9|2019年3月12日|1998-2004年|每次500mg，每日3次|"
    "HP:0001250|NCT01234567|GB 2762-2017|GB/T 35273-2020|国药准字H20123456|统一书号 9787511898765|"
    "白细胞计数7.5×10^9/L|第4.2.1.3节|共12345678人|住院3天|患者12人|病历1份|2024110512345678|编号20231105004|"
    "主席令第70号|邮政编码100032|0.00012345678",
}


def passages(count: int, held_out: bool) -> Iterator[tuple[str, str, str]]:
    """Corpus, language and text, so many of each corpus from all over it."""
    for name, corpus in catalogue.corpora().items():
        if corpus.held_out == held_out:
            texts = [text for document in read_corpus(name) for text in cut(document.text, 60, 1200)]
            step = max(1, len(texts) // count)
            yield from ((name, corpus.language, text) for text in texts[::step][:count])


def plant(rng: random.Random, text: str, kind: str, language: str, item: str) -> tuple[str, int, int]:
    """The passage with the item behind one of its words, and the item's position."""
    places = [match.end() for match in re.finditer(r"[^\W\d_](?=\s|[,.;](?:\s|$)|[，。；]|$)", text)] or [len(text)]
    place = rng.choice(places)
    label = rng.choice(CARRIERS[kind][language].split("|")) if kind in CARRIERS and rng.random() < 0.5 else ""
    opening = (
        rng.choice([" ", ", ", " ("])
        if language != "zh"
        else rng.choice(["" if text[place - 1] > "\u3000" else " ", "，", "（", " "])
    )
    closing = {" (": ")", "（": "）"}.get(opening, rng.choice(["", ".", ","] if language != "zh" else ["", "。", "，"]))
    before = text[:place] + opening + label
    after = text[place:]
    if language != "zh" and closing == "" and after[:1].isalnum():
        closing = " "
    return before + item + closing + after, len(before), len(before) + len(item)


class Count:
    """What was planted, what of it was masked and under which name, and what was found beside it."""

    def __init__(self, show: bool) -> None:
        self.show = show
        self.planted: Counter[str] = Counter()
        self.masked: Counter[str] = Counter()
        self.named: Counter[str] = Counter()
        self.false: Counter[str] = Counter()
        self.reviewed: Counter[str] = Counter()

    def stray(self, where: str, text: str, rows: list[Found]) -> None:
        """Findings where nothing was planted."""
        for start, end, kind in rows:
            known = REVIEWED.search(text[start:end]) is not None
            (self.reviewed if known else self.false)[kind] += 1
            if self.show:
                verdict = "reviewed" if known else "false"
                print(f"{verdict} {kind} in {where}: {text[max(0, start - 30) : end + 15]!r} {text[start:end]!r}")

    def judge(self, where: str, kind: str, text: str, start: int, end: int, rows: list[Found]) -> None:
        """An item at `start`: masked when no letter or digit of its number is left."""
        over = [row for row in rows if row[0] < end and row[1] > start]
        # a label drawn with the item ("MRN ", 病历号) may stay
        last = re.search(r"\S*\d\S*$", text[start:end]) if kind in ("record", "passport", "nhs", "aadhaar") else None
        start += last.start() if last and not over else 0
        left = {place for place in range(start, end) if text[place].isalnum()}
        left -= {place for row in over for place in range(row[0], row[1])}
        if over and kind in ("record", "passport", "nhs", "aadhaar"):
            left = {place for place in left if text[place].isdigit()}
        self.planted[kind] += 1
        self.masked[kind] += not left
        self.named[kind] += any(row[2] == kind for row in over)
        if self.show and left:
            print(f"missed {kind} in {where}: {text[max(0, start - 30) : end + 15]!r}")
        self.stray(where, text, [row for row in rows if row not in over])


def main() -> int:
    count = next((int(word) for word in sys.argv[1:] if word.isdigit()), 400)
    tally, kinds, rng = Count("--show" in sys.argv), frozenset(ALL_KINDS), random.Random(31)
    real = list(passages(count, held_out=False))
    size = sum(len(text) for _, _, text in real)
    for name, language, text in real:
        tally.stray(name, text, find(text, language, kinds))
    alone = tally.false.total()
    for language, texts in NEGATIVES.items():
        for text in texts.split("|"):
            for _, _, passage in rng.sample([row for row in real if row[1] == language], 5):
                whole = f"{passage} {text}. {passage[:80]}"
                tally.stray("hard negatives", whole, find(whole, language, kinds))
    hard = tally.false.total() - alone
    for kind, language, draw in PLANTS:
        for name, _, text in rng.sample([row for row in real if row[1] == language], min(count, 300)):
            whole, start, end = plant(rng, text, kind, language, draw(rng))
            tally.judge(name, kind, whole, start, end, find(whole, language, kinds))
    figures = Figures("quality", "python benchmarks/planted/privacy.py", processor())
    masked, false = tally.masked.total(), tally.false.total()
    figures.put("planted PII: recall", masked / tally.planted.total(), 0.99)
    figures.put("planted PII: precision", masked / (masked + false), 0.95)
    for kind in ALL_KINDS:
        figures.put(f"planted PII: recall, {kind}", tally.masked[kind] / tally.planted[kind], 0.99)
        precision = tally.masked[kind] / max(1, tally.masked[kind] + tally.false[kind])
        figures.put(f"planted PII: precision, {kind}", precision, 0.95)
    figures.put("planted PII: masked under its own kind's name", tally.named.total() / tally.planted.total())
    figures.put("planted PII: false findings in a million characters of real text", 1e6 * alone / size, None, "lower")
    print(
        f"{tally.planted.total()} planted; {len(real)} real passages, {size} characters: {alone} false findings there,"
    )
    print(f"{hard} in hard negatives, {false - alone - hard} beside planted items; reviewed: {dict(tally.reviewed)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Candidate rows with answers in three languages, and texts that break careless code."""

import dataclasses

from stages.record import Candidate

PASSAGE = (
    "The statute of limitations for written contracts is six years and begins when the breach occurs. A party that"
    " acknowledges the debt in writing starts the period again. Claims above 1,200 euros need a written form."
)
ZH = (
    "劳动者解除劳动合同，应当提前三十日以书面形式通知用人单位。劳动者在试用期内提前三日通知用人单位，可以解除劳动合同。"
)
ES = (
    "El plazo de prescripción de los contratos escritos es de seis años y comienza cuando se produce el incumplimiento."
)
DOSE = "The daily dose of the tablets is 1.5 g, taken in three equal parts."
GOOD = "The limitation period for a written contract is six years from the breach, and starts again on acknowledgement."

EDGES = [
    "",
    " ",
    "a",
    "法",
    "\0",
    "\ud800",
    "a\udfff" * 50,
    "😀" * 500,
    "0" * 5000,
    "1,2.3," * 500,
    "一百万" * 500 + "年",
    "(((((" * 1000,
    "हिन्दी العربية עברית ไทย 한국어 " * 20,
    "Ａ１ ①² ½ ٣٤ 年",
]


def candidate(text, language="en", **changes):
    values = {
        field.name: ""
        for field in dataclasses.fields(Candidate)
        if field.default is field.default_factory is dataclasses.MISSING
    }
    values |= {
        "text": text,
        "messages": [],
        "rejected": None,
        "language": language,
        "passage": {"en": PASSAGE, "zh": ZH, "es": ES}[language],
        "instruction": "Write one question that the passage answers, and answer it in a full sentence.",
        "finish_reason": "stop",
        "writes": "answer",
        "adapter": None,
        "seed": 1,
        "prompt_tokens": 1,
        "output_tokens": 1,
        "parents": [],
        "depth": 1,
    }
    return Candidate(**(values | changes))

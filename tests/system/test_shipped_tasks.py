"""Each shipped task, in each of its languages: a right answer passes the whole default cascade."""

import json
from functools import cache, partial

import pytest

from configs.load import load
from configs.schema import Screen
from filters.build import build_filters
from model.backends import open_generator
from model.encoder import open_encoder
from stages.generate import Generate
from stages.ports import Completion, ModelCard, judged_by
from stages.record import Candidate, Seed
from stages.screen import judge_all

pytestmark = pytest.mark.weights

CARD = ModelCard("scripted", "0", "echo", "", 0)
PASSAGES = {
    "en": (
        "The controller shall notify a breach of personal data to the supervisory authority within 72 hours. "
        "The notification describes the nature of the breach and the measures that the controller has taken. "
        "A processor that becomes aware of a breach shall inform the controller without undue delay. "
        "For this purpose “processor” means a body which handles personal data on behalf of somebody else."
    ),
    "es": (
        "El responsable notificará la violación de los datos personales a la autoridad de control en 72 horas. "
        "La notificación describe la naturaleza de la violación y las medidas que el responsable ha adoptado. "
        "El encargado que conozca una violación informará al responsable sin demora indebida. "
        "Se entenderá por «encargado» la persona u organismo que trata datos personales por cuenta ajena."
    ),
    "zh": (
        "个人信息处理者应当在七十二小时内向履行个人信息保护职责的部门报告个人信息泄露的情况。"
        "报告应当说明个人信息泄露的原因、可能造成的危害以及个人信息处理者已经采取的补救措施。"
        "受托人知道发生个人信息泄露的，应当立即通知个人信息处理者并且采取相应的补救措施。"
        "本法所称受托人，是指按照与他人的约定处理个人信息的组织和个人。"
    ),
}
ANSWERS = {
    "en": "Whoever is the controller has to tell the authority about a breach of personal data within 72 hours, and "
    "describe its nature and the measures taken.",
    "es": "Quien sea responsable tiene que comunicar a la autoridad la violación de los datos personales en 72 horas y "
    "describir su naturaleza y las medidas adoptadas.",
    "zh": "发生个人信息泄露时，处理者必须在七十二小时内报告主管部门，并说明泄露的原因、危害和已经采取的措施。",
}
CONCLUSIONS = {
    "en": "A processor that becomes aware of it informs the controller without delay.",
    "es": "El encargado que la conozca informa sin demora al responsable.",
    "zh": "受托人知道以后，应当立即通知个人信息处理者。",
}
QUESTIONS = {
    "en": "Within how many hours shall the controller notify a breach of personal data?",
    "es": "¿En cuántas horas notificará el responsable la violación de los datos personales?",
    "zh": "个人信息处理者应当在多长时间内报告个人信息泄露的情况？",
}
WORSE = {
    "en": "Only if insurers have approved the budget.",
    "es": "Solo si las aseguradoras aprueban el presupuesto.",
    "zh": "只有保险公司批准预算之后才能报告。",
}
CASES = {
    "en": "A controller finds that personal data were lost in a breach on the same day.",
    "es": "Un responsable descubre el mismo día que una violación ha afectado a datos personales.",
    "zh": "某个人信息处理者当天发现个人信息已经泄露，需要决定下一步怎么做。",
}


def replies(language: str) -> dict[str, str]:
    """For each shipped task, what a good model writes."""
    answer, conclusion, question, passage = (texts[language] for texts in (ANSWERS, CONCLUSIONS, QUESTIONS, PASSAGES))
    first = passage.split("。")[0] + "。" if language == "zh" else passage.split(". ")[0] + "."
    labels = {"en": ("Question", "Answer"), "es": ("Pregunta", "Respuesta"), "zh": ("问题", "答案")}[language]

    def data(**fields) -> str:
        return json.dumps(fields, ensure_ascii=False)

    return {
        "explain": answer,
        "summary": answer,
        "question-answer": f"{labels[0]}: {question}\n{labels[1]}: {answer}",
        "case-analysis": data(case=CASES[language], analysis=answer, conclusion=conclusion),
        "extraction": data(topic=first[:40], terms=[first[4:12]], statements=[first]),
        "dialogue": data(turns=[{"layman": question, "expert": text} for text in (answer, conclusion)]),
        "preference": data(question=question, chosen=answer, rejected=WORSE[language]),
        "question": question,
        "choice": "48 hours.",
        "correction": "48 hours.",
        "verdict": "48 hours.",
        "definition": "",  # not asked
    }


class Scripted:
    """Implements stages.ports.Generator: it writes one text, and likes texts after the one that they answer."""

    def __init__(self, text: str) -> None:
        self.text = text

    def generate(self, requests, progress=None):
        return [
            Completion(self.text, 9, 9, "stop")
            if request.scored is None
            else Completion("", 9, 9, "stop", log_probability=-90.0 if "Write a text" in str(request) else -9.0)
            for request in requests
        ]

    def take_stats(self):
        return open_generator(load("echo").generator, CARD, 1).take_stats()

    def close(self) -> None:
        pass


@cache
def cascade():
    screen = Screen.model_validate({})
    assert screen.encoder is not None
    return build_filters(screen.filters, partial(open_encoder, screen.encoder, 1))


def candidate(task: str, language: str) -> Candidate:
    config = load("echo", [f"domains.law.tasks=[{task}]", f"domains.law.languages=[{language}]"])
    scripted = Scripted(replies(language)[task])
    body = Generate(config, CARD, lambda: scripted, lambda text, language: text)
    body.load()
    passage = PASSAGES[language]
    seed = Seed.create(passage, title="", source="s", location="", licence="MIT", language=language, domain="law")
    (row,) = body.answer("law", [seed])
    assert row.candidate is not None, row.parsed
    return row.candidate


@pytest.mark.parametrize("language", ["en", "es", "zh"])
@pytest.mark.parametrize("task", sorted(replies("en")))
def test_a_right_answer_passes_every_filter(task: str, language: str) -> None:
    row = candidate(task, language)
    for name, judge in cascade():
        if row.writes in judged_by(judge):
            (verdict,) = judge_all(judge, [row])
            assert not isinstance(verdict, Exception)
            assert verdict.reason is None, (name, verdict, row.reply)


def test_every_shipped_task_is_tested() -> None:
    from configs.load import HERE

    assert {path.stem for path in (HERE / "tasks").glob("*.yaml")} == set(replies("en"))

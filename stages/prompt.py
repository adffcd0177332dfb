"""A task's templates: a passage becomes a prompt, the model's answer becomes fields, and these become messages."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

from jinja2 import StrictUndefined, TemplateError
from jinja2.sandbox import SandboxedEnvironment
from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError, ValidationError

from configs.errors import ConfigError
from configs.schema import Task
from stages.answer_forms import read_json, read_labelled
from stages.definitions import find_definitions
from stages.edits import Edit, passage_edits
from stages.record import content_id
from stages.sources.passages import first_sentence
from stages.targets import MIN_PASSAGE_SHARE, targets

# passages that templates are tried with
SAMPLES = {
    "en": "A breach of personal data is a breach of security that leads to their loss or their disclosure. "
    "“Authority” means the public office that supervises how personal data are processed. "
    "The controller shall notify the authority of the breach within three days of becoming aware of it.",
    "es": "Una violación de la seguridad de los datos es aquella que ocasiona su pérdida o su comunicación a terceros. "
    "Se entenderá por «autoridad» la oficina pública que supervisa el tratamiento de los datos personales. "
    "El responsable notificará la violación a la autoridad en los tres días siguientes al de su conocimiento.",
    "zh": "个人数据泄露是指因违反安全规定而导致个人数据被非法披露的事件。"
    "本法所称主管部门，是指负责监督信息处理活动的行政机关。"
    "数据处理者应当在三个工作日内向主管部门报告有关情况。",
}


@dataclass(frozen=True, slots=True)
class Prompt:
    """A rendered prompt."""

    messages: tuple[dict[str, str], ...]
    instruction: str  # the user message without passage and title
    values: dict[str, Any]  # what the task's templates see
    hash: str  # of the messages, and of the edit if there is one
    edit: Edit | None = None
    is_asked: bool = True  # whether the generator writes something; False where its text is known already

    @property
    def begin(self) -> str:
        """The given beginning of the answer, which the generator goes on with; "" if there is none."""
        return self.edit.before if self.edit and self.edit.new is None else ""

    def to_json(self) -> str:
        """The messages, and after them the beginning of the answer if there is one."""
        begin = [{"role": "assistant", "content": self.begin}] if self.begin else []
        return json.dumps([*self.messages, *begin], ensure_ascii=False)


@dataclass(frozen=True, slots=True)
class Answer:
    """The parsed answer: its fields, or the reason why there are none."""

    fields: dict[str, Any] | None
    reason: str | None = None  # empty; format: not in the task's format; schema: does not fit its schema
    detail: str = ""
    repaired: bool = False  # the JSON was damaged and could be repaired


def render(
    task: Task,
    language: str,
    passage: str,
    title: str,
    draw: int,
    sample: int = 0,
    judged: dict[str, str] | None = None,
) -> Prompt | None:
    """The prompt for a sample of a passage; None if the task is about a part of it and there is none (left) that fits.

    `draw`: a random number that picks style, sentence, edit and definition. `judged`: more values, for the template
    of a judge.
    """
    styles = task.styles.get(language, ())  # type: ignore[call-overload]
    values: dict[str, Any] = {"passage": passage, "title": title, "language": language}
    values["style"] = styles[draw % len(styles)] if styles else ""
    edit = None
    if task.target != "passage":
        values["swap"] = draw % 2 == 1
    match task.target:
        case "sentence":
            sentences = targets(passage, language)
            if not sentences:
                return None
            values["sentence"] = sentences[draw // 2 % len(sentences)]
        case "edit":
            edits = passage_edits(targets(passage, language), language, draw // 2)
            if sample >= len(edits):
                return None
            edit = edits[sample]
            values |= {"sentence": edit.sentence, "old": edit.old}
        case "definition":
            definitions = find_definitions(passage, language)
            if sample >= len(definitions):
                return None
            definition = definitions[(draw // 2 + sample) % len(definitions)]
            values |= {"sentence": definition.statement, "term": definition.term, "meaning": definition.meaning}
            values["swap"] |= len(passage) < MIN_PASSAGE_SHARE * len(definition.statement)
    values |= judged or {}
    blank = values | {name: "" for name in ("passage", "title", "sentence") if name in values}
    system, user = _fill(task.system.get(language, ""), values), _fill(task.prompt[language], values)  # type: ignore[index,call-overload]
    messages = ({"role": "system", "content": system},) if system else ()
    messages += ({"role": "user", "content": user},)
    parts = [system, user] if edit is None else [system, user, edit.sentence, str(edit.start), edit.new or ""]
    is_asked = task.writes != "nothing" and (edit is None or edit.new is None)
    return Prompt(messages, _fill(task.prompt[language], blank), values, content_id(*parts), edit, is_asked)  # type: ignore[index]


def converse(
    task: Task, language: str, values: dict[str, Any], fields: dict[str, Any]
) -> tuple[list[dict[str, str]], str | None]:
    """The row's messages, and the worse answer if the task asks for one, else None. `values`: those of the prompt."""
    values = values | {"fields": fields}
    messages: list[dict[str, str]] = []
    for message in task.messages[language]:  # type: ignore[index]
        content = _fill(message.content, values)
        # A template that renders a JSON list of turns gives that many messages. The template itself must start the
        # list: an answer in another template cannot.
        turns = _turns(content) if message.content.lstrip().startswith("[") else None
        messages += turns if turns else [{"role": message.role, "content": content}]
    rejected = _fill(task.rejected, values) if task.rejected else None
    return messages, rejected


def read_edit(edit: Edit, text: str) -> Answer:
    """The wrong sentence that an edit makes; `text`: how the generator goes on from its place."""
    new = edit.new if edit.new is not None else edit.replacement(text)
    if new is None:
        return Answer(None, "format", f"nothing that can stand for {edit.old!r}")
    return Answer({"text": edit.apply(new), "new": new})


def parse(task: Task, language: str, text: str) -> Answer:
    """Parses an answer by the task's format and checks it against the task's schema. Damaged JSON is repaired once."""
    text = text.strip()
    repaired = False
    if not text:
        return Answer(None, "empty")
    if task.format == "text":
        fields: Any = {"text": text}
    elif task.format == "sentence":
        if (sentence := first_sentence(text)) is None:
            return Answer(None, "format", "no whole sentence")
        fields = {"text": sentence}
    elif task.format == "labelled":
        fields = read_labelled(task.labels[language], text)  # type: ignore[index]
        if fields is None:
            wanted = ", ".join(task.labels[language].values())  # type: ignore[index]
            return Answer(None, "format", f"labels missing or out of order: {wanted}")
    else:
        try:
            fields, repaired = read_json(text, lambda value: _problem(task, value) is None)
        except ValueError as error:
            return Answer(None, "format", str(error))
        if not isinstance(fields, dict) or not fields:
            return Answer(None, "format", "no JSON object")
    problem = _problem(task, fields)
    if problem is not None:
        return Answer(None, "schema", f"{problem.json_path}: {problem.message}"[:300], repaired)
    return Answer(fields, repaired=repaired)


def texts(fields: Any) -> Iterator[str]:
    """All texts in the fields of an answer, in order."""
    if isinstance(fields, str):
        yield fields
    elif isinstance(fields, dict | list):
        for part in fields.values() if isinstance(fields, dict) else fields:
            yield from texts(part)


def join(begin: str, text: str, language: str) -> str:
    """The given beginning of an answer and what the model added, with a space between them where words need one."""
    text = text.strip()
    space = "" if language == "zh" or text[:1] in set(".,;:!?)]’'%") or not text else " "
    return begin + space + text


def read_conversation(prompt: str, answer: str, language: str) -> tuple[list[dict[str, str]], str]:
    """The messages that a generator was sent and its whole answer, of `Candidate.prompt` and the raw answer.

    Where the answer's beginning was given, it is part of the answer.
    """
    messages = json.loads(prompt)
    begin = messages.pop()["content"] if messages[-1]["role"] == "assistant" else ""
    return messages, join(begin, answer, language) if begin else answer


def check(task: Task) -> None:
    """Renders every template of a task once with sample values. Raises ConfigError, which names the template."""
    where = f"tasks.{task.name}"
    try:
        Draft202012Validator.check_schema(task.answer)
    except SchemaError as error:
        raise ConfigError(f"{where}.answer: not a valid JSON schema: {error.message}; fix it there") from None
    fields = sample(task.answer)
    required = task.answer.get("required", ())
    for language in task.languages:
        passage = SAMPLES[language]
        try:
            prompt = render(task, language, passage, "A title", 0)
            assert prompt is not None
            converse(task, language, prompt.values, fields)
            converse(task, language, prompt.values, {name: value for name, value in fields.items() if name in required})
        except TemplateError as error:
            raise ConfigError(f"{where}: its {language} templates do not render: {error}; fix them there") from None
        used = prompt.messages[-1]["content"] + prompt.begin
        name = {"passage": "passage", "sentence": "sentence", "definition": "term"}.get(task.target)
        if name and str(prompt.values[name]) not in used:
            raise ConfigError(
                f"{where}.prompt.{language}: does not use {{{{ {name} }}}}, so answers would not be grounded; add it"
            )


def sample(schema: dict[str, Any]) -> Any:
    """A small value that fits a JSON schema, to try templates with."""
    if "enum" in schema:
        return schema["enum"][0]
    match schema.get("type"):
        case "object":
            return {name: sample(part) for name, part in schema.get("properties", {}).items()}
        case "array":
            return [sample(schema.get("items", {"type": "string"}))] * max(schema.get("minItems", 1), 1)
        case "integer" | "number":
            return schema.get("minimum", 1)
        case "boolean":
            return True
        case _:
            return "x" * max(schema.get("minLength", 1), 1)


def _fill(source: str, values: dict[str, Any]) -> str:
    return _template(source).render(values).strip()


@cache
def _environment() -> SandboxedEnvironment:
    environment = SandboxedEnvironment(undefined=StrictUndefined, autoescape=False)
    environment.filters["tojson"] = partial(json.dumps, ensure_ascii=False)  # Jinja's own one escapes for HTML
    return environment


@cache
def _template(source: str):
    return _environment().from_string(source)


def _problem(task: Task, fields: Any) -> ValidationError | None:
    """The first way in which fields do not fit the task's schema."""
    return next(iter(_validator(json.dumps(task.answer)).iter_errors(fields)), None)


@cache
def _validator(schema: str) -> Draft202012Validator:
    return Draft202012Validator(json.loads(schema))


def _turns(content: str) -> list[dict[str, str]] | None:
    if not content.startswith('[{"role"'):
        return None
    try:
        turns = json.loads(content)
    except ValueError:
        return None
    return [{"role": str(turn["role"]), "content": str(turn["content"])} for turn in turns]

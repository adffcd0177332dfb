"""A task's templates: a passage becomes a prompt, the model's answer becomes fields, and these become messages."""

import json
import re
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import json_repair
from jinja2 import StrictUndefined, TemplateError
from jinja2.sandbox import SandboxedEnvironment
from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError

from configs.errors import ConfigError
from configs.schema import Task
from stages.record import content_id

_FENCE = re.compile(r"^\s*```[a-zA-Z]*\s*\n(.*?)\n?\s*```\s*$", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Prompt:
    """A rendered prompt."""

    messages: tuple[dict[str, str], ...]
    instruction: str  # the user message without passage and title
    style: str  # one of the task's styles; "" if it has none
    hash: str  # of both messages


@dataclass(frozen=True, slots=True)
class Answer:
    """The parsed answer: its fields, or the reason why there are none."""

    fields: dict[str, Any] | None
    reason: str | None = None  # empty; format: not in the task's format; schema: does not fit its schema
    detail: str = ""
    repaired: bool = False  # the JSON was damaged and could be repaired


def render(
    task: Task, language: str, passage: str, title: str, draw: int, judged: dict[str, str] | None = None
) -> Prompt:
    """The prompt for one passage.

    `draw`: a random number that picks the style. `judged`: more values for the template of a judge's task.
    """
    styles = task.styles.get(language, ())  # type: ignore[call-overload]
    style = styles[draw % len(styles)] if styles else ""

    def fill(text: str, title: str) -> str:
        system = task.system.get(language)  # type: ignore[call-overload]
        values = {"passage": text, "title": title, "language": language, "style": style}
        values |= judged or {}
        parts = [_template(source).render(values).strip() for source in (system or "", task.prompt[language])]  # type: ignore[index]
        return "\x00".join(parts)

    system, _, user = fill(passage, title).partition("\x00")
    messages = ({"role": "system", "content": system},) if system else ()
    messages += ({"role": "user", "content": user},)
    return Prompt(messages, fill("", "").partition("\x00")[2], style, content_id(system, user))


def converse(task: Task, language: str, passage: str, title: str, style: str, fields: dict[str, Any]):
    """The row's messages, and the worse answer if the task asks for one, else None."""
    values = {"passage": passage, "title": title, "language": language, "style": style, "fields": fields}
    messages = []
    for message in task.messages[language]:  # type: ignore[index]
        content = _template(message.content).render(values).strip()
        # A template that renders a JSON list of turns gives that many messages. The template itself must start the
        # list: an answer in another template cannot.
        turns = _turns(content) if message.content.lstrip().startswith("[") else None
        messages += turns if turns else [{"role": message.role, "content": content}]
    rejected = _template(task.rejected).render(values).strip() if task.rejected else None
    return messages, rejected


def parse(task: Task, language: str, text: str) -> Answer:
    """Parses an answer by the task's format and checks it against the task's schema. Damaged JSON is repaired once."""
    text = text.strip()
    repaired = False
    if not text:
        return Answer(None, "empty")
    if task.format == "text":
        fields: Any = {"text": text}
    elif task.format == "labelled":
        fields = _labelled(task.labels[language], text)  # type: ignore[index]
        if fields is None:
            wanted = ", ".join(task.labels[language].values())  # type: ignore[index]
            return Answer(None, "format", f"labels missing or out of order: {wanted}")
    else:
        try:
            fields = json.loads(text)
        except RecursionError:
            return Answer(None, "format", "JSON too deep")
        except ValueError:
            repaired = True
            fence = _FENCE.match(text)
            try:
                fields = json_repair.loads(fence.group(1) if fence else text[max(text.find("{"), 0) :])
            except RecursionError:
                return Answer(None, "format", "JSON too deep")
        if not isinstance(fields, dict) or not fields:
            return Answer(None, "format", "no JSON object")
    problem = next(iter(_validator(json.dumps(task.answer)).iter_errors(fields)), None)
    if problem is not None:
        return Answer(None, "schema", f"{problem.json_path}: {problem.message}"[:300], repaired)
    return Answer(fields, repaired=repaired)


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
        try:
            prompt = render(task, language, "A passage.", "A title", 0)
            converse(task, language, "A passage.", "A title", prompt.style, fields)
            required_fields = {name: value for name, value in fields.items() if name in required}
            converse(task, language, "A passage.", "A title", prompt.style, required_fields)
        except TemplateError as error:
            raise ConfigError(f"{where}: its {language} templates do not render: {error}; fix them there") from None
        if "A passage." not in prompt.messages[-1]["content"]:
            raise ConfigError(
                f"{where}.prompt.{language}: does not use {{{{ passage }}}}, so answers would not be grounded; add it"
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


@cache
def _environment() -> SandboxedEnvironment:
    environment = SandboxedEnvironment(undefined=StrictUndefined, autoescape=False)
    environment.filters["tojson"] = partial(json.dumps, ensure_ascii=False)  # Jinja's own one escapes for HTML
    return environment


@cache
def _template(source: str):
    return _environment().from_string(source)


@cache
def _validator(schema: str) -> Draft202012Validator:
    return Draft202012Validator(json.loads(schema))


def _labelled(labels: dict[str, str], text: str) -> dict[str, str] | None:
    """The text after each label; None unless the labels come in the declared order. Ignores markdown around labels."""
    pattern = "|".join(re.escape(label) for label in labels.values())
    marks = list(re.finditer(rf"^[ \t*#_>-]*({pattern})[ \t*_]*[:：][ \t*_]*", text, re.MULTILINE | re.IGNORECASE))
    labels_in_text = [mark.group(1).casefold() for mark in marks]
    declared = [label.casefold() for label in labels.values()]
    if labels_in_text[: len(declared)] != declared:
        return None
    ends = [mark.start() for mark in marks[1:]] + [len(text)]
    return {name: text[mark.end() : end].strip() for name, mark, end in zip(labels, marks, ends, strict=False)}


def _turns(content: str) -> list[dict[str, str]] | None:
    if not content.startswith('[{"role"'):
        return None
    try:
        turns = json.loads(content)
    except ValueError:
        return None
    return [{"role": str(turn["role"]), "content": str(turn["content"])} for turn in turns]

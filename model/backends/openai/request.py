"""What is sent to a service, and what of it a service refuses.

Services with OpenAI's protocol differ in the fields that they take. Where one refuses a field by name, the request is
sent without it, or with what stands for it, and so are all later ones. `generator.openai.body` sets or leaves out
fields from the start.
"""

import json
import re
import threading
from typing import Any

from model.backends.chat_template import merge_system
from stages.ports import Request
from stages.storage.utf8 import without_surrogates

# what takes a refused field's place; other fields are left out
_INSTEAD = {"max_tokens": "max_completion_tokens", "json_schema": "json_object"}
OPTIONAL_FIELDS = ("seed", "top_p", "temperature", "response_format", "max_tokens")
_OTHER_NAMES = {"response_format": r"|json_schema|json_object|json mode|structured[ _]outputs?|guided[ _]\w+|grammar"}
_REFUSING = re.compile(
    r"unsupported|not (?:\w+ )?support|un(?:recogni[sz]ed|known|expected|available)|not (?:permitted|allowed|available|"
    r"implemented|accepted|valid|recogni[sz]ed|enabled|compatible)|extra (?:inputs?|fields?)|extra_forbidden|"
    r"additional propert|invalid (?:param|argument|field|key|type)|does(?: not|n't) (?:accept|exist|have)|"
    r"only the default|only \w+ and \w+ roles|can(?:not|['’]t| not) (?:both )?be|no longer|deprecated|disallowed"
    r"|removed|incompatible|forbidden|invalid|is(?: not|n['’]t) (?:\w+ )?(?:supported|allowed|permitted|enabled)"
    r"|not a \w+ (?:field|parameter)|max_completion_tokens|must (?:contain|alternate)"
    r"|不支持|不允许|不合法|未知|无效|非法|no (?:se )?(?:es compatible|admite|soporta|permite)|desconocid|inv[aá]lid",
    re.IGNORECASE,
)
_LENGTH = re.compile(r"context|too (?:large|long|high)|at (?:most|least)|exceed|maximum|minimum", re.IGNORECASE)
_SYSTEM = re.compile(
    r"\bsystem\b|developer instruction|messages?\W+0\W+role|roles must alternate|only \w+ and \w+ roles", re.IGNORECASE
)


class RequestForm:
    """The body of requests to a service. Safe to use from several threads."""

    def __init__(self, model: str, fixed: dict[str, Any]):
        self.model, self.fixed = model, fixed
        self.lock = threading.Lock()
        self.refused: frozenset[str] = frozenset()  # names of fields, and `json_schema` and `system` (messages)

    def body(self, request: Request, refused: frozenset[str]) -> dict[str, Any]:
        """The body of a request without the refused fields."""
        sampling = request.sampling
        messages = merge_system(list(request.messages)) if "system" in refused else request.messages
        body: dict[str, Any] = {
            "model": self.model,
            "messages": [{key: without_surrogates(value) for key, value in message.items()} for message in messages],
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "max_tokens": sampling.max_tokens,
            "seed": request.seed % 2**63,
        }
        if request.json_schema is not None:
            shape = {"name": "answer", "schema": json.loads(request.json_schema)}
            body["response_format"] = {"type": "json_schema", "json_schema": shape}
            if "json_schema" in refused:
                body["response_format"] = {"type": _INSTEAD["json_schema"]}
        for name in refused & set(body):
            value = body.pop(name)
            if name in _INSTEAD:
                body[_INSTEAD[name]] = value
        body |= self.fixed
        return {name: value for name, value in body.items() if value is not None}

    def next_refused(self, body: dict[str, Any], words: str, parameter: str, explicit: bool = False) -> str | None:
        """The name to add to the refused ones, by a service's words about this body; None if they name no field.

        To name a field is enough, since the request is whole without it. `max_tokens` and the system message must be
        refused in words: they are also named where a prompt is too long, or filtered. `parameter`: the field that the
        error itself names, or "". `explicit`: any field must be refused in words.
        """
        refusing = _REFUSING.search(words) is not None
        if explicit and not refusing:
            return None
        if refusing and body["messages"][0]["role"] == "system" and _SYSTEM.search(words):
            return "system"
        named = [name for name in _named(words, parameter) if name in body and name not in self.fixed]
        if "max_tokens" in named and (not refusing or _LENGTH.search(words)):
            named.remove("max_tokens")
        if {"temperature", "top_p"} <= set(named):  # services that take one of the two: the temperature says more
            named.remove("temperature")
        if not named:
            return None
        shape = body.get("response_format") or {}
        return "json_schema" if named[0] == "response_format" and shape["type"] == "json_schema" else named[0]

    def refuse(self, names: frozenset[str]) -> frozenset[str]:
        """Leaves these out of all later requests. Returns those that were not left out before."""
        with self.lock:
            added = names - self.refused
            self.refused |= names
        return added


def _named(words: str, parameter: str) -> list[str]:
    """The fields that an error names, in its order."""
    if (field := parameter.split(".")[0]) in OPTIONAL_FIELDS:
        return [field]
    places: dict[str, int] = {}
    for name in OPTIONAL_FIELDS:
        pattern = rf"(?<![\w-])(?:{name}{_OTHER_NAMES.get(name, '')})(?![\w-])"
        if match := re.search(pattern, words, re.IGNORECASE):
            places[name] = match.start()
    return sorted(places, key=lambda name: places[name])

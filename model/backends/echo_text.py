"""The echo generator's answers: sentences put together from the passage, in the form that the prompt asks for."""

import json
import random
import re
from typing import Any

_WORD = re.compile(r"[㐀-鿿]|[^\s㐀-鿿]+")
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|(?<=[。！？])|\n+")
_LABELLED_LINE = re.compile(r"^\s*([^\n:：<>]{1,40}?)\s*([:：])\s*<([^<>\n]+)>\s*$", re.MULTILINE)
_SPANISH = re.compile(r"\b(el|los|las|una|del|que|para|según|texto)\b", re.IGNORECASE)
_QUESTION = re.compile(r"question|pregunta|问题|問題", re.IGNORECASE)
_CLAUSE_EDGES = " \t\n.,;:()[]\"'“”，。；：、（）！？!?"

_PHRASES: dict[str, dict[str, tuple[str, ...]]] = {
    "en": {
        "open": ("In short, {}.", "The main point is that {}.", "Put simply, {}.", "What matters here is that {}."),
        "more": ("It also says that {}.", "Besides that, {}.", "A further point is that {}.", "Note as well that {}."),
        "adapted": ("More precisely, {}.", "As practitioners would say, {}.", "Stated formally, {}."),
        "ask": ("What does the text say about {}?", "How is {} described?", "What should one know about {}?"),
        "refuse": ("I'm sorry, but I can't help with that request.", "As an AI language model, I cannot answer this."),
    },
    "es": {
        "open": ("En resumen, {}.", "Lo principal es que {}.", "Dicho de forma sencilla, {}."),
        "more": ("También se indica que {}.", "Además, {}.", "Otro punto es que {}."),
        "adapted": ("Con más precisión, {}.", "En términos formales, {}."),
        "ask": ("¿Qué dice el texto sobre {}?", "¿Cómo se describe {}?", "¿Qué conviene saber sobre {}?"),
        "refuse": ("Lo siento, pero no puedo ayudar con esa solicitud.",),
    },
    "zh": {
        "open": ("简单来说，{}。", "要点是：{}。", "换句话说，{}。"),
        "more": ("此外，{}。", "同时还应注意，{}。", "另外，{}。"),
        "adapted": ("更准确地说，{}。", "用专业的话说，{}。"),
        "ask": ("关于“{}”，原文是怎么说的？", "原文如何说明“{}”？"),
        "refuse": ("对不起，我无法回答这个问题。",),
    },
}


def split_words(text: str) -> list[str]:
    """The words between spaces; each Chinese character is one."""
    return _WORD.findall(text)


def cut(text: str, limit: int) -> str:
    """The first `limit` words of the text, as they are in it."""
    for count, word in enumerate(_WORD.finditer(text)):
        if count == limit:
            return text[: word.start()].rstrip()
    return text


def answer_labels(prompt: str) -> list[tuple[str, str]]:
    """The labels of lines such as `Question: <one question>` in the prompt, each with its colon."""
    return [(label, colon) for label, colon, _ in _LABELLED_LINE.findall(prompt)]


class AnswerWriter:
    """Writes about the passage of one prompt. Every choice is drawn from `rng`."""

    def __init__(self, prompt: str, rng: random.Random, adapted: bool):
        blocks = [block for block in re.split(r"\n\s*\n", prompt) if block.strip()]
        passage = "\n".join(blocks[:-1]) or prompt  # the instruction is the last block
        self.rng, self.adapted = rng, adapted
        chinese = len(re.findall(r"[㐀-鿿]", passage))
        self.language = "zh" if chinese * 3 > len(passage) else "es" if len(_SPANISH.findall(passage)) > 5 else "en"
        self.phrases = _PHRASES[self.language]
        sentences = [part.strip() for part in _SENTENCE_END.split(passage) if part and len(split_words(part)) > 3]
        self.sentences = sentences or [passage.strip()[:300] or "nothing was given to write about"]

    def text(self, sentences: int | None = None) -> str:
        """A few sentences, each with a clause of another sentence of the passage."""
        count = min(sentences or self.rng.randint(2, 4), max(2, len(self.sentences)))
        sources = self.rng.sample(self.sentences, min(count, len(self.sentences)))
        kinds = ["open", *["more"] * (count - 1)]
        if self.adapted:
            kinds[-1] = "adapted"
        frames = [self._frame(kind) for kind in kinds]
        texts = [frame.format(self._clause(source)) for frame, source in zip(frames, sources, strict=False)]
        return ("" if self.language == "zh" else " ").join(texts)

    def continuation(self) -> str:
        """The rest of a sentence: a clause with its full stop."""
        return self._clause(self.rng.choice(self.sentences)) + ("。" if self.language == "zh" else ".")

    def question(self) -> str:
        """A question about a phrase of the passage."""
        return self._frame("ask").format(self.phrase())

    def phrase(self, length: int = 4) -> str:
        """A few neighbouring words of the passage."""
        source = split_words(self.rng.choice(self.sentences))
        size = length * 2 if self.language == "zh" else length
        start = self.rng.randint(0, max(0, len(source) - size))
        return self._joined(source[start : start + size]) or source[0]

    def refusal(self) -> str:
        return self._frame("refuse")

    def labelled(self, labels: list[tuple[str, str]]) -> str:
        """One line a label."""
        space = "" if self.language == "zh" else " "
        return "\n".join(
            f"{label}{colon}{space}{self.question() if _QUESTION.search(label) else self.text(2)}"
            for label, colon in labels
        )

    def json(self, schema: str) -> str:
        """A JSON value that satisfies the schema."""
        whole = json.loads(schema)
        return json.dumps(self._value(whole, whole, ""), ensure_ascii=False)

    def _frame(self, kind: str) -> str:
        return self.rng.choice(self.phrases[kind])

    def _clause(self, sentence: str) -> str:
        parts = split_words(sentence)
        most = 40 if self.language == "zh" else 18
        start = self.rng.randint(0, max(0, min(4, len(parts) - most // 2)))
        clause = self._joined(parts[start : start + self.rng.randint(most // 2, most)])
        return clause if self.language == "zh" else clause[:1].lower() + clause[1:]

    def _joined(self, parts: list[str]) -> str:
        return (
            ("" if self.language == "zh" else " ").join(parts).strip(_CLAUSE_EDGES).replace("{", "(").replace("}", ")")
        )

    def _value(self, schema: Any, whole: dict, key: str) -> Any:
        if not isinstance(schema, dict):
            return self.phrase()
        if "$ref" in schema:
            target: Any = whole
            for part in schema["$ref"].removeprefix("#/").split("/"):
                target = target[part]
            return self._value(target, whole, key)
        if "const" in schema:
            return schema["const"]
        if "enum" in schema:
            return self.rng.choice(schema["enum"])
        for choice in ("anyOf", "oneOf", "allOf"):
            if choice in schema:
                return self._value(schema[choice][0], whole, key)
        kind = schema.get("type", "object" if "properties" in schema else "string")
        kind = kind[0] if isinstance(kind, list) else kind
        return getattr(self, f"_{kind}")(schema, whole, key)

    def _object(self, schema: dict, whole: dict, key: str) -> dict:
        return {name: self._value(part, whole, name) for name, part in schema.get("properties", {}).items()}

    def _array(self, schema: dict, whole: dict, key: str) -> list:
        least = schema.get("minItems", 1)
        count = self.rng.randint(least, min(schema.get("maxItems", least + 2), least + 2))
        items: list = []
        for _ in range(count * 4):
            item = self._value(schema.get("items", {"type": "string"}), whole, key)
            if len(items) < count and (not schema.get("uniqueItems") or item not in items):
                items.append(item)
        return items

    def _string(self, schema: dict, whole: dict, key: str) -> str:
        least, most = schema.get("minLength", 0), schema.get("maxLength")
        asks = _QUESTION.search(key) or "?" in schema.get("pattern", "")
        text = self.question() if asks else self.phrase() if (most or 10**6) < 60 or least < 8 else self.text(1)
        while len(text) < least:
            text += (" " if self.language != "zh" else "") + self.text(2)
        return text if most is None else text[:most].rstrip().ljust(least, ".")

    def _integer(self, schema: dict, whole: dict, key: str) -> int:
        least = int(schema.get("minimum", schema.get("exclusiveMinimum", -1) + 1))
        most = int(schema.get("maximum", schema.get("exclusiveMaximum", least + 11) - 1))
        return self.rng.randint(least, max(least, most))

    def _number(self, schema: dict, whole: dict, key: str) -> float:
        least = schema.get("minimum", schema.get("exclusiveMinimum", 0))
        most = schema.get("maximum", schema.get("exclusiveMaximum", least + 1))
        return round(least + (most - least) * self.rng.uniform(0.25, 0.75), 3)

    def _boolean(self, schema: dict, whole: dict, key: str) -> bool:
        return self.rng.random() < 0.5

    def _null(self, schema: dict, whole: dict, key: str) -> None:
        return None

"""A day with a service that answers oddly: what is published is its answers alone, and the rest has a reason."""

import re
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from configs.load import load
from model.backends import identify, open_generator
from stages.generate import Generate
from stages.record import Seed
from tests.factories.chat_server import chat_server
from tests.factories.command_line import DATE, ONE_ROUND, call
from tests.factories.documents import passage, write_config, write_documents

THOUGHTS = 'Okay, the user wants an explanation. {"question": "a draft"}'


def message(content: Any, finish: str | None = "stop", **more: Any) -> dict[str, Any]:
    return {"choices": [{"message": {"content": content, **more}, "finish_reason": finish}], "usage": {}}


# by the number of the passage: what the service answers, and the reason why there is no row, or None
FORMS = [
    (lambda text: message(f"<think>\n{THOUGHTS}\n</think>\n\n{text}"), None),
    (lambda text: message(f"◁think▷{THOUGHTS}◁/think▷{text}<|im_end|>"), None),
    (lambda text: message(f"{THOUGHTS}\n</think>\n\n{text}"), None),
    (lambda text: message([{"type": "thinking", "thinking": THOUGHTS}, {"type": "text", "text": text}]), None),
    (lambda text: message(text, "end_turn", reasoning_content=THOUGHTS), None),
    (lambda text: message(f"<think>\n{THOUGHTS}\n\n{text}"), "thoughts"),
    (lambda text: message(None, "length", reasoning_content=THOUGHTS), "thoughts"),
    (lambda text: message(text, "content_filter"), "content_filter"),
    (lambda text: message(None, refusal="I cannot help with that."), "refusal"),
    (lambda text: message(text, "error"), "incomplete"),
    (lambda text: message(text, None), "incomplete"),
    (lambda text: message(text[: len(text) // 2] + ".", "max_tokens"), "truncated"),
]


def answer(number: int, prompt: str) -> str:
    """Two sentences of the passage."""
    sentences = re.findall(r"The \w+ of the [^.]+\.", prompt)
    return f"Case {number} says this. {sentences[number % 5]} {sentences[5 + number % 5]}"


def reply(body: dict[str, Any]) -> tuple[int, Any]:
    prompt = body["messages"][-1]["content"]
    number = int(re.findall(r"Case (\d+)", prompt)[0])
    return 200, FORMS[number % len(FORMS)][0](answer(number, prompt))


def overrides(url: str) -> list[str]:
    return [
        "generator.backend=openai",
        "generator.model=m",
        f"generator.openai.base_url={url}",
        "domains.law.tasks=[explain]",
        "generate.max_attempts=1",
    ]


def is_answer(text: str) -> bool:
    return re.fullmatch(r"Case \d+ says this\. The [^<>{}]+\.", text) is not None


def test_only_answers_become_candidates() -> None:
    seeds = [
        Seed.create(passage(number), title="", source="s", location="l", licence="MIT", language="en", domain="law")
        for number in range(len(FORMS))
    ]
    with chat_server() as server:
        server.reply = reply
        config = load("echo", overrides(server.url))
        card = identify(config.generator)
        generator = open_generator(config.generator, card, 1)
        body = Generate(config, card, lambda: generator, lambda text, language: text)
        body.load()
        rows = list(body.answer("law", seeds))
        generator.close()
    for row, (_, reason) in zip(rows, FORMS, strict=True):
        assert row.parsed.reason == (None if reason == "truncated" else reason)
        if row.candidate is None:
            assert row.parsed.detail
        else:
            assert is_answer(row.candidate.answer)
            assert row.candidate.messages[-1]["content"] == row.candidate.answer
            assert row.candidate.finish_reason == ("length" if reason == "truncated" else "stop")
    assert THOUGHTS in rows[5].completion.text, "a reject has what the service sent"


@pytest.mark.slow
def test_only_answers_are_published(tmp_path: Path) -> None:
    config = write_config(tmp_path, write_documents(tmp_path / "d.jsonl", range(len(FORMS))))
    with chat_server() as server:
        server.reply = reply
        flags = [part for change in overrides(server.url) for part in ("--set", change)]
        result = call("run", "--config", config, "--date", DATE, "--json", *ONE_ROUND, *flags)
    assert result.code == 0, result.err
    reasons = Counter(reason for _, reason in FORMS)
    assert result.line["accepted"] == reasons.pop(None)
    assert result.line["rejected"] == reasons
    shards = (tmp_path / "out" / "data").rglob("*.parquet")
    texts = [row["messages"][-1]["content"] for path in shards for row in pq.ParquetFile(path).read().to_pylist()]
    assert len(texts) == result.line["accepted"]
    assert all(map(is_answer, texts))

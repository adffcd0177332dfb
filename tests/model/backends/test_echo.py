"""What the echo generator says: schemas and labels are kept, a share of answers is bad on purpose."""

import json

import pytest
from jsonschema import validate

from configs import schema
from model.backends import identify, open_generator
from stages.ports import Adapter, Generator
from tests.factories.requests import PASSAGE, SCHEMA, ask


def echo(rate: float) -> Generator:
    config = schema.Generator(backend="echo", model="echo", echo=schema.EchoOptions(defect_rate=rate))
    return open_generator(config, identify(config), 1)


@pytest.mark.parametrize("passage", [PASSAGE, "控制者应当提供个人数据的副本。数据主体有权获得确认。收取合理费用。" * 3])
def test_echo_keeps_a_schema(passage: str) -> None:
    rows = echo(0).generate(
        [ask(f"{passage}\n\nJSON.", seed, 400, json_schema=json.dumps(SCHEMA)) for seed in range(50)]
    )
    for row in rows:
        validate(json.loads(row.text), SCHEMA)


def test_echo_keeps_labels() -> None:
    form = "\n\nWrite a question. Use this form:\nQuestion: <one question>\nAnswer: <its answer>"
    for row in echo(0).generate([ask(PASSAGE + form, seed, 100) for seed in range(20)]):
        first, second = row.text.splitlines()
        assert first.startswith("Question: ")
        assert first.endswith("?")
        assert second.startswith("Answer: ")


def test_echo_spoils_the_asked_share() -> None:
    shard = [ask(f"{PASSAGE}\n\nExplain.", seed, 400) for seed in range(1000)]
    clean, spoilt = echo(0).generate(shard), echo(0.3).generate(shard)
    assert all(row.finish_reason == "stop" for row in clean)
    kinds = {
        "refusal": sum("can't help" in row.text or "cannot answer" in row.text for row in spoilt),
        "prompt_echo": sum(row.text.startswith(PASSAGE) for row in spoilt),
        "truncated": sum(row.finish_reason == "length" for row in spoilt),
        "loop": sum(len(set(row.text.split())) * 4 < len(row.text.split()) for row in spoilt),
    }
    assert all(kinds.values()), kinds
    assert 230 < sum(kinds.values()) < 370


def test_echo_says_it_otherwise_with_an_adapter() -> None:
    base, adapted = (
        echo(0).generate([ask(PASSAGE, seed, 100, adapter=adapter) for seed in range(5)])
        for adapter in (None, Adapter("law@1", "", "1"))
    )
    assert all(one.text != other.text for one, other in zip(base, adapted, strict=True))

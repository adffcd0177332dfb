"""vLLM's own: adapters, guided decoding, shards in flight, deaths and its end. The contract is in test_contract."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from jsonschema import validate

from configs import schema
from configs.errors import BackendError
from model.backends import identify, open_generator, open_trainer
from model.backends.vllm.backend import VllmGenerator
from model.backends.vllm.engine import VllmEngine
from model.backends.vllm.placement import place_engines
from model.backends.vllm.worker import EngineSpec
from stages.ports import Adapter, Completion, Generator, Request
from tests.factories.command_line import ROOT
from tests.factories.serving.byte_llama import save_byte_chat

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(900)]

ROWS = [
    [
        {"role": "user", "content": f"What does article {number} ask for?"},
        {"role": "assistant", "content": f"Article {number} asks for a record kept for {number} years. Verily!"},
    ]
    for number in range(2, 22)
]
SCHEMA = {
    "type": "object",
    "required": ["topic", "terms"],
    "additionalProperties": False,
    "properties": {
        "topic": {"type": "string", "minLength": 2, "maxLength": 40},
        "terms": {"type": "array", "minItems": 1, "maxItems": 3, "items": {"type": "string", "maxLength": 20}},
    },
}


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> schema.Generator:
    """A tiny model: vLLM's CPU build makes a few tokens a second of a real one. In float32 a row's text does not hang
    on the rows beside it."""
    folder = tmp_path_factory.mktemp("tiny") / "bytes"
    save_byte_chat(folder, max_length=512)
    vllm = schema.VllmOptions(max_num_seqs=16, kv_cache_gib=1, gpu_memory_utilization=0.3)
    return schema.Generator(backend="vllm", model=str(folder), dtype="float32", max_model_len=512, vllm=vllm)


@pytest.fixture(scope="module")
def generator(config: schema.Generator) -> Iterator[Generator]:
    made = open_generator(config, identify(config), 1)
    yield made
    made.close()


@pytest.fixture(scope="module")
def adapter(config: schema.Generator, tmp_path_factory: pytest.TempPathFactory) -> Adapter:
    lora = schema.Lora(max_tokens=6000, epochs=4, batch_rows=4, learning_rate=2e-2)
    trainer = open_trainer(lora, identify(config), 1, 17)
    assert trainer is not None
    training = trainer.train("law", ROWS[:16], ROWS[16:], tmp_path_factory.mktemp("adapters"))
    assert training.loss_after < training.loss_before - 0.3
    return training.adapter


def ask(text: str, seed: int = 1, **more) -> Request:
    sampling = schema.Sampling(**{"temperature": 0, "max_tokens": 16} | more.pop("sampling", {}))
    return Request(f"r{seed}", ({"role": "user", "content": text},), sampling, seed, **more)


def test_auto_chooses_it(config: schema.Generator) -> None:
    assert importlib.util.find_spec("vllm")
    assert identify(config.model_copy(update={"backend": "auto"})).backend == "vllm"


def test_an_adapter_speaks_beside_the_base(generator: Generator, config: schema.Generator, adapter: Adapter) -> None:
    """Both say what they say in transformers."""
    question = ROWS[18][0]["content"]
    requests = [ask(question), ask(question, adapter=adapter), ask(question)]
    base, adapted, again = generator.generate(requests)
    plain = config.model_copy(update={"backend": "transformers"})
    reference = open_generator(plain, identify(plain), 1)
    assert [row.text for row in (base, adapted, again)] == [row.text for row in reference.generate(requests)]
    reference.close()
    assert base.text == again.text != adapted.text


def test_a_schema_guides_the_decoding(generator: Generator) -> None:
    setting = {"temperature": 0.7, "max_tokens": 200}
    prompt = "The controller shall erase personal data.\n\nGive topic and terms as JSON."
    shard = [ask(prompt, seed, json_schema=json.dumps(SCHEMA), sampling=setting) for seed in range(4)]
    rows = generator.generate(shard)
    assert all(row.text.startswith("{") for row in rows)
    finished = [row for row in rows if row.finish_reason == "stop"]
    assert finished
    for row in finished:  # vLLM's grammar lets control characters into strings, and random weights write them
        validate(json.loads(row.text, strict=False), SCHEMA)


def test_a_broken_schema_fails_its_row_alone(generator: Generator) -> None:
    rows = generator.generate([ask("Hello."), ask("Hello.", json_schema='{"type": "no such type"}'), ask("Hello.", 2)])
    assert [row.error is None for row in rows] == [True, False, True]
    assert (rows[1].error or "").startswith("refused")


def test_shards_in_flight_share_the_engine(generator: Generator) -> None:
    shards = [[ask(f"Count to {shard}{index}.") for index in range(12)] for shard in range(1, 4)]
    found: dict[int, list[Completion]] = {}
    threads = [
        threading.Thread(target=lambda at=at, shard=shard: found.update({at: generator.generate(shard)}))
        for at, shard in enumerate(shards)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [len(found[at]) for at in range(3)] == [12, 12, 12]
    assert all(row.error is None for rows in found.values() for row in rows)


@pytest.fixture(scope="module")
def two(config: schema.Generator) -> Iterator[VllmGenerator]:
    """Two engines."""
    config = config.model_copy(update={"vllm": config.vllm.model_copy(update={"engines_per_gpu": 2})})
    made = VllmGenerator(config, identify(config), 1)
    deadline = time.monotonic() + 280
    while len(made.fleet.queue.engines_up) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    yield made
    made.close()


def test_two_engines_share_calls_with_and_without_adapters(two: VllmGenerator, adapter: Adapter) -> None:
    question = ROWS[18][0]["content"]
    rows = two.generate([ask(question, adapter=adapter if at % 2 else None) for at in range(8)])
    assert len({row.text for row in rows[::2]}) == len({row.text for row in rows[1::2]}) == 1
    assert rows[0].text != rows[1].text
    assert all(life is not None and life.answers for life in two.fleet.processes)


def test_a_killed_engine_costs_no_row_and_changes_none(two: VllmGenerator) -> None:
    call = [ask(f"Count to {at}.", at, sampling={"temperature": 0.8, "max_tokens": 400}) for at in range(60)]
    expected, found = two.generate(call), []
    thread = threading.Thread(target=lambda: found.extend(two.generate(call)))
    thread.start()
    while not all(two.fleet.queue.open):
        time.sleep(0.01)
    victim = two.fleet.processes[0]
    assert victim is not None
    os.kill(victim.process.pid, signal.SIGKILL)
    thread.join()
    assert two.fleet.restarts == [1, 0]
    assert found == expected


def test_refill_waits_until_enough_sequences_have_ended(config: schema.Generator, monkeypatch) -> None:
    options = config.vllm.model_copy(update={"max_num_seqs": 4, "refill": 0.5})
    config = config.model_copy(update={"vllm": options})
    card = identify(config)
    placement, *_ = place_engines(config, card, [], 1)
    for name, value in placement.environment.items():
        monkeypatch.setenv(name, value)
    engine = VllmEngine(EngineSpec("", config, card, 0, placement.memory_share, placement.kv_cache_bytes, cpu=True))
    try:
        requests = [ask(f"Count to {at}.", sampling={"max_tokens": 2 + 2 * at}) for at in range(9)]
        for number, request in enumerate(requests):
            engine.add(number, engine.tokens(request), request)
        running, ended = [], []
        while engine.busy:
            before = engine.running
            ended += [number for number, _ in engine.step()]
            running.append((before, engine.running))
            assert len(running) < 100
        grown = [before for before, after in running if after > before]
        assert sorted(ended) == list(range(9))
        assert grown[0] == 0
        assert len(grown) > 1
        assert max(grown) <= 2
        assert max(after for _, after in running) <= 4
    finally:
        engine.close()


def test_a_killed_parent_leaves_no_engine(config: schema.Generator) -> None:
    script = """
import sys, time
from model.backends.vllm.backend import VllmGenerator
from configs import schema
from model.backends import identify
config = schema.Generator.model_validate_json(sys.argv[1])
made = VllmGenerator(config, identify(config), 1)
print(made.fleet.processes[0].process.pid, flush=True)
time.sleep(600)
"""
    around = os.environ | {"PYTHONPATH": str(ROOT)}
    line = [sys.executable, "-c", script, config.model_dump_json()]
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True, env=around) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        parent.kill()
    deadline = time.monotonic() + 30
    while Path(f"/proc/{pid}").exists():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_start_that_fails_says_what_to_change(config: schema.Generator) -> None:
    long = config.model_copy(update={"max_model_len": 1_000_000})
    with pytest.raises(BackendError, match=r"generator\.vllm.*lower generator\.max_model_len"):
        open_generator(long, identify(long), 1)

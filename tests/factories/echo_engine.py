"""The echo generator as a worker's engine: a real process, no model. Words in a prompt make it misbehave."""

import json
import os
import signal
import time
from collections.abc import Sequence
from typing import Any

from configs.schema import Generator
from model.backends.echo import EchoGenerator
from model.backends.prompt import PromptError
from model.backends.vllm.backend import VllmGenerator
from model.backends.vllm.worker import EngineSpec
from stages.ports import Completion, ModelCard, Request


class EchoEngine:
    """A prompt takes one to eight steps. `card.path` is JSON: `start` (how engines from number `from` on misbehave when
    they start), `step_s`."""

    def __init__(self, spec: EngineSpec):
        self.spec, self.knobs = spec, {"step_s": 0.001, "from": 0} | json.loads(spec.card.path or "{}")
        if spec.number >= self.knobs["from"]:
            misbehave(self.knobs.get("start", ""))
        self.generator = EchoGenerator(spec.config, spec.card, 1)
        self.held: list[tuple[int, Request, int]] = []
        self.steps = 0

    @property
    def busy(self) -> bool:
        return bool(self.held)

    def tokens(self, request: Request) -> list[int]:
        if "LONG" in request.messages[0]["content"]:
            raise PromptError("prompt_too_long: said so")
        if "BROKEN" in request.messages[0]["content"]:
            raise RuntimeError("no such token")
        return []

    def add(self, number: int, prompt: Any, request: Request) -> None:
        self.held.append((number, request, self.steps + 1 + request.seed % 8))

    def step(self) -> list[tuple[int, Request]]:
        time.sleep(self.knobs["step_s"])
        self.steps += 1
        running = self.held[: self.spec.config.vllm.max_num_seqs]
        for _, request, _ in running:
            misbehave(request.messages[0]["content"])
        ended = [(number, request) for number, request, due in running if due <= self.steps]
        gone = {number for number, _ in ended}
        self.held = [row for row in self.held if row[0] not in gone]
        return ended

    def texts(self, ended: Sequence[Request]) -> list[Completion]:
        return self.generator.generate(ended)

    def figures(self) -> dict[str, float]:
        return {"preemptions": 0.0, "kv_usage": 0.5, "allocated": 3e9, "reserved": 4e9}

    def close(self) -> None:
        self.generator.close()


def misbehave(text: str) -> None:
    if "POISON" in text:
        os.kill(os.getpid(), signal.SIGKILL)
    if "RAISE" in text:
        raise RuntimeError("the device is gone")
    if "HANG" in text:
        time.sleep(3600)
    if "STOP" in text:
        os.kill(os.getpid(), signal.SIGSTOP)


def open_fleet(config: Generator, card: ModelCard, threads: int) -> VllmGenerator:
    """A backend for whole runs: the fleet with this engine."""
    return VllmGenerator(config, card, threads, "tests.factories.echo_engine:EchoEngine")

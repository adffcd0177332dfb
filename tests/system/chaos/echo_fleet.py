"""The echo backend's answers from two engine processes, under the fleet that keeps vLLM's engines alive."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from configs.schema import Generator, VllmOptions
from model.backends.vllm.fleet import Fleet
from model.backends.vllm.worker import EngineSpec
from stages.ports import Completion, ModelCard, ProgressCallback, Request
from stages.storage.stats import GeneratorStats

ENGINES = 2


class EchoFleet:
    def __init__(self, config: Generator, card: ModelCard, threads: int):
        options = VllmOptions(max_num_seqs=4, start_timeout_s=60, step_timeout_s=60, restarts=20)
        starts = [
            EngineSpec(
                "tests.factories.echo_engine:EchoEngine", config, replace(card, path=""), number, 1.0, None, cpu=True
            )
            for number in range(ENGINES)
        ]
        self.fleet = Fleet(starts, [{}] * ENGINES, options, Path(os.environ["CHAOS"], "engines.lock"))

    def generate(self, requests: Sequence[Request], progress: ProgressCallback | None = None) -> list[Completion]:
        return self.fleet.generate(requests, progress)

    def take_stats(self) -> GeneratorStats:
        return GeneratorStats()

    def close(self) -> None:
        self.fleet.close()

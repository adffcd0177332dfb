"""A new backend is its file, its options and a row in the contract: nothing else knows its name."""

import json
import re
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.factories.command_line import DATE, ROOT, gristmill
from tests.factories.documents import write_config, write_documents
from tests.factories.extended_copy import ExtendedCopy

OPTIONS = "configs/schema/generator.py"
SOURCE = '''"""Answers with the prompt's own words in another order."""

import random

from model.backends import Backend, Readiness, identify_by_name
from stages.ports import Completion
from stages.storage.stats import GeneratorStats


class ShuffleGenerator:
    def __init__(self, config, card, threads):
        self.config = config

    def generate(self, requests, progress=None):
        completions = [self._answer(request) for request in requests]
        if progress:
            progress(len(completions), sum(completion.output_tokens for completion in completions))
        return completions

    def take_stats(self):
        return GeneratorStats()

    def close(self):
        pass

    def _answer(self, request):
        words = request.messages[-1]["content"].encode("utf-8", "replace").decode().split()
        limit = request.sampling.max_tokens
        if len(words) + limit > self.config.max_model_len:
            return Completion("", len(words), 0, "error", "prompt_too_long: this one is")
        random.Random(request.seed if request.sampling.temperature else 0).shuffle(words)
        answer = [*self.config.shuffle.opening.split(), *words][:limit]
        finish = "length" if len(answer) == limit else "stop"
        return Completion(" ".join(answer) + ".", len(words), len(answer), finish)


BACKEND = Backend(
    identify=identify_by_name, open=ShuffleGenerator, readiness=lambda: Readiness(True, "needs nothing")
)
'''


OPTIONS_CLASS = '''

class ShuffleOptions(BackendOptions):
    """Options of the backend shuffle."""

    changes_rows: ClassVar[frozenset[str]] = frozenset({"opening"})

    opening: str = Field(default="In other words,", description="How each answer begins.")
    pause_s: float = Field(default=0, ge=0, description="Seconds between two answers.")
'''


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> ExtendedCopy:
    copy = ExtendedCopy(tmp_path_factory.mktemp("extended") / "gristmill")
    copy.write("model/backends/shuffle.py", SOURCE)
    copy.insert_after(OPTIONS, "BackendName = Literal[", '"shuffle", ')
    copy.insert_after(OPTIONS, "        return None\n", OPTIONS_CLASS)  # the end of EchoOptions
    field = 'echo: EchoOptions = Field(default=EchoOptions(), description="Options of the backend echo.")\n'
    copy.insert_after(OPTIONS, field, "    shuffle: ShuffleOptions = ShuffleOptions()\n")
    assert copy.changed == [OPTIONS, "model/backends/shuffle.py"]
    return copy


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return write_config(tmp_path, write_documents(tmp_path / "documents.jsonl", range(60)))


def test_a_date_is_generated_by_it(copy: ExtendedCopy, config: Path) -> None:
    config.write_text(config.read_text().replace("backend: echo, model: echo", "backend: shuffle, model: words"))
    flags = ("--config", config, "--date", DATE, "--json", "--set", "domains.law.tasks=[explain]")
    result = copy.gristmill("run", *flags)
    assert result.code == 0, result.err
    assert result.line["accepted"] > 20
    manifest = json.loads((config.parent / "out" / "manifests" / f"{DATE}.json").read_text("utf-8"))
    assert (manifest["generator"]["name"], manifest["generator"]["backend"]) == ("words", "shuffle")
    assert {row["reason"] for row in manifest["adapters"]} == {"this backend cannot train adapters"}
    shards = [config.parent / "out" / shard["file"] for shard in manifest["shards"]]
    answers = [row["messages"][-1]["content"] for path in shards for row in pq.read_table(path).to_pylist()]
    assert all(answer.startswith("In other words,") for answer in answers)

    # options that rows depend on are part of the fingerprint, others are not
    changed = {
        option: copy.gristmill("plan", *flags, "--set", f"generator.shuffle.{option}").line["state"]
        for option in ("pause_s=1", "opening=Briefly")
    }
    assert changed == {"pause_s=1": "finished", "opening=Briefly": "needs --force"}


def test_fingerprints_of_other_backends_stay(copy: ExtendedCopy, config: Path) -> None:
    flags = ("plan", "--config", config, "--date", DATE, "--json")
    assert copy.gristmill(*flags).line["fingerprint"] == gristmill(*flags).line["fingerprint"]


def test_it_keeps_the_contract(copy: ExtendedCopy) -> None:
    shutil.copytree(ROOT / "tests", copy.folder / "tests", ignore=shutil.ignore_patterns("__pycache__", "fixtures"))
    contract = copy.folder / "tests" / "model" / "backends" / "test_contract.py"
    row = '    "shuffle": {},\n    "echo":'
    contract.write_text(contract.read_text("utf-8").replace('    "echo":', row, 1), "utf-8")
    result = copy.python("-m", "pytest", "-q", "-p", "no:cacheprovider", contract, "-k", "shuffle or tested")
    assert result.code == 0, result.out
    assert int(re.findall(r"(\d+) passed", result.out)[0]) >= 12

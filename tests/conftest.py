"""A small data set of one's own documents, and the command line as a user calls it."""

import json
import os
import random
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

settings.register_profile("gristmill", deadline=None)  # no test asserts on time
settings.load_profile("gristmill")

ROOT = Path(__file__).parent.parent
DATE = "2026-01-02"
PLAIN = ("--set", "adapt.enabled=false")
HUNG_S = 1200  # far from what any command takes on a slow machine: no test asserts on time

WORDS = [
    "court",
    "contract",
    "party",
    "claim",
    "duty",
    "notice",
    "breach",
    "damages",
    "lease",
    "tenant",
    "owner",
    "judge",
    "appeal",
    "statute",
    "clause",
    "consent",
    "witness",
    "hearing",
    "order",
    "remedy",
    "term",
    "rent",
    "deposit",
    "repair",
    "sale",
    "buyer",
    "seller",
    "title",
    "deed",
    "trust",
    "agent",
    "bond",
    "lien",
]
VERBS = [
    "requires",
    "permits",
    "forbids",
    "ends",
    "follows",
    "limits",
    "secures",
    "binds",
    "covers",
    "names",
    "moves",
    "grants",
]


def passage(number: int) -> str:
    """A paragraph of ten plain sentences; other numbers give other words."""
    rng = random.Random(number)

    def sentence() -> str:
        a, b, c, d = rng.sample(WORDS, 4)
        return f"The {a} of the {b} {rng.choice(VERBS)} the {c} when a {d} is given to the {rng.choice(WORDS)}."

    return " ".join([f"Case {number} is about the following.", *(sentence() for _ in range(10))])


def write_documents(path: Path, numbers: range, extra: tuple[str, ...] = ()) -> Path:
    """A JSONL file of passages; `extra` texts are put into one document each."""
    texts = [passage(number) for number in numbers]
    for place, text in enumerate(extra):
        texts.append(f"{passage(10_000 + place)} {text} stands here as well.")
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), "utf-8")
    return path


def write_config(folder: Path, documents: Path, **changes: str) -> Path:
    """A config of one domain over the documents, on echo."""
    config = folder / "mine.yaml"
    config.write_text(
        f"""
name: mine
out: {folder / "out"}
domains:
  law:
    seeds: [{{path: "{documents}", licence: CC0-1.0}}]
    tasks: [explain, question-answer]
    per_day: 40
    passages: {{min_chars: 100, max_chars: 3000}}
generator: {{backend: echo, model: echo}}
generate: {{shard_rows: 8}}
screen: {{filters: [{{name: length}}, {{name: refusal}}, {{name: truncation}}]}}
adapt: {{min_rows: 8}}
run: {{stall_timeout_s: 60, in_flight: 1, max_quarantined: 0.5}}
""",
        "utf-8",
    )
    return config


WEIGHTS = {
    "test_backends",
    "test_decode",
    "test_encoder",
    "test_lora",
    "test_sampler",
    "test_train_filter",
    "test_weights",
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.stem in WEIGHTS:
            item.add_marker("weights")


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str

    @property
    def line(self) -> dict[str, Any]:
        return json.loads(self.out.splitlines()[-1])


def environment(*, faults: bool | dict[str, str] = False) -> dict[str, str]:
    """With faults, the passages' markers work, and so do the variables of tests/system/faults/sitecustomize.py."""
    paths = [str(ROOT / "tests" / "system" / "faults"), str(ROOT)] if faults else [str(ROOT)]
    return os.environ | {"PYTHONPATH": os.pathsep.join(paths)} | (faults if isinstance(faults, dict) else {})


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "pipeline", *map(str, arguments)]


def gristmill(*arguments: object, faults: bool | dict[str, str] = False) -> Done:
    """Runs the command line to its end."""
    done = subprocess.run(
        command(*arguments),
        capture_output=True,
        text=True,
        timeout=HUNG_S,
        env=environment(faults=faults),
        check=False,
    )
    return Done(done.returncode, done.stdout, done.stderr)


@dataclass(frozen=True)
class Finished:
    config: Path
    out: Path
    documents: Path
    done: Done

    @property
    def manifest(self) -> dict[str, Any]:
        return json.loads((self.out / "manifests" / f"{DATE}.json").read_text("utf-8"))


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """One finished date. Tests only read it."""
    folder = tmp_path_factory.mktemp("finished")
    documents = write_documents(folder / "documents.jsonl", range(100))
    config = write_config(folder, documents)
    done = gristmill("run", "--config", config, "--date", DATE, "--json")
    assert done.code == 0, done.err
    return Finished(config, folder / "out", documents, done)


@pytest.fixture(scope="session")
def plain_digest(finished: Finished, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The digest of an undisturbed run without a second round."""
    out = tmp_path_factory.mktemp("plain") / "out"
    return gristmill("run", "--config", finished.config, "--date", DATE, "--json", "--out", out, *PLAIN).line["digest"]

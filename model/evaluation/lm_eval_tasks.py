"""Multiple-choice tasks of lm-evaluation-harness over the held-out corpora: a Parquet file and a YAML file each.

<folder>/<corpus>.parquet    question, choices, label: the questions in a fixed order
<folder>/<corpus>.yaml       the library's own form: `lm_eval --include_path <folder> --tasks <corpus>` reads it too
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from configs.catalogue import corpora
from configs.errors import ConfigError, InputError
from stages.sources.corpora import read_corpus
from stages.sources.documents import Document

_OPTION = re.compile(r"^([A-H])\. ", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Question:
    text: str  # without the choices
    choices: list[str]
    label: int  # the right one's place


@dataclass(frozen=True, slots=True)
class Task:
    """A task on disk. `chance`: accuracy of guessing; `majority`: of always giving the most frequent answer's place."""

    name: str
    questions: int
    left_out: int  # questions whose gold answer is none of their choices
    chance: float
    majority: float


def known() -> list[str]:
    """The names that --lm-eval takes: corpora held out for evaluation."""
    return sorted(name for name, corpus in corpora().items() if corpus.held_out)


def check(names: Sequence[str]) -> None:
    """Raises ConfigError for a name that is no task, and when lm-eval is not installed."""
    for name in names:
        if name not in known():
            raise ConfigError(f"--lm-eval: no task {name!r}; there are {', '.join(known())}")
    if names:
        try:
            import lm_eval  # noqa: F401
        except ImportError:
            raise ConfigError("--lm-eval: lm-eval is not installed; pip install 'gristmill[evaluate]'") from None


def write(name: str, folder: Path, most: int) -> Task:
    """Writes at most `most` questions, evenly spread over the corpus (0: all), and the task's YAML.

    Raises InputError when the corpus cannot be fetched or has no question that can be asked.
    """
    documents = list(read_corpus(name))
    answers = sorted({document.answer for document in documents})
    read = [to_question(document, answers) for document in documents]
    questions = [question for question in read if question is not None]
    if not questions:
        raise InputError(f"--lm-eval: {name!r} has no question whose answer is among its choices; take another task")
    left_out = len(read) - len(questions)
    if 0 < most < len(questions):
        questions = [questions[place * len(questions) // most] for place in range(most)]
    folder.mkdir(parents=True, exist_ok=True)
    rows = [{"question": of.text, "choices": of.choices, "label": of.label} for of in questions]
    pq.write_table(pa.Table.from_pylist(rows), folder / f"{name}.parquet")
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(_yaml(name, folder), sort_keys=False), "utf-8")
    chance = sum(1 / len(of.choices) for of in questions) / len(questions)
    majority = Counter(of.label for of in questions).most_common(1)[0][1] / len(questions)
    return Task(name, len(questions), left_out, chance, majority)


def to_question(document: Document, answers: Sequence[str]) -> Question | None:
    """Listed options (`A. …`) are the choices, else the corpus's few `answers` are; None where no choice is right."""
    marks = list(_OPTION.finditer(document.text))
    begins = [place for place, mark in enumerate(marks) if mark[1] == "A"]
    marks = marks[begins[-1] :] if begins else []
    if len(marks) < 2 or [mark[1] for mark in marks] != list("ABCDEFGH"[: len(marks)]):
        if not 2 <= len(answers) <= 5:
            return None
        return Question(document.text, list(answers), list(answers).index(document.answer))
    ends = [*(mark.start() for mark in marks[1:]), len(document.text)]
    choices = [document.text[mark.end() : end].strip() for mark, end in zip(marks, ends, strict=True)]
    letter, _, _ = document.answer.partition(".")
    label = "ABCDEFGH".find(letter.strip().upper()) if len(letter.strip()) == 1 else -1
    if not 0 <= label < len(choices) or not all(choices):
        return None
    return Question(document.text[: marks[0].start()].strip(), choices, label)


def _yaml(name: str, folder: Path) -> dict[str, Any]:
    def metric(kind: str) -> dict[str, Any]:
        return {"metric": kind, "aggregation": "mean", "higher_is_better": True}

    return {
        "task": name,
        "dataset_path": "parquet",
        "dataset_kwargs": {"data_files": {"test": str(folder.resolve() / f"{name}.parquet")}},
        "test_split": "test",
        "output_type": "multiple_choice",
        "doc_to_text": "{{question}}\nAnswer:",
        "doc_to_choice": "choices",
        "doc_to_target": "label",
        "metric_list": [metric("acc"), metric("acc_norm")],
        "metadata": {"version": 1.0, "licence": corpora()[name].licence},
    }

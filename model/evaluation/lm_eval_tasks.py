"""The held-out corpora as multiple-choice tasks of lm-evaluation-harness: a Parquet file and a YAML file each.

<folder>/<corpus>.parquet    question, choices, label: the questions in a fixed order
<folder>/<corpus>.yaml       the library's own form, which `lm_eval --include_path <folder> --tasks <corpus>` reads too
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

LETTERS = "ABCDEFGH"
MAX_SHARED_CHOICES = 5  # a corpus with at most so many different answers offers them with each question
_OPTION = re.compile(r"^([A-H])\. ", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Question:
    """A question, its choices and the right one of them."""

    text: str  # without the choices
    choices: list[str]
    label: int  # the place of the right choice


@dataclass(frozen=True, slots=True)
class Task:
    """A task on disk."""

    name: str
    questions: int
    left_out: int  # questions whose right answer is not among their choices
    chance: float  # accuracy of guessing
    majority: float  # accuracy of always choosing the place that is right most often


def task_names() -> list[str]:
    """Returns the names that --lm-eval takes: the corpora that are held out for evaluation."""
    return sorted(name for name, corpus in corpora().items() if corpus.held_out)


def check(names: Sequence[str]) -> None:
    """Raises ConfigError for a name that is not a task, and when lm-eval is not installed."""
    for name in names:
        if name not in task_names():
            raise ConfigError(f"--lm-eval: no task {name!r}; the tasks are {', '.join(task_names())}")
    if names:
        try:
            import lm_eval  # noqa: F401
        except ImportError:
            raise ConfigError("--lm-eval: lm-eval is not installed; pip install 'gristmill[evaluate]'") from None


def write(name: str, folder: Path, max_questions: int) -> Task:
    """Writes a task's questions and its YAML file.

    Args:
        name: of the corpus.
        folder: where the files are written.
        max_questions: how many are taken, evenly spread over the corpus; 0: all.

    Raises:
        InputError: the corpus cannot be fetched, or none of its questions can be asked.
    """
    documents = list(read_corpus(name))
    answers = sorted({document.answer for document in documents})
    parsed = [to_question(document, answers) for document in documents]
    questions = [question for question in parsed if question is not None]
    if not questions:
        raise InputError(f"--lm-eval: {name!r} has no question whose answer is among its choices; name another task")
    left_out = len(parsed) - len(questions)
    if 0 < max_questions < len(questions):
        questions = [questions[place * len(questions) // max_questions] for place in range(max_questions)]
    folder.mkdir(parents=True, exist_ok=True)
    rows = [{"question": question.text, "choices": question.choices, "label": question.label} for question in questions]
    pq.write_table(pa.Table.from_pylist(rows), folder / f"{name}.parquet")
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(_yaml(name, folder), sort_keys=False), "utf-8")
    chance = sum(1 / len(question.choices) for question in questions) / len(questions)
    majority = Counter(question.label for question in questions).most_common(1)[0][1] / len(questions)
    return Task(name, len(questions), left_out, chance, majority)


def to_question(document: Document, answers: Sequence[str]) -> Question | None:
    """Returns a document of a corpus as a question; None where its answer is not among the choices.

    The choices are the options that the text lists (`A. …`), else the different `answers` of the corpus, if few.
    """
    marks = list(_OPTION.finditer(document.text))
    first_options = [place for place, mark in enumerate(marks) if mark[1] == "A"]
    marks = marks[first_options[-1] :] if first_options else []
    if len(marks) < 2 or [mark[1] for mark in marks] != list(LETTERS[: len(marks)]):
        if not 2 <= len(answers) <= MAX_SHARED_CHOICES:
            return None
        return Question(document.text, list(answers), list(answers).index(document.answer))
    ends = [*(mark.start() for mark in marks[1:]), len(document.text)]
    choices = [document.text[mark.end() : end].strip() for mark, end in zip(marks, ends, strict=True)]
    letter, _, _ = document.answer.partition(".")
    label = LETTERS.find(letter.strip().upper()) if len(letter.strip()) == 1 else -1
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

"""Texts that each filter must keep and must drop: a file a filter in `cases/`.

A file has `pass` and `drop` (by reason) or `find` (by finding), each by language. A case is a text, a text and its
passage, or a mapping with `text`, `passage`, `times` (it is repeated), `writes`, and scores. `passages` names passages.
Filters that read an encoder or a verifier are tested with trained heads in files of their own.
"""

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from filters import FILTERS
from filters.build import filter_class, reads_embeddings
from stages.ports import judged_by
from stages.record import Candidate
from tests.factories.candidates import candidate

CASES = Path(__file__).parent / "cases"
SCORES = ("gain", "plausibility")
WITH_A_MODEL = {"domain", "quality", "grounded"}


def case_files() -> dict[str, dict[str, Any]]:
    """By filter."""
    return {path.stem: yaml.safe_load(path.read_text("utf-8")) for path in sorted(CASES.glob("*.yaml"))}


def row(case: Any, language: str, file: dict[str, Any]) -> Candidate:
    """The candidate of a case."""
    if not isinstance(case, dict):
        text, passage = case if isinstance(case, list) else (case, "")
        case = {"text": text, "passage": passage}
    passage = case.get("passage", "")
    changes = {"passage": file.get("passages", {}).get(passage, passage), "instruction": file.get("instruction", "")}
    changes |= file.get("candidate", {}) | {key: case[key] for key in ("writes",) if key in case}
    changes["scores"] = [{"filter": name, "score": case[name]} for name in SCORES if name in case]
    text = case["text"] * case.get("times", 1)
    if changes.get("writes", "answer") != "answer":
        changes["written"] = text
    return candidate(text, language, domain="law", **changes)


def expected(file: dict[str, Any]) -> Iterator[tuple[str | None, str, str, Any]]:
    """Reason, finding, language and case."""
    for language, cases in file["pass"].items():
        yield from ((None, "", language, case) for case in cases)
    for reason, by_language in file.get("drop", {}).items():
        yield from ((reason, "", language, case) for language, cases in by_language.items() for case in cases)
    for finding, by_language in file.get("find", {}).items():
        yield from ((None, finding, language, case) for language, cases in by_language.items() for case in cases)


@cache
def judge(name: str, folder: Path) -> Any:
    if name != "contamination":
        return filter_class(name, "")()
    path = folder / "mine.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in case_files()[name]["evaluation"]), "utf-8")
    return filter_class(name, "")(sets=(), files=(str(path),))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("evaluation")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRISTMILL_CACHE", str(folder / "cache"))
        yield folder


ROWS = [
    pytest.param(name, file, *values, id=f"{name}-{values[0] or values[1] or 'pass'}-{values[2]}-{number}")
    for name, file in case_files().items()
    for number, values in enumerate(expected(file))
]


@pytest.mark.parametrize(("name", "file", "reason", "finding", "language", "case"), ROWS)
def test_case(name, file, reason, finding, language, case, folder):
    text = row(case, language, file)
    assert text.writes in judged_by(filter_class(name, ""))
    (verdict,) = judge(name, folder)([text])
    assert (verdict.reason, verdict.detail if verdict.reason != reason else "") == (reason, "")
    assert finding in verdict.findings if finding else not verdict.findings or reason


def test_every_filter_without_a_model_has_cases():
    assert {name for name in FILTERS if reads_embeddings(filter_class(name, ""))} | {"grounded"} == WITH_A_MODEL
    assert set(case_files()) == set(FILTERS) - WITH_A_MODEL


@pytest.mark.parametrize("name", case_files())
def test_each_file_has_ten_cases_of_each_kind_in_three_languages(name):
    passing, failing = [], []
    for reason, finding, language, _ in expected(case_files()[name]):
        (failing if reason or finding else passing).append(language)
    assert len(passing) >= 10
    assert len(failing) >= 10
    assert set(passing) == set(failing) == {"en", "es", "zh"}

"""The documents' examples run: configs load, tasks render, the filter filters, commands exist, the tree is true."""

import re
import shlex
from pathlib import Path

import pytest
import yaml

from configs.load import load, load_policy, load_task
from configs.schema import Screen
from filters.build import check_screen
from pipeline.cli import parse
from stages.prompt import check
from tests.factories.command_line import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text("utf-8"), re.DOTALL)


def test_the_readmes_config_loads(tmp_path):
    (text,) = blocks(ROOT / "README.md", "yaml")
    (tmp_path / "mine.yaml").write_text(text, "utf-8")
    config = load(str(tmp_path / "mine.yaml"))
    assert config.domains["law"].seeds[0].licence == "proprietary"
    for task in config.domains["law"].tasks:
        check(config.tasks[task])
    check_screen(config.screen)


def test_the_example_task_is_taken_from_beside_the_config(tmp_path):
    (text,) = blocks(ROOT / "docs" / "tasks-and-filters.md", "yaml")
    (tmp_path / "tasks").mkdir()
    path = tmp_path / "tasks" / "define.yaml"
    path.write_text(text, "utf-8")
    config = tmp_path / "c.yaml"
    config.write_text((ROOT / "configs" / "presets" / "echo.yaml").read_text(), "utf-8")
    task = load(str(config), ["domains.law.tasks=[define]"]).tasks["define"]
    assert task.name == "define"
    check(task)
    path.write_text(yaml.safe_dump(task.model_dump(mode="json")), "utf-8")
    assert load_task(path) == task


def test_the_example_screen_and_policy_are_read(tmp_path):
    screen, policy = blocks(ROOT / "docs" / "privacy-and-safety.md", "yaml")
    (tmp_path / "policy.yaml").write_text(policy, "utf-8")
    assert set(load_policy(str(tmp_path / "policy.yaml")).classes) == {"advice", "dose"}
    check_screen(Screen(**yaml.safe_load(screen)["screen"]))


def test_the_example_filter_filters():
    from tests.factories.candidates import candidate

    (text,) = blocks(ROOT / "docs" / "tasks-and-filters.md", "python")
    space: dict = {"__name__": "example"}
    import sys
    import types

    sys.modules["example"] = types.ModuleType("example")  # dataclasses look their module up
    exec(compile(text, "example", "exec"), space)
    judge = space["EndsWell"]()
    assert [verdict.reason for verdict in judge([candidate("Is it?"), candidate("It is.")])] == ["question", None]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_shown_is_one_that_parses(page):
    for line in re.findall(r"^(?:    |\| `)(gristmill [a-z][^`#\n]*)", page.read_text("utf-8"), re.MULTILINE):
        words = shlex.split(line.split(" -- ")[0])[1:]
        if any(mark in line for mark in ("[", "…", "|", "run.")):
            continue  # a synopsis
        assert parse(words)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_path_named_is_there(page):
    text = page.read_text("utf-8")
    for path in re.findall(r"\]\((?!http)([^)#]+)\)", text):
        assert (page.parent / path).exists(), path
    for path in re.findall(
        r"`((?:configs|stages|filters|model|pipeline|tests|docs|benchmarks|deploy)/[\w./-]+)`", text
    ):
        assert (ROOT / path).exists() or "ends_well" in path, path

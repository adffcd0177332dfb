"""Every command that the documents show is one that the command line takes."""

import contextlib
import io
import re
from pathlib import Path

import pytest
import typer

from pipeline import cli
from tests.docs.pages import DOCS, PAGES, README, full_commands, mentioned_commands, page_id, shell_lines
from tests.factories.command_line import ROOT

GUIDES = [page for page in PAGES if page.parent in (ROOT, DOCS)]


def help_text(path: tuple[str, ...]) -> str:
    """What `gristmill PATH --help` prints; "" where there is no such command."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(io.StringIO()):
        code = cli.main([*path, "--help"])
    return printed.getvalue() if not code else ""


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_commands_in_shell_blocks_parse(page: Path):
    for words in full_commands(page):
        try:
            cli.parse(words)
        except Exception as error:
            pytest.fail(f"gristmill {' '.join(words)}: {error}")


@pytest.mark.parametrize("page", GUIDES, ids=page_id)
def test_commands_named_in_sentences_and_their_flags_exist(page: Path):
    for words in mentioned_commands(page):
        words = words[: words.index("--")] if "--" in words else words
        path = tuple(word for word in words if re.fullmatch(r"[a-z]+", word))[:2]
        text = help_text(path) or help_text(path[:1])
        assert text or not path, words
        for flag in (word for word in words if word.startswith("--") and word != "--help"):
            assert flag.split("=")[0] in text, words


def test_what_does_not_exist_is_found():
    for words in (["rum", "--config", "echo"], ["run", "--config", "echo", "--dates", "today"], ["run"]):
        with pytest.raises(typer.TyperException):
            cli.parse(words)
    assert help_text(("rum",)) == ""


@pytest.mark.parametrize("page", GUIDES, ids=page_id)
def test_make_targets_exist(page: Path):
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    named = {words[1] for words in shell_lines(page) if words[0] == "make"}
    named |= set(re.findall(r"`make ([\w-]+)`", page.read_text("utf-8")))
    assert named <= targets


def test_the_guides_show_commands():
    assert sum(len(full_commands(page)) for page in GUIDES) > 50
    assert {"run", "test"} <= {words[1] for words in shell_lines(README) if words[0] == "make"}

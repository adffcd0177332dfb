"""The documents as text: pages, fenced blocks, headings and the commands that they show."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

from tests.factories.command_line import ROOT

DOCS = ROOT / "docs"
README = ROOT / "README.md"
PAGES = [README, ROOT / "CHANGELOG.md", *sorted(DOCS.rglob("*.md"))]


def page_id(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks(page: Path, language: str) -> list[str]:
    """The contents of the page's fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text("utf-8"), re.DOTALL | re.MULTILINE)


def code_spans(page: Path) -> list[str]:
    """What the page has between backticks, outside of fenced blocks."""
    prose = re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)
    return re.findall(r"`([^`\n]+)`", prose)


def anchors(page: Path) -> set[str]:
    """The fragments by which GitHub links to the page's headings."""
    prose = re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ (.*)$", prose, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def shell_lines(page: Path) -> Iterator[list[str]]:
    """The words of each line of the page's sh blocks and indented blocks, without comments."""
    text = page.read_text("utf-8")
    lines = [line for block in blocks(page, "sh") for line in block.splitlines()]
    lines += [line for line in re.findall(r"^    (\S.*)$", text, re.MULTILINE) if line.startswith("gristmill ")]
    for line in lines:
        if words := shlex.split(line, comments=True):
            yield words


def full_commands(page: Path) -> list[list[str]]:
    """The gristmill commands of shell lines, and of table cells that hold nothing else; each with all that it needs."""
    cells = re.findall(r"\| `(gristmill [^`]*--config [^`]*)` \|", page.read_text("utf-8"))
    commands = [words for words in shell_lines(page) if words[0] == "gristmill"]
    return [words[1:] for words in [*commands, *map(shlex.split, cells)]]


def mentioned_commands(page: Path) -> list[list[str]]:
    """The gristmill commands that are named in a sentence; they may lack what a command needs."""
    return [shlex.split(span)[1:] for span in code_spans(page) if span.startswith("gristmill ")]

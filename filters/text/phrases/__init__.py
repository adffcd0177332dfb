"""Phrases that filters look for: text files, a phrase a line, and `compiled`, which makes a pattern of them.

A file is read from the top:

- `#` begins a comment line; blank lines separate groups.
- `name = expression` defines a name for what several phrases share, or for a part of a long one; a long list of
  alternatives follows `name =` on indented lines. In the lines below, `{name}` is replaced by it, as a group.
- Each other line is a phrase: a regular expression, in which `'` is the straight and the curly apostrophe (so it is not
  for use within brackets). Where two phrases match at the same place, the first one is what is found.

A space at the end of a line, which nobody sees, is written `[ ]`.
"""

import re
from functools import cache
from pathlib import Path

HERE = Path(__file__).parent

_DEFINITION = re.compile(r"([A-Za-z]\w*) =(?: (.+))?")
_NAME = re.compile(r"\{([A-Za-z]\w*)\}")  # {0,40} is a count


@cache
def compiled(expression: str, folder: Path = HERE) -> re.Pattern[str]:
    """An expression in which `{refusals_en}` stands for any phrase of `refusals_en.txt`, compiled; case is ignored.

    Raises:
        ValueError: with file and line: an unknown name, a name defined twice, a broken expression.
    """
    files = dict.fromkeys(_NAME.findall(expression))
    phrases = {file: read(folder / f"{file}.txt") for file in files}
    try:
        return re.compile(_expanded(expression, phrases), re.IGNORECASE)
    except re.error as error:
        for file in files:  # which line it is
            read(folder / f"{file}.txt", check=True)
        raise ValueError(f"{expression}: {error}") from error


def read(path: Path, *, check: bool = False) -> list[str]:
    """The phrases of a file, with names replaced. With `check`, each line is compiled by itself, which takes longer.

    Raises ValueError as `compiled` does; only with `check` for a broken expression.
    """
    phrases: list[str] = []
    names: dict[str, list[str]] = {}  # the alternatives of each
    name = ""  # whose definition a line belongs to
    for number, line in enumerate(path.read_text("utf-8").splitlines(), start=1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        try:
            if definition := _DEFINITION.fullmatch(line.rstrip()):
                name, text = definition.groups()
                if name in names:
                    raise ValueError(f"{name} is defined twice")
                names[name] = []
            elif not line[0].isspace():
                name = ""
            elif not name:
                raise ValueError("an indented line belongs below a definition")
            if text:
                known = {key: alternatives for key, alternatives in names.items() if key != name and alternatives}
                expanded = _expanded(text.replace("'", "['’]"), known)
                (names[name] if name else phrases).append(expanded)
                if check:
                    re.compile(expanded)
        except (ValueError, re.error) as error:
            raise ValueError(f"{path.name}:{number}: {error}") from error
    return phrases


def _expanded(text: str, names: dict[str, list[str]]) -> str:
    """A text with `(?:a|b)` for each name whose alternatives are a and b."""
    for name in _NAME.findall(text):
        if name not in names:
            raise ValueError(f"unknown name {{{name}}}: it has to be defined above")
    return _NAME.sub(lambda match: f"(?:{'|'.join(names[match[1]])})", text)

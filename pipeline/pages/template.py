"""Templates to HTML. Everything that comes from data is escaped: `autoescape` holds for all templates and attributes.

A page asks nothing of anyone: its style is in it, it has no script, and its content-security-policy says so to the
browser, by the style's hash.
"""

import hashlib
from base64 import b64encode
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from pipeline.report.summary import size

FOLDER = Path(__file__).parent / "templates"


@cache
def _environment() -> Environment:
    made = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"count": count, "percent": percent, "figure": figure, "size": size, "clip": clip}
    made.globals |= {"link": urlencode, "style": Markup(style()), "policy": policy()}
    return made


def render(template: str, /, **values: Any) -> str:
    """A template with these values, as a page; lone surrogates, which UTF-8 cannot hold, become question marks."""
    return _environment().get_template(template).render(**values).encode("utf-8", "replace").decode("utf-8")


@cache
def style() -> str:
    return (FOLDER / "style.css").read_text("utf-8")


@cache
def policy() -> str:
    """The content-security-policy of every page: nothing but its own style, and forms back to where it came from."""
    mark = b64encode(hashlib.sha256(style().encode()).digest()).decode()
    return f"default-src 'none'; style-src 'sha256-{mark}'; img-src data:; form-action 'self'; base-uri 'none'"


def count(value: float | None) -> str:
    return "–" if value is None else f"{value:,.0f}"


def percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"


def figure(value: float | None, form: str) -> str:
    """A number as its kind is written: count, percent, ratio or money."""
    if value is None:
        return "–"
    return {"count": f"{value:,.0f}", "percent": f"{value:.1%}", "ratio": f"{value:.2f}", "money": f"{value:,.4f}"}[
        form
    ]


def clip(text: str | None, length: int) -> str:
    """The beginning, and how much there is, where a text is longer."""
    text = text or ""
    return text if len(text) <= length else f"{text[:length].rstrip()} … ({len(text):,} characters)"

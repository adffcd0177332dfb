"""Renders the Jinja templates. Everything that comes from data is escaped, in all templates and attributes.

A page is one file: its style is inline and it loads nothing. Its content-security-policy makes the browser enforce
that, by the style's hash. No page has a script but that of an audit, which is allowed by its hash as well.
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
from stages.storage.utf8 import without_surrogates

FOLDER = Path(__file__).parent / "templates"


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"count": count, "percent": percent, "figure": figure, "size": size, "clip": clip}
    environment.filters |= {"signed_percent": signed_percent, "short": short}
    environment.globals |= {"link": urlencode, "style": Markup(style()), "policy": policy()}
    return environment


def render(template: str, /, **values: Any) -> str:
    """Renders a template. Lone surrogates, which UTF-8 cannot encode, become question marks."""
    return without_surrogates(_environment().get_template(template).render(**values))


@cache
def style() -> str:
    """The style sheet of all pages."""
    return asset("style.css")


@cache
def policy(style_sheet: str = "", script: str = "") -> str:
    """The content-security-policy of a page: it allows the page's own style and script, and forms to the same server.

    `style_sheet`: the page's, if it is not that of all pages. `script`: empty for a page without one.
    """
    parts = ["default-src 'none'", f"style-src '{_hash(style_sheet or style())}'"]
    parts += [f"script-src '{_hash(script)}'"] if script else []
    return "; ".join([*parts, "img-src data:", "form-action 'self'", "base-uri 'none'"])


def _hash(text: str) -> str:
    return f"sha256-{b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def asset(name: str) -> str:
    """The text of a style sheet or script beside the templates."""
    return (FOLDER / name).read_text("utf-8")


def count(value: float | None) -> str:
    """A whole number with thousands separators; a dash for None."""
    return "–" if value is None else f"{value:,.0f}"


def percent(value: float | None) -> str:
    """A share as a percentage with one decimal; a dash for None."""
    return "–" if value is None else f"{value:.1%}"


def signed_percent(value: float | None) -> str:
    """A change as a percentage with two decimals and its sign; a dash for None."""
    return "–" if value is None else f"{value:+.2%}"


def short(value: float | None) -> str:
    """A number of unknown size with three significant digits; a dash for None."""
    if value is None:
        return "–"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def figure(value: float | None, form: str) -> str:
    """Formats a number; `form` is count, percent, ratio or money."""
    if value is None:
        return "–"
    return {"count": f"{value:,.0f}", "percent": f"{value:.1%}", "ratio": f"{value:.2f}", "money": f"{value:,.4f}"}[
        form
    ]


def clip(text: str | None, length: int) -> str:
    """Cuts a text after `length` characters and adds how long it is."""
    text = text or ""
    return text if len(text) <= length else f"{text[:length].rstrip()} … ({len(text):,} characters)"

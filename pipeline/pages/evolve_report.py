"""The page of the self-evolving loop: who writes each domain's rows, how that came about, and every verdict in words.

It is one HTML file without a script, as the report of a date, and reads the registry alone.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.pages import evolve_charts
from pipeline.pages.template import percent, render, short
from pipeline.report.evolution import DomainEvolution, accept_rate, arm_of, copy_rate, describe, evolution
from pipeline.store.audit_figures import rate
from pipeline.store.dataset import DataSet
from pipeline.store.registry import BY_HAND, ArmFigures, Check, EvolveVerdict, Variant
from stages.storage.atomic import write_text

PLAIN_CHECKS = ("best step", "rows")  # a loss, a number of answers
MAX_VERDICTS = 60  # of a domain, the newest
ARMS = ("base", "champion", "previous", "challenger")
KINDS = {
    "sft": "fine-tuned on accepted answers",
    "dpo": "fine-tuned to prefer accepted answers to rejected ones of the same passage",
    "tasks": "the same model with other shares of the tasks",
    "prompt": "the same model with other prompts",
    "rejudge": "the champion compared once more with the generator before it",
    "base": "the base model was replaced",
    "rollback": "set back by hand",
    "to-base": "set back to the base model by hand",
    "freeze": "frozen by hand",
    "unfreeze": "no longer frozen, by hand",
}
UNJUDGED = {
    "base": "The base model was replaced: no adapter fits it, so the new one writes the rows itself.",
    "freeze": "Frozen by hand: the champion stays and no candidates are made.",
    "unfreeze": "No longer frozen, by hand: candidates are made again.",
}
UTILITIES = {"cost": "at equal cost", "tokens": "at equal text"}  # by budget, as the gate names its checks
SHIFTS = {"cost": -2.0, "tokens": 2.0}  # so that the intervals of a verdict do not cover each other


def evolve_path(data: DataSet) -> Path:
    """Where the page is: beside the folders of the loop's runs."""
    return data.root / "evolve" / "report.html"


def write_evolve_report(data: DataSet) -> Path:
    """Writes the page and returns its path. Domains whose registry is damaged are named on it."""
    path = evolve_path(data)
    write_text(path, evolve_report(data, served=False))
    return path


def evolve_report(data: DataSet, *, served: bool) -> str:
    """The page as HTML. With `served` it links to the other pages of `gristmill report serve`."""
    domains, damaged = evolution(data)
    return render(
        "evolve.html",
        served=served,
        title=f"Loop of {data.root.name}",
        name=data.root.name,
        here="evolve",
        check_figure=check_figure,
        domains=[domain_view(name, domain) for name, domain in domains.items()],
        damaged=damaged,
        chart_width=evolve_charts.WIDTH,
        chart_height=evolve_charts.HEIGHT,
        interval_width=evolve_charts.INTERVAL_WIDTH,
        area=(evolve_charts.LEFT, evolve_charts.RIGHT),
        marks_y=evolve_charts.MARKS_Y,
    )


def domain_view(name: str, domain: DomainEvolution) -> dict[str, Any]:
    """What the template shows of one domain."""
    shown = domain.history[-MAX_VERDICTS:]
    judged = [verdict for verdict in shown if verdict.challenger]
    compared = domain.comparison()
    return {
        "name": name,
        "registry": domain.registry,
        "champion": domain.champion,
        "is_base": domain.champion.is_base,
        "champion_is": describe(domain.champion),
        "parents": domain.parents,
        "generators": generators(domain),
        "compared": compared,
        "rates": [accept_rate(arm) for arm in (compared.base, compared.champion)] if compared else [],
        "copies": [copy_rate(arm) for arm in (compared.base, compared.champion)] if compared else [],
        "last": domain.last,
        "accept_chart": _accept_chart(shown),
        "utility_chart": _utility_chart(judged),
        "verdicts": [verdict_view(*each) for each in reversed(domain.champions()[-MAX_VERDICTS:])],
        "hidden": len(domain.history) - len(shown),
    }


def generators(domain: DomainEvolution) -> list[dict[str, Any]]:
    """Who wrote the rows when, the newest first: what each changes and from which verdict to which it was champion."""
    rows: list[dict[str, Any]] = []
    for verdict, champion in domain.champions():
        if champion.id == verdict.champion.id:
            continue
        if rows and rows[-1]["until"] is None:
            rows[-1]["until"] = verdict
        if not champion.is_base:
            rows.append({"variant": champion, "since": verdict, "until": None, "change": describe(champion)})
    return rows[::-1]


def verdict_view(verdict: EvolveVerdict, champion: Variant) -> dict[str, Any]:
    """What the template shows of one verdict; `champion`: who is champion after it."""
    failed = [check for check in verdict.checks if not check.passed]
    return {
        "verdict": verdict,
        "kind": KINDS.get(verdict.kind, verdict.kind),
        "headline": headline(verdict, champion),
        "change": describe(verdict.challenger) if verdict.challenger else "",
        "arms": [arm_view(role, verdict.arms[role]) for role in sorted(verdict.arms, key=_arm_order)],
        "failed": failed,
        "checks": [
            (check, evolve_charts.interval(check)) for check in (*failed, *(c for c in verdict.checks if c.passed))
        ],
        "rates": {role: accept_rate(arm_of(verdict, role)) for role in ("base", "champion", "challenger")},
        "gains": [check and check.value for check in (utility(verdict, budget) for budget in UTILITIES)],
    }


def headline(verdict: EvolveVerdict, champion: Variant) -> str:
    """What a verdict decided, in a sentence; `champion`: who is champion after it."""
    before, after, failed = _name(verdict.champion), _name(champion), sum(not check.passed for check in verdict.checks)
    if verdict.status == "promoted":
        return f"Candidate {after} passed all {len(verdict.checks)} checks and takes the place of {before}."
    if verdict.status == "refused":
        checks = f"{failed} of {len(verdict.checks)} checks failed"
        return f"Candidate {_name(verdict.challenger)} is refused: {checks}. Champion as before: {after}."
    if verdict.status == "rolled back":
        return f"Champion {before} is set back{' by hand' if verdict.kind in BY_HAND else ''} to {after}."
    if verdict.kind in UNJUDGED:
        return UNJUDGED[verdict.kind]
    return f"{'Compared again and kept' if verdict.checks else 'Nothing was compared'}. Champion as before: {after}."


def _name(variant: Variant | None) -> str:
    return "the base model" if variant is None or variant.is_base else variant.id


def _arm_order(role: str) -> int:
    return ARMS.index(role) if role in ARMS else len(ARMS)


def arm_view(role: str, arm: ArmFigures) -> dict[str, Any]:
    """One row of the table of generators that a verdict compared."""
    return {
        "role": role,
        "arm": arm,
        "rate": rate(arm.accepted, arm.answers),
        "copies": copy_rate(arm),
        "yield": 1000 * arm.text_bytes / arm.tokens if arm.tokens else None,
    }


def utility(verdict: EvolveVerdict, budget: str) -> Check | None:
    """The check of bits per byte saved on real held-out text, at one budget: cost or tokens. None without a figure."""
    named = (check for check in verdict.checks if check.name == f"utility {UTILITIES[budget]}")
    return next((check for check in named if check.value is not None), None)


def check_figure(check: Check, value: float | None) -> str:
    """A figure of a check as text: most are shares, or changes of them."""
    return short(value) if check.name in PLAIN_CHECKS else percent(value)


def _accept_chart(verdicts: Sequence[EvolveVerdict]) -> evolve_charts.Chart | None:
    def values(role: str) -> list[tuple[float, float | None, float | None] | None]:
        rates = (accept_rate(arm_of(verdict, role)) for verdict in verdicts)
        return [None if share is None else (share, None, None) for share in rates]

    figures = [
        evolve_charts.Values("base model", "base", values("base"), connected=True),
        evolve_charts.Values("champion", "champion", values("champion"), connected=True),
        evolve_charts.Values("candidate", "candidate", values("challenger"), connected=False),
    ]
    return _chart(figures, verdicts)


def _utility_chart(verdicts: Sequence[EvolveVerdict]) -> evolve_charts.Chart | None:
    figures = []
    for budget, words in UTILITIES.items():
        checks = [utility(verdict, budget) for verdict in verdicts]
        values = [
            (check.value, check.low, check.high) if check and check.value is not None else None for check in checks
        ]
        figures.append(evolve_charts.Values(words, budget, values, connected=False, shift=SHIFTS[budget]))
    return _chart(figures, verdicts)


def _chart(figures: list[evolve_charts.Values], verdicts: Sequence[EvolveVerdict]) -> evolve_charts.Chart | None:
    dates = [verdict.date for verdict in verdicts]
    return evolve_charts.chart(figures, dates, [verdict.status for verdict in verdicts])

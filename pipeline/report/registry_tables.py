"""The registry of generators as tables in a terminal, and as JSON."""

from collections.abc import Iterator, Sequence
from typing import Any

from pipeline.report.control_characters import without_control_characters
from pipeline.store.registry import BASE, Check, DomainRegistry, EvolveVerdict, Variant

LOOK: dict[str, Any] = {"title_justify": "left", "padding": (0, 1, 0, 0)}  # as of the tables of gristmill evaluate
NO_FIGURE = "–"


def pointer_to_json(pointer: DomainRegistry) -> dict[str, Any]:
    """The pointer as stored, each variant with its id."""
    previous = [variant_to_json(variant) for variant in pointer.previous]
    return pointer.model_dump(mode="json") | {"champion": variant_to_json(pointer.champion), "previous": previous}


def verdict_to_json(verdict: EvolveVerdict) -> dict[str, Any]:
    """The verdict as stored, each variant with its id."""
    challenger = verdict.challenger and variant_to_json(verdict.challenger)
    return verdict.model_dump(mode="json") | {"champion": variant_to_json(verdict.champion), "challenger": challenger}


def variant_to_json(variant: Variant) -> dict[str, Any]:
    """The variant as stored, with its id."""
    return {"id": variant.id} | variant.model_dump(mode="json")


def print_pointers(pointers: Sequence[DomainRegistry]) -> None:
    """One line a domain: its champion and what becomes of candidates."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("domain", "champion", "round", "since", "verdicts", "judged", "state", **LOOK)
    for pointer in pointers:
        figures = [str(pointer.champion.round), pointer.since or NO_FIGURE, str(pointer.last_verdict)]
        state = Text(without_control_characters(_state(pointer)))
        table.add_row(pointer.domain, pointer.champion.id, *figures, str(pointer.attempts), state)
    Console(highlight=False).print(table)


def print_domain(pointer: DomainRegistry, history: Sequence[EvolveVerdict]) -> None:
    """A domain's champion, the champions before it, and one line a verdict, the newest last."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    since = f", since {pointer.since}" if pointer.since else ""
    lines = [f"{pointer.domain}: champion {pointer.champion.id}{since}; {_state(pointer)}"]
    lines += [f"  {line}" for line in _variant_lines(pointer.champion)]
    parents = [variant.id for variant in reversed(pointer.previous)]
    lines += [f"  before it: {', '.join(parents)}"] if parents else []
    lines += [f"  base model {pointer.base_sha256[:12]}"] if pointer.base_sha256 else []
    for line in lines:
        console.print(Text(without_control_characters(line)), soft_wrap=True)
    if not history:
        console.print(Text(f"{pointer.domain}: no verdict yet; the base model writes its rows"))
        return
    table = Table("verdict", "date", "kind", "status", "challenger", "reason", **LOOK)
    for verdict in history:
        challenger = verdict.challenger.id if verdict.challenger else NO_FIGURE
        reason = Text(without_control_characters(verdict.reason))
        table.add_row(str(verdict.number), verdict.date, verdict.kind or NO_FIGURE, verdict.status, challenger, reason)
    console.print(table)


def print_verdict(verdict: EvolveVerdict) -> None:
    """A verdict: who was compared, what each of them wrote, and each check with its figure, interval and limit."""
    from rich.console import Console
    from rich.table import Column, Table
    from rich.text import Text

    console = Console(highlight=False)
    for line in _verdict_lines(verdict):
        console.print(Text(without_control_characters(line)), soft_wrap=True)
    if verdict.arms:
        budgets = sorted({budget for arm in verdict.arms.values() for budget in arm.bits_per_byte})
        names = ("answers", "accepted", "right", "copies", "characters", *(f"bits/byte, {each}" for each in budgets))
        table = Table("generator", *(Column(name, justify="right") for name in names), title="what they wrote", **LOOK)
        for role, arm in verdict.arms.items():
            accepted = f"{arm.accepted / arm.answers:.1%}" if arm.answers else NO_FIGURE
            right = NO_FIGURE if arm.rightness is None else f"{arm.rightness:.1%}"
            bits = [_figure(arm.bits_per_byte.get(budget)) for budget in budgets]
            length = f"{arm.mean_length:.0f}"
            table.add_row(role, str(arm.answers), accepted, right, str(arm.copies), length, *bits)
        console.print(table)
    if verdict.checks:
        right_columns = [Column(name, justify="right") for name in ("figure", "interval", "limit")]
        table = Table("check", "against", *right_columns, "passed", title="checks", **LOOK)
        for check in verdict.checks:
            style = "" if check.passed else "bold"
            table.add_row(
                check.name, _role(verdict, check), *_figures(check), "yes" if check.passed else "NO", style=style
            )
        console.print(table)
        for name, meaning in {check.name: check.meaning for check in verdict.checks if check.meaning}.items():
            console.print(Text(without_control_characters(f"{name}: {meaning}")))


def _verdict_lines(verdict: EvolveVerdict) -> Iterator[str]:
    kind = f" ({verdict.kind})" if verdict.kind else ""
    yield f"{verdict.domain}, verdict {verdict.number} of {verdict.date}{kind}: {verdict.status}"
    yield f"  because {verdict.reason}"
    yield f"  champion before it: {verdict.champion.id}"
    yield from (f"    {line}" for line in _variant_lines(verdict.champion))
    if verdict.challenger:
        yield f"  challenger: {verdict.challenger.id}"
        yield from (f"    {line}" for line in _variant_lines(verdict.challenger))
    if verdict.alpha is not None:
        yield f"  the vault was opened, at the level {verdict.alpha:.4g}"
    if verdict.training:
        yield f"  training: {', '.join(f'{name} {value:.4g}' for name, value in verdict.training.items())}"


def _variant_lines(variant: Variant) -> Iterator[str]:
    if variant.is_base:
        yield "the base model, without a change"
    if variant.adapter:
        yield f"adapter {variant.adapter.path}, round {variant.round}"
    if variant.trained_on:
        yield f"trained on {', '.join(sorted(variant.trained_on))}"
    if variant.task_weights:
        yield f"tasks by weight: {', '.join(f'{name} {weight:g}' for name, weight in variant.task_weights.items())}"
    if variant.prompts:
        yield f"prompts: {', '.join(f'{name} by {taken}' for name, taken in variant.prompts.items())}"


def _state(pointer: DomainRegistry) -> str:
    if pointer.frozen:
        return f"frozen: {pointer.frozen}"
    if pointer.rejudgements_left:
        return f"compared with the champion before it on {pointer.rejudgements_left} more dates"
    return "candidates are judged"


def _role(verdict: EvolveVerdict, check: Check) -> str:
    """What the variant that a check compares with was in the verdict; its id where it was none of them."""
    if check.against in ("", BASE):
        return check.against or NO_FIGURE
    roles = {arm.variant: role for role, arm in reversed(verdict.arms.items())}
    return "champion" if check.against == verdict.champion.id else roles.get(check.against, check.against)


def _figures(check: Check) -> tuple[str, str, str]:
    interval = NO_FIGURE
    if check.low is not None or check.high is not None:
        interval = f"{_figure(check.low)} to {_figure(check.high)}"
    return _figure(check.value), interval, _figure(check.limit)


def _figure(value: float | None) -> str:
    return NO_FIGURE if value is None else f"{value:.4g}"

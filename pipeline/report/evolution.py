"""What the self-evolving loop has done to a data set's generator, from its registry: for screens, pages and metrics."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from configs.errors import StoreError
from pipeline.store.dataset import DataSet
from pipeline.store.registry import ArmFigures, DomainRegistry, EvolveVerdict, Variant, next_pointer
from pipeline.store.registry_files import Registry

BASE_MODEL = "base model"
JUDGED = ("promoted", "refused")  # the verdicts that compared a candidate with the champion
DIGITS_SHOWN = 12  # of an adapter's hash


@dataclass(frozen=True, slots=True)
class Comparison:
    """The base model and a champion on the same measured passages, as the newest verdict that had both found."""

    verdict: EvolveVerdict
    base: ArmFigures
    champion: ArmFigures


@dataclass(frozen=True, slots=True)
class DomainEvolution:
    """The registry of one domain and its verdicts, oldest first."""

    registry: DomainRegistry
    history: tuple[EvolveVerdict, ...]

    @property
    def champion(self) -> Variant:
        """Who writes the next date's rows; without a champion the base model."""
        return self.registry.champion

    @property
    def parents(self) -> list[str]:
        """The ids of the generators that the champion follows, the base model first; empty for the base model."""
        return self.parents_of(self.champion)

    def parents_of(self, variant: Variant) -> list[str]:
        """As `parents`, of a champion that may be an earlier one; empty for one that never was champion."""
        pointer = DomainRegistry(domain=self.registry.domain)
        parents: list[str] = []
        for verdict in self.history:
            pointer = next_pointer(pointer, verdict)
            if pointer.champion.id == variant.id and not variant.is_base:
                parents = [earlier.id for earlier in pointer.previous]
        return parents

    def champions(self) -> list[tuple[EvolveVerdict, Variant]]:
        """Each verdict with the champion after it, oldest first."""
        pointer, champions = DomainRegistry(domain=self.registry.domain), []
        for verdict in self.history:
            pointer = next_pointer(pointer, verdict)
            champions.append((verdict, pointer.champion))
        return champions

    @property
    def last(self) -> EvolveVerdict | None:
        """The newest verdict."""
        return self.history[-1] if self.history else None

    @property
    def last_judged(self) -> EvolveVerdict | None:
        """The newest verdict on a candidate."""
        return next((verdict for verdict in reversed(self.history) if verdict.status in JUDGED), None)

    def comparison(self, variant: Variant | None = None) -> Comparison | None:
        """Base model and `variant`, the champion by default, in the newest verdict that measured both; else None."""
        wanted = (variant or self.champion).id
        for verdict in reversed(self.history):
            base = arm_of(verdict, "base")
            arm = next((arm for arm in verdict.arms.values() if arm.variant == wanted), None)
            if base and arm:
                return Comparison(verdict, base, arm)
        return None

    def until(self, date: str) -> "DomainEvolution":
        """The same with the verdicts of this date and earlier ones only."""
        return DomainEvolution(self.registry, tuple(verdict for verdict in self.history if verdict.date <= date))


def evolution(data: DataSet) -> tuple[dict[str, DomainEvolution], list[str]]:
    """The domains of the data set's registry by name, and what was wrong with those that cannot be read."""
    registry, domains, damaged = Registry(data.root), {}, []
    for name in registry.domains():
        try:
            domains[name] = DomainEvolution(registry.read(name), tuple(registry.history(name)))
        except StoreError as error:
            damaged.append(str(error))
    return domains, damaged


def arm_of(verdict: EvolveVerdict, role: str) -> ArmFigures | None:
    """An arm by its role. Where the champion is the base model it is measured once, for both roles."""
    arm = verdict.arms.get(role)
    if arm is None and verdict.champion.is_base and role in ("base", "champion"):
        arm = verdict.arms.get("champion" if role == "base" else "base")
    return arm


def accept_rate(arm: ArmFigures | None) -> float | None:
    """The share of a generator's answers that every filter kept; None without answers."""
    return arm.accepted / arm.answers if arm and arm.answers else None


def copy_rate(arm: ArmFigures | None) -> float | None:
    """The share of a generator's answers that were dropped as copies of their passage; None without answers."""
    return arm.copies / arm.answers if arm and arm.answers else None


def describe(variant: Variant) -> str:
    """What a variant changes in the base model, in words."""
    parts = [f"adapter {variant.adapter.sha256[:DIGITS_SHOWN]}"] if variant.adapter else []
    if variant.task_weights:
        parts.append(f"task weights {', '.join(f'{task} {share:.2g}' for task, share in variant.task_weights.items())}")
    if variant.prompts:
        parts.append(f"prompts {', '.join(f'{new} for {task}' for task, new in variant.prompts.items())}")
    return "; ".join(parts) or BASE_MODEL


def verdict_line(verdict: EvolveVerdict) -> str:
    """`verdict 3 of 2026-11-23: refused; 2 of 14 checks failed`."""
    return f"verdict {verdict.number} of {verdict.date}: {verdict.status}; {verdict.reason}"


def evolution_lines(data: DataSet, date: str, champions: dict[str, Variant]) -> Iterator[str]:
    """The lines of the last screen: who wrote a date's rows, how good it is, and what was decided since.

    `champions`: by domain, who wrote them. A domain that has neither a champion nor a verdict has no line.
    """
    domains, damaged = evolution(data)
    for name in dict.fromkeys((*champions, *domains)):
        yield from _domain_lines(name, domains.get(name), champions.get(name, Variant()), date)
    for fault in damaged:
        yield f"registry  {fault}"


def _domain_lines(name: str, domain: DomainEvolution | None, champion: Variant, date: str) -> Iterator[str]:
    known = domain.until(date) if domain else None
    if champion.is_base and not (known and known.history):
        return
    line = f"champion  {name}: {BASE_MODEL}"
    if not champion.is_base:
        parents = known.parents_of(champion) if known else []
        after = f"; after {', '.join(parents)}" if parents else ""
        line = f"champion  {name}: {champion.id} (round {champion.round}; {describe(champion)}{after})"
    if known and not champion.is_base and (compared := known.comparison(champion)):
        line += f"; {comparison_text(compared)}"
    yield line
    if known and known.last:
        yield f"evolve    {name}: {verdict_line(known.last)}"
    if domain and domain.registry.frozen:
        yield f"frozen    {name}: no candidates are made: {domain.registry.frozen}"


def dates_written_by(data: DataSet, domain: str, champion: Variant) -> list[str]:
    """The finished dates whose rows of a domain a champion wrote."""
    return [
        manifest.date
        for manifest in data.finished()
        if (writer := manifest.champions.get(domain)) and writer.id == champion.id
    ]


def written_dates_text(data: DataSet, domain: str, champion: Variant) -> str:
    """Which dates a champion that was rolled back has written, and how to withdraw them; "" without any."""
    dates = dates_written_by(data, domain, champion)
    if not dates:
        return ""
    return (
        f"{domain}: {champion.id} wrote {', '.join(dates)}; gristmill store rollback DATE --out {data.root} "
        "withdraws one"
    )


def comparison_text(compared: Comparison) -> str:
    """`accepts 66.0% where the base model has 57.0%; copies 0.5% (1.0%), on 400 passages of verdict 3`."""
    arms: Sequence[ArmFigures] = (compared.champion, compared.base)
    accepted, base_accepted = ("–" if (rate := accept_rate(arm)) is None else f"{rate:.1%}" for arm in arms)
    copied, base_copied = ("–" if (rate := copy_rate(arm)) is None else f"{rate:.1%}" for arm in arms)
    return (
        f"accepts {accepted} where the base model has {base_accepted}; copies {copied} ({base_copied}), "
        f"on {compared.champion.answers} answers of verdict {compared.verdict.number}"
    )

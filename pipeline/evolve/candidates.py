"""Which change to the generator a date tries: one a domain, so that a verdict is about one change."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from configs.schema import Config, Evolve
from configs.schema.evolve import CandidateKind
from pipeline.store.registry import DomainRegistry, EvolveVerdict, Variant

TRAINED: tuple[CandidateKind, ...] = ("sft", "dpo")


@dataclass(frozen=True, slots=True)
class Candidate:
    """A change that is to be tried in a domain. `variant` lacks the adapter where one is to be trained."""

    kind: str = ""  # "": none
    variant: Variant = field(default_factory=Variant)
    reason: str = ""  # why there is none

    @property
    def needs_training(self) -> bool:
        """Whether an adapter is to be trained for it."""
        return self.kind in TRAINED


def turn_of(history: Iterable[EvolveVerdict], options: Evolve) -> int:
    """The number of verdicts so far on kinds of candidates in `evolve.candidates`, which take turns in this order."""
    return sum(verdict.kind in options.candidates for verdict in history)


def next_candidate(
    config: Config,
    domain: str,
    pointer: DomainRegistry,
    turn: int,
    task_weights: dict[str, float],
    *,
    trains_adapters: bool,
) -> Candidate:
    """The candidate of a date.

    Args:
        config: its `evolve.candidates` are tried in turn.
        domain: of which domain.
        pointer: the champion and whether the domain is frozen.
        turn: as of `turn_of`.
        task_weights: weights that an attribution of the tasks suggests; {} without one.
        trains_adapters: whether the generator's backend can train adapters.
    """
    assert config.evolve is not None
    if pointer.frozen:
        return Candidate(reason=f"the domain is frozen: {pointer.frozen}")
    kinds = [kind for kind in config.evolve.candidates if trains_adapters or kind not in TRAINED]
    if not kinds:
        return Candidate(reason="this backend trains no adapters; add prompt or tasks to evolve.candidates")
    kind = kinds[turn % len(kinds)]
    champion = pointer.champion
    if kind == "tasks":
        if not task_weights:
            fix = "run gristmill attribute --groups task first"
            return Candidate(kind, champion, f"nobody has measured what the tasks are worth; {fix}")
        weights = {task: round(weight, 4) for task, weight in task_weights.items()}
        if weights == champion.task_weights:
            return Candidate(kind, champion, "the tasks have the weights that their worth suggests already")
        return Candidate(kind, champion.model_copy(update={"task_weights": weights}))
    if kind == "prompt":
        return _next_prompt(config, domain, champion, turn // len(kinds))
    return Candidate(kind, champion)


def _next_prompt(config: Config, domain: str, champion: Variant, turn: int) -> Candidate:
    assert config.evolve is not None
    choices = [
        champion.prompts | {task: prompt}
        for task, prompts in sorted(config.evolve.prompts.items())
        if task in config.domains[domain].tasks
        for prompt in (task, *prompts)
        if champion.prompts.get(task, task) != prompt
    ]
    if not choices:
        return Candidate("prompt", champion, f"evolve.prompts names no task of {domain}")
    prompts = {task: prompt for task, prompt in choices[turn % len(choices)].items() if task != prompt}
    return Candidate("prompt", champion.model_copy(update={"prompts": prompts}))

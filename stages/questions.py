"""What is asked about a passage: its task, the prompts of its samples, and the requests that are sent for them."""

import json
from dataclasses import dataclass

from configs.schema import Config, Sampling, Task
from stages.ports import Adapter, ModelCard, Request
from stages.prompt import Prompt, render
from stages.record import Seed, content_id, uniform

_SEED_STEP = 1_000_003  # between the random seeds of two requests about a passage


@dataclass(frozen=True, slots=True)
class Question:
    """A prompt about one passage, for one of its samples."""

    seed: Seed
    task: Task
    prompt: Prompt
    draw: int  # a hash of run seed and passage: picks task and style, and seeds the sampling
    sample: int
    prompt_tokens: int = 0  # of earlier attempts
    output_tokens: int = 0


def questions_about(seed: Seed, config: Config, domain: str, card: ModelCard) -> list[Question]:
    """The prompts for the samples of a passage, all of one task: one drawn by weight among those that can ask about it.

    There are fewer than `samples_of` says where the passage has fewer places to edit, and none where no task fits.
    """
    draw = int(content_id(str(config.seed), seed.id)[:12], 16)
    names = config.fitting_tasks(domain, card.parameters)
    tasks = [config.tasks[name] for name in names if seed.language in config.tasks[name].languages]
    if not tasks:
        return []
    weights = config.domains[domain].task_weights
    if weights:
        first, inner = _draw_by_weight([weights.get(task.name, 1.0) for task in tasks], seed, config), draw
    else:
        first, inner = draw % len(tasks), draw // len(tasks)
    others = tasks[:first] + tasks[first + 1 :]
    turn = inner % max(1, len(others))  # so that what one task cannot ask about falls to all others alike
    for task in [tasks[first], *others[turn:], *others[:turn]]:
        questions = []
        for sample in range(samples_of(seed.id, config)):
            prompt = render(task, seed.language, seed.text, seed.title, inner, sample)
            if prompt is not None:
                questions.append(Question(seed, task, prompt, draw, sample))
        if questions:
            return questions
    return []


def samples_of(seed_id: str, config: Config) -> int:
    """How many answers a passage gets: `generate.samples` in a share of `generate.samples_share`, else one."""
    options = config.generate
    has_several = options.samples_share == 1 or uniform("samples", str(config.seed), seed_id) < options.samples_share
    return options.samples if has_several else 1


def _draw_by_weight(weights: list[float], seed: Seed, config: Config) -> int:
    """The place of a weight, drawn in proportion to it."""
    left = uniform("task", str(config.seed), seed.id) * sum(weights)
    for place, weight in enumerate(weights):
        if left < weight:
            return place
        left -= weight
    return max(place for place, weight in enumerate(weights) if weight)  # by rounding


def request_for(question: Question, config: Config, attempt: int, adapter: Adapter | None) -> Request:
    """The request of an attempt at a question, counted from 0."""
    number = question.sample * config.generate.max_attempts + attempt
    return Request(
        id=question.seed.id,
        messages=question.prompt.messages,
        sampling=sampling_of(question.task, config, question.sample),
        seed=(question.draw + number * _SEED_STEP) % 2**31,
        json_schema=json.dumps(question.task.answer) if question.task.format == "json" else None,
        adapter=adapter,
        begin=question.prompt.begin,
        likelihood=config.generate.likelihood,
    )


def sampling_of(task: Task, config: Config, sample: int) -> Sampling:
    """How a sample's tokens are drawn: later samples are hotter; `generate.max_tokens` may lower the task's limit."""
    options, sampling = config.generate, task.sampling
    if sample:
        hotter = options.temperature_spread * sample / (options.samples - 1)
        temperature = min(2.0, round(sampling.temperature + hotter, 3))
        sampling = sampling.model_copy(update={"temperature": temperature})
    if options.max_tokens:
        sampling = sampling.model_copy(update={"max_tokens": min(sampling.max_tokens, options.max_tokens)})
    return sampling

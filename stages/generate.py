"""Generate: asks the generator one question per passage; the answers become candidates."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from jinja2 import TemplateError

from configs.schema import Config, Sampling, Task
from stages.execute import PerProcess
from stages.ports import Adapter, Completion, Generator, ModelCard, ProgressCallback, Request
from stages.prompt import Answer, Prompt, converse, parse, render
from stages.record import Candidate, Seed, content_id
from stages.storage.inputs import read_rows
from stages.storage.records import FileRef
from stages.storage.shard import ShardSpec
from stages.storage.stage import Counts, StageKind
from stages.storage.writer import ShardWriter

FINAL_REASONS = {"generator", "template"}  # reasons of rejection for which another attempt would not help
_SEED_STEP = 1_000_003  # between the random seeds of two attempts at a passage


@dataclass(frozen=True, slots=True)
class _Question:
    """A prompt about one passage."""

    seed: Seed
    task: Task
    prompt: Prompt
    draw: int  # a hash of run seed and passage: picks task and style, and seeds the sampling
    prompt_tokens: int = 0  # of earlier attempts
    output_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Generated:
    """The result for one passage: a candidate, or the reason why there is none."""

    seed: Seed
    task: str
    prompt: Prompt
    request: Request  # of the last attempt
    completion: Completion  # of the last attempt
    candidate: Candidate | None
    parsed: Answer  # if there is no candidate, its `reason` says why
    attempts: int
    prompt_tokens: int  # of all attempts
    output_tokens: int


class Generate:
    """Payload: `slices` [[file ref, start, stop], …] of passages, `adapter` or null, `depth` of the candidates.

    `open_generator` is called once per process. `redact(text, language)` masks personal data in rejects, which are not
    filtered.
    """

    kind = StageKind("generate", Counts.CANDIDATES, creates_candidates=True, needs_accelerator=True)

    def __init__(
        self,
        config: Config,
        card: ModelCard,
        open_generator: Callable[[], Generator],
        redact: Callable[[str, str], str],
    ) -> None:
        self._config = config
        self._card = card
        self._redact = redact
        self._generator: PerProcess[Generator] = PerProcess("generator", open_generator, lambda opened: opened.close())

    def load(self) -> None:
        self._generator.load()

    def process(self, spec: ShardSpec, out: ShardWriter) -> None:
        payload = json.loads(spec.payload)
        adapter = Adapter(**payload["adapter"]) if payload["adapter"] else None
        seeds = list(self._seeds(spec.root, payload["slices"]))
        out.rows_in = len(seeds)
        place = {seed.id: number for number, seed in enumerate(seeds)}
        kept: list[Candidate] = []
        for row in self.answer(spec.label, seeds, adapter, payload["depth"], out.report_progress):
            out.stats.prompt_tokens += row.prompt_tokens
            out.stats.output_tokens += row.output_tokens
            if row.candidate is not None:
                kept.append(row.candidate)
            else:
                out.reject([self._reject(spec, row)])
        kept.sort(key=lambda candidate: place[candidate.seed_id])
        out.keep_rows(kept)
        out.stats.generator = self._generator.value.take_stats()

    def answer(
        self,
        domain: str,
        seeds: Sequence[Seed],
        adapter: Adapter | None = None,
        depth: int = 1,
        progress: ProgressCallback | None = None,
    ) -> Iterator[Generated]:
        """Asks the generator about each passage, and again if the answer is not in the task's format.

        Yields one result for each passage, in the order in which they become final. `progress` is called with the
        passages that are final and the output tokens so far. Call `load` first.
        """
        questions = [self._question(domain, seed) for seed in seeds]
        output_tokens_before = 0  # of earlier attempts

        def report(answered: int, output_tokens: int) -> None:
            if progress is not None:
                progress(len(seeds) - len(questions) + answered, output_tokens_before + output_tokens)

        for attempt in range(self._config.generate.max_attempts):
            is_last = attempt + 1 == self._config.generate.max_attempts
            again: list[_Question] = []
            requests = [self._request(question, attempt, adapter) for question in questions]
            completions = self._generator.value.generate(requests, report)
            for question, request, completion in zip(questions, requests, completions, strict=True):
                prompt_tokens = question.prompt_tokens + completion.prompt_tokens
                output_tokens = question.output_tokens + completion.output_tokens
                candidate, parsed = self._read(question, request, completion, depth)
                if candidate is None and parsed.reason not in FINAL_REASONS and not is_last:
                    again.append(replace(question, prompt_tokens=prompt_tokens, output_tokens=output_tokens))
                    continue
                yield Generated(
                    question.seed,
                    question.task.name,
                    question.prompt,
                    request,
                    completion,
                    candidate,
                    parsed,
                    attempt + 1,
                    prompt_tokens,
                    output_tokens,
                )
            output_tokens_before += sum(completion.output_tokens for completion in completions)
            questions = again
            if not questions:
                break

    def _read(
        self, question: _Question, request: Request, completion: Completion, depth: int
    ) -> tuple[Candidate | None, Answer]:
        """The candidate, or None, and the parsed answer, which has the reason if there is none."""
        if completion.error is not None:
            return None, Answer(None, "generator", completion.error)
        answer = parse(question.task, question.seed.language, completion.text)
        if answer.fields is None:
            return None, answer
        try:
            return self._candidate(question, request, completion, answer.fields, depth), answer
        except TemplateError as error:
            return None, Answer(None, "template", str(error))

    def first_requests(self, spec: ShardSpec) -> list[Request]:
        """The requests of the first attempt at a shard's passages, without an adapter."""
        return [self._request(question, 0, None) for question in self._questions(spec)]

    def _questions(self, spec: ShardSpec) -> list[_Question]:
        slices = json.loads(spec.payload)["slices"]
        return [self._question(spec.label, seed) for seed in self._seeds(spec.root, slices)]

    def _seeds(self, root: str, slices: list[Any]) -> Iterator[Seed]:
        for ref, start, stop in slices:
            for batch in read_rows(root, FileRef(*ref), start, stop):
                yield from (Seed(**row) for row in batch.to_pylist())

    def _question(self, domain: str, seed: Seed) -> _Question:
        draw = int(content_id(str(self._config.seed), seed.id)[:12], 16)
        names = self._config.domains[domain].tasks
        tasks = [self._config.tasks[name] for name in names if seed.language in self._config.tasks[name].languages]
        task = tasks[draw % len(tasks)]
        return _Question(seed, task, render(task, seed.language, seed.text, seed.title, draw // len(tasks)), draw)

    def _request(self, question: _Question, attempt: int, adapter: Adapter | None) -> Request:
        return Request(
            id=question.seed.id,
            messages=question.prompt.messages,
            sampling=self._sampling(question.task),
            seed=(question.draw + attempt * _SEED_STEP) % 2**31,
            json_schema=json.dumps(question.task.answer) if question.task.format == "json" else None,
            adapter=adapter,
        )

    def _sampling(self, task: Task) -> Sampling:
        limit = self._config.generate.max_tokens
        if not limit:
            return task.sampling
        return task.sampling.model_copy(update={"max_tokens": min(task.sampling.max_tokens, limit)})

    def _candidate(
        self,
        question: _Question,
        request: Request,
        completion: Completion,
        fields: dict[str, Any],
        depth: int,
    ) -> Candidate:
        seed, task, prompt = question.seed, question.task, question.prompt
        messages, rejected = converse(task, seed.language, seed.text, seed.title, prompt.style, fields)
        sampling = _canonical(request.sampling)
        adapter = request.adapter.name if request.adapter else None
        return Candidate(
            id=content_id(
                seed.id, prompt.hash, self._card.sha256, adapter or "", sampling, str(request.seed), completion.text
            ),
            text="\n\n".join(message["content"] for message in messages),
            messages=messages,
            rejected=rejected,
            task=task.name,
            domain=seed.domain,
            language=seed.language,
            seed_id=seed.id,
            source=seed.source,
            licence=seed.licence,
            passage=seed.text,
            instruction=prompt.instruction,
            answer=completion.text,
            finish_reason=completion.finish_reason,
            prompt_hash=prompt.hash,
            generator=self._card.name,
            generator_sha256=self._card.sha256,
            adapter=adapter,
            sampling=sampling,
            seed=request.seed,
            prompt_tokens=completion.prompt_tokens,
            output_tokens=completion.output_tokens,
            parents=[seed.id],
            depth=depth,
        )

    def _reject(self, spec: ShardSpec, row: Generated) -> dict[str, str | None]:
        seed, detail = row.seed, row.parsed.detail
        return {
            "id": content_id(seed.id, row.prompt.hash, str(row.request.seed)),
            "seed_id": seed.id,
            "domain": seed.domain,
            "stage": str(spec.stage),
            "reason": row.parsed.reason,
            "detail": detail and self._redact(detail, seed.language),
            "text": self._redact(row.completion.text.encode("utf-8", "replace").decode("utf-8"), seed.language),
        }


def _canonical(sampling: Sampling) -> str:
    return json.dumps(sampling.model_dump(), sort_keys=True, separators=(",", ":"))

"""Generate: a slice of seeds to candidates, one request a seed."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from apache_beam.utils.shared import Shared
from jinja2 import TemplateError

from configs.schema import Config, Sampling, Task
from stages.ports import Adapter, Completion, Generator, ModelCard, Request
from stages.prompt import Answer, Prompt, converse, parse, render
from stages.record import Candidate, Seed, content_id
from stages.storage.records import FileRef, ShardSpec, read_rows
from stages.storage.writer import ShardWriter


@dataclass(frozen=True, slots=True)
class _Work:
    seed: Seed
    task: Task
    prompt: Prompt
    number: int  # draws the style and seeds the sampling


class Generate:
    """The body of the stage; `open_generator` is called once a process.

    `redact` masks a text of a language: for the rejects, which come to no filter.

    Payload: `slices` [[file ref, start, stop], …], `adapter` or null, `depth`.
    """

    def __init__(
        self,
        config: Config,
        card: ModelCard,
        open_generator: Callable[[], Generator],
        redact: Callable[[str, str], str],
    ) -> None:
        self._config = config
        self._redact = redact
        self._card = card
        self._open = open_generator
        self._shared = Shared()

    def open(self) -> None:
        self._held: _Held = self._shared.acquire(lambda: _Held(self._open()), tag="generator")

    def run(self, spec: ShardSpec, out: ShardWriter) -> None:
        payload = json.loads(spec.payload)
        adapter = Adapter(**payload["adapter"]) if payload["adapter"] else None
        works = [self._work(spec.label, seed) for seed in self._seeds(spec.root, payload["slices"])]
        out.rows_in = len(works)
        place = {work.seed.id: number for number, work in enumerate(works)}
        kept: list[Candidate] = []
        tokens = [0, 0]

        def report_progress(answered: int, output_tokens: int) -> None:
            out.report_progress(out.rows_in - len(works) + answered, tokens[1] + output_tokens)

        for attempt in range(self._config.generate.max_attempts):
            last = attempt + 1 == self._config.generate.max_attempts
            again: list[_Work] = []
            requests = [self._request(work, attempt, adapter) for work in works]
            answers = self._held.value.generate(requests, report_progress)
            for work, request, done in zip(works, requests, answers, strict=True):
                tokens[0] += done.prompt_tokens
                tokens[1] += done.output_tokens
                answer = parse(work.task, work.seed.language, done.text) if done.error is None else None
                if answer is not None and answer.fields is not None:
                    try:
                        kept.append(self._candidate(work, request, done, answer.fields, adapter, payload["depth"]))
                    except TemplateError as error:
                        out.reject([self._reject(spec, work, request, done, Answer(None, "template", str(error)))])
                elif last or answer is None:
                    out.reject([self._reject(spec, work, request, done, answer)])
                else:
                    again.append(work)
            works = again
            if not works:
                break
        kept.sort(key=lambda candidate: place[candidate.seed_id])
        out.keep_rows(kept)
        out.count(prompt_tokens=tokens[0], output_tokens=tokens[1], **self._held.value.account())

    def _seeds(self, root: str, slices: list[Any]) -> Iterator[Seed]:
        for ref, start, stop in slices:
            for batch in read_rows(root, FileRef(*ref), start, stop):
                yield from (Seed(**row) for row in batch.to_pylist())

    def _work(self, domain: str, seed: Seed) -> _Work:
        number = int(content_id(str(self._config.seed), seed.id)[:12], 16)
        names = self._config.domains[domain].tasks
        tasks = [self._config.tasks[name] for name in names if seed.language in self._config.tasks[name].languages]
        task = tasks[number % len(tasks)]
        return _Work(seed, task, render(task, seed.language, seed.text, seed.title, number // len(tasks)), number)

    def _request(self, work: _Work, attempt: int, adapter: Adapter | None) -> Request:
        return Request(
            id=work.seed.id,
            messages=work.prompt.messages,
            sampling=self._sampling(work.task),
            seed=(work.number + attempt * 1_000_003) % 2**31,
            json_schema=json.dumps(work.task.answer) if work.task.format == "json" else None,
            adapter=adapter,
        )

    def _sampling(self, task: Task) -> Sampling:
        own, most = task.sampling, self._config.generate.max_tokens
        return own.model_copy(update={"max_tokens": min(own.max_tokens, most)}) if most else own

    def _candidate(
        self,
        work: _Work,
        request: Request,
        done: Completion,
        fields: dict[str, Any],
        adapter: Adapter | None,
        depth: int,
    ) -> Candidate:
        seed, task = work.seed, work.task
        messages, rejected = converse(task, seed.language, seed.text, seed.title, work.prompt.style, fields)
        sampling = _canonical(request.sampling)
        adapter_name = adapter.name if adapter else None
        return Candidate(
            id=content_id(
                seed.id, work.prompt.hash, self._card.sha256, adapter_name or "", sampling, str(request.seed), done.text
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
            instruction=work.prompt.instruction,
            answer=done.text,
            finish_reason=done.finish_reason,
            prompt_hash=work.prompt.hash,
            generator=self._card.name,
            generator_sha256=self._card.sha256,
            adapter=adapter_name,
            sampling=sampling,
            seed=request.seed,
            prompt_tokens=done.prompt_tokens,
            output_tokens=done.output_tokens,
            parents=[seed.id],
            depth=depth,
        )

    def _reject(self, spec: ShardSpec, work: _Work, request: Request, done: Completion, answer: Answer | None):
        reason, detail = ("generator", done.error) if answer is None else (answer.reason, answer.detail)
        return {
            "id": content_id(work.seed.id, work.prompt.hash, str(request.seed)),
            "seed_id": work.seed.id,
            "domain": work.seed.domain,
            "stage": spec.stage.rsplit("/", 1)[-1],
            "reason": reason,
            "detail": detail and self._redact(detail, work.seed.language),
            "text": self._redact(done.text.encode("utf-8", "replace").decode("utf-8"), work.seed.language),
        }


class _Held:
    """Beam keeps shared objects by weak reference; the generator is closed with its last user."""

    def __init__(self, value: Generator) -> None:
        self.value = value

    def __del__(self) -> None:
        self.value.close()


def _canonical(sampling: Sampling) -> str:
    return json.dumps(sampling.model_dump(), sort_keys=True, separators=(",", ":"))

"""Generate: asks the generator about each passage, once or several times; the answers become candidates."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from jinja2 import TemplateError

from configs.schema import Config
from stages.answers import COMPLETE, read_completion
from stages.body import PerProcess
from stages.likelihood import with_scores
from stages.ports import Adapter, Completion, Generator, ModelCard, ProgressCallback, Request
from stages.prompt import Answer, Prompt, converse, parse, read_edit, texts
from stages.questions import Question, questions_about, request_for
from stages.record import Candidate, Seed, content_id
from stages.storage.inputs import read_rows
from stages.storage.records import FileRef
from stages.storage.shard import ShardSpec
from stages.storage.stage import Counts, StageKind
from stages.storage.utf8 import without_surrogates
from stages.storage.writer import ShardWriter

FINAL_REASONS = {"generator", "template"}  # reasons of rejection for which another attempt would not help


@dataclass(frozen=True, slots=True)
class Generated:
    """The result for one sample of a passage: a candidate, or the reason why there is none."""

    seed: Seed
    task: str
    sample: int
    prompt: Prompt
    request: Request  # of the last attempt
    completion: Completion  # of the last attempt; as the generator gave it, but without thoughts in a candidate's
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
        questions: list[Question] = []
        for seed in seeds:
            asked = questions_about(seed, self._config, spec.label, self._card)
            questions += asked
            if not asked:
                out.reject([self._no_target(spec, seed)])
                out.rows_in += 1
        out.rows_in += len(questions)
        place = {seed.id: number for number, seed in enumerate(seeds)}
        kept: list[tuple[int, int, Candidate]] = []
        for row in self._answer(questions, adapter, payload["depth"], out.report_progress):
            out.stats.prompt_tokens += row.prompt_tokens
            out.stats.output_tokens += row.output_tokens
            if row.candidate is not None:
                kept.append((place[row.seed.id], row.sample, row.candidate))
            else:
                out.reject([self._reject(spec, row)])
        out.keep_rows([candidate for _, _, candidate in sorted(kept, key=lambda item: item[:2])])
        out.stats.generator = self._generator.value.take_stats()

    def answer(self, domain: str, seeds: Sequence[Seed], adapter: Adapter | None = None) -> Iterator[Generated]:
        """Asks the generator about each passage, and again if the answer is not in the task's format.

        Yields a result for each sample of each passage that a task can ask about, in the order in which they become
        final. Call `load` first.
        """
        questions = [asked for seed in seeds for asked in questions_about(seed, self._config, domain, self._card)]
        yield from self._answer(questions, adapter, 1, None)

    def _answer(
        self, questions: list[Question], adapter: Adapter | None, depth: int, progress: ProgressCallback | None
    ) -> Iterator[Generated]:
        """As `answer`. `progress` is called with the samples that are final and the output tokens so far."""
        total, output_tokens_before = len(questions), 0  # tokens: of earlier attempts

        def report(answered: int, output_tokens: int) -> None:
            if progress is not None:
                progress(total - len(questions) + answered, output_tokens_before + output_tokens)

        for attempt in range(self._config.generate.max_attempts):
            if not questions:
                break
            is_last = attempt + 1 == self._config.generate.max_attempts
            again: list[Question] = []
            final: list[Generated] = []
            requests = [request_for(question, self._config, attempt, adapter) for question in questions]
            completions = self._complete(questions, requests, report)
            for question, request, completion in zip(questions, requests, completions, strict=True):
                prompt_tokens = question.prompt_tokens + completion.prompt_tokens
                output_tokens = question.output_tokens + completion.output_tokens
                answer = read_completion(completion)
                candidate, parsed = self._read(question, request, answer, depth)
                if candidate is None and parsed.reason not in FINAL_REASONS and not is_last:
                    again.append(replace(question, prompt_tokens=prompt_tokens, output_tokens=output_tokens))
                    continue
                final.append(
                    Generated(
                        question.seed,
                        question.task.name,
                        question.sample,
                        question.prompt,
                        request,
                        completion if candidate is None else answer,
                        candidate,
                        parsed,
                        attempt + 1,
                        prompt_tokens,
                        output_tokens,
                    )
                )
            yield from self._scored(final) if self._config.generate.likelihood else final
            output_tokens_before += sum(completion.output_tokens for completion in completions)
            questions = again

    def _complete(
        self, questions: Sequence[Question], requests: Sequence[Request], report: ProgressCallback
    ) -> list[Completion]:
        """The generator's completions; empty ones where its text is known already."""
        is_asked = [question.prompt.is_asked for question in questions]
        asked = [request for request, ask in zip(requests, is_asked, strict=True) if ask]
        completions = iter(self._generator.value.generate(asked, report) if asked else ())
        return [next(completions) if ask else Completion("", 0, 0, "stop") for ask in is_asked]

    def _scored(self, results: list[Generated]) -> list[Generated]:
        """The results, with scores by the generator's likelihood in their candidates."""
        answered = [(row.candidate, row.request, row.completion) for row in results if row.candidate is not None]
        candidates = iter(with_scores(self._generator.value, answered))
        return [replace(row, candidate=next(candidates)) if row.candidate is not None else row for row in results]

    def _read(
        self, question: Question, request: Request, completion: Completion, depth: int
    ) -> tuple[Candidate | None, Answer]:
        """The candidate, or None, and the parsed answer, which has the reason if there is none."""
        if completion.error is not None:
            return None, Answer(None, "generator", completion.error)
        if completion.finish_reason not in COMPLETE:
            return None, Answer(None, completion.finish_reason, completion.detail)
        edit = question.prompt.edit
        if edit:
            answer = read_edit(edit, completion.text)
        elif question.prompt.is_asked:
            answer = parse(question.task, question.seed.language, completion.text)
        else:
            answer = Answer({})
        if question.task.format == "sentence" or edit:
            completion = replace(completion, finish_reason="stop")  # what the limit cut off is not in the answer
        if answer.fields is None:
            return None, answer if answer.detail else replace(answer, detail=completion.detail)
        try:
            return self._candidate(question, request, completion, answer.fields, depth), answer
        except TemplateError as error:
            return None, Answer(None, "template", str(error))

    def first_requests(self, spec: ShardSpec) -> list[Request]:
        """The requests of the first attempt at a shard's passages, without an adapter."""
        seeds = self._seeds(spec.root, json.loads(spec.payload)["slices"])
        questions = [asked for seed in seeds for asked in questions_about(seed, self._config, spec.label, self._card)]
        return [request_for(question, self._config, 0, None) for question in questions]

    def _seeds(self, root: str, slices: list[Any]) -> Iterator[Seed]:
        for ref, start, stop in slices:
            for batch in read_rows(root, FileRef(*ref), start, stop):
                yield from (Seed(**row) for row in batch.to_pylist())

    def _candidate(
        self,
        question: Question,
        request: Request,
        completion: Completion,
        fields: dict[str, Any],
        depth: int,
    ) -> Candidate:
        seed, task, prompt = question.seed, question.task, question.prompt
        messages, rejected = converse(task, seed.language, prompt.values, fields)
        sampling = json.dumps(request.sampling.model_dump(), sort_keys=True, separators=(",", ":"))
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
            document_id=seed.document_id,
            source=seed.source,
            licence=seed.licence,
            passage=seed.text,
            instruction=prompt.instruction,
            prompt=prompt.to_json(),
            answer=completion.text,
            writes=task.writes,
            written="" if task.writes == "answer" else fields["text"] if prompt.edit else "\n".join(texts(fields)),
            target=prompt.values.get("meaning") or prompt.values.get("sentence", ""),
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
            "text": self._redact(without_surrogates(row.completion.text), seed.language),
            "task": row.task,
        }

    def _no_target(self, spec: ShardSpec, seed: Seed) -> dict[str, str | None]:
        return {
            "id": content_id(seed.id, "no_target"),
            "seed_id": seed.id,
            "domain": seed.domain,
            "stage": str(spec.stage),
            "reason": "no_target",
            "detail": "no sentence of the passage says something by itself",
            "text": self._redact(seed.text, seed.language),
        }

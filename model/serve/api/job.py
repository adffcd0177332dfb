"""`Job`: a request that was read and checked, ready to run; what its answers have in common."""

import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from uuid import uuid4

from model.serve.access import Client
from model.serve.adapters import ModelChoice
from model.serve.api.errors import ApiError
from model.serve.api.generation import RunningAnswer
from model.serve.api.record import RequestRecord
from model.serve.api.schema.fields import GenerationFields
from model.serve.api.schema.sampling import choice_options, json_schema, sampling_options, seed_of
from model.serve.api.schema.shapes import Usage
from model.serve.api.serving import Serving
from model.serve.api.text.choice import Choice, ChoiceOptions, TextToken
from model.serve.api.text.echo import place_prompt
from model.serve.api.text.tokenizer import Tokenizer
from model.serve.port import GenerationRequest, RequestError
from model.serve.sandbox import GuardPolicy

TOKENS_PER_STEP = 16  # of an answer that is sent as a whole


@dataclass(frozen=True, slots=True)
class PromptText:
    """A prompt. `text`: as it was sent, None if it was token ids."""

    tokens: tuple[int, ...]
    text: str | None = None


@dataclass(slots=True)
class Job:
    """A request with all answers that it asks for."""

    id: str
    model: str
    tokenizer: Tokenizer
    prompts: Sequence[PromptText]
    answers: list[RunningAnswer]
    choices: int  # to each prompt
    logprobs: int | None
    prompt_logprobs: int | None
    return_token_ids: bool
    return_prompt_ids: bool  # not under a policy, whose masks they would undo
    stream: bool
    include_usage: bool
    continuous_usage: bool
    created: int = field(default_factory=lambda: int(time.time()))

    def usage(self, *, sent: bool = False) -> Usage:
        """Tokens of prompts and answers. `sent`: only those that have left."""
        prompt = sum(len(prompt.tokens) for prompt in self.prompts)
        generated = sum(answer.choice.sent if sent else answer.choice.generated for answer in self.answers)
        return {"prompt_tokens": prompt, "completion_tokens": generated, "total_tokens": prompt + generated}


def choose_model(serving: Serving, name: str | None, client: Client, stack: ExitStack) -> ModelChoice:
    """The model that a request names, kept loaded until `stack` is closed. Raises ApiError (404)."""
    wanted = name or serving.model_name
    try:
        if serving.adapters is not None:
            return stack.enter_context(serving.adapters.resolve(wanted, client))
        if wanted == serving.model_name and client.may_use(wanted):
            return ModelChoice(wanted)
    except RequestError:
        pass
    # also for a model that exists: a client learns nothing of those of others
    message = f"model: there is no {wanted!r}; GET /v1/models lists them."
    raise ApiError(404, message, param="model", code="model_not_found")


def check_tokens(tokens: Sequence[int], vocab_size: int, param: str) -> None:
    """Raises ApiError for ids that the model does not have, or for none at all."""
    if not tokens:
        raise ApiError(400, f"{param}: it has no tokens; send at least a word.", param=param)
    if max(tokens) >= vocab_size:
        message = f"{param}: this model has the token ids 0 to {vocab_size - 1}; {max(tokens)} is none."
        raise ApiError(400, message, param=param)


def create_job(
    serving: Serving,
    body: GenerationFields,
    record: RequestRecord,
    chosen: ModelChoice,
    prompts: Sequence[PromptText],
    *,
    kind: str,
    max_tokens: int | None,
    logprobs: int | None,
    echo: bool = False,
) -> Job:
    """Checks a request's values and prepares its answers.

    Args:
        serving: what is served.
        body: the request.
        record: what the log will say of it.
        chosen: its model.
        prompts: at least one.
        kind: how its id begins.
        max_tokens: of each answer, 0: the prompt alone is wanted; None: what the context has room for.
        logprobs: alternatives for each token; None: no log-probabilities.
        echo: put the prompt before the answer.

    Raises: ApiError.
    """
    info, limits = serving.engine.info, serving.limits
    choices, stream = body.n or 1, bool(body.stream)
    _check_numbers(serving, body, len(prompts))
    policy = serving.policies.select(chosen.public_id, record.client.policy)
    of_prompt = body.prompt_logprobs
    if echo and logprobs is not None:
        of_prompt = max(logprobs, of_prompt or 0)
    if policy.scanners and max(logprobs or 0, of_prompt or 0):
        message = "logprobs: under a policy without alternatives, which could spell what it forbids; ask for 0 of them."
        raise ApiError(400, message, param="logprobs", code="unsupported_value")
    if policy.scanners and body.prompt_logprobs is not None:
        message = "prompt_logprobs: not under a policy, whose masks they would undo; send echo with logprobs: 0."
        raise ApiError(400, message, param="prompt_logprobs", code="unsupported_value")
    request_id = f"{kind}-{uuid4().hex}"
    schema, options = json_schema(body, info), choice_options(body, limits, discard=max_tokens == 0)
    keeps_tokens = echo or logprobs is not None or bool(body.return_token_ids)
    answers: list[RunningAnswer] = []
    for prompt in prompts:
        param = "prompt" if kind == "cmpl" else "messages"
        check_tokens(prompt.tokens, info.vocab_size, param)
        _check_policy(policy, prompt, serving, record, param)
        sampling = sampling_options(
            body,
            info,
            limits,
            prompt_tokens=len(prompt.tokens),
            max_tokens=max_tokens,
            logprobs=logprobs,
            prompt_logprobs=of_prompt,
        )
        for number in range(choices):
            index = len(answers)
            request = GenerationRequest(
                id=f"{request_id}-{index}",
                prompt=prompt.tokens,
                sampling=replace(sampling, seed=seed_of(body.seed, number)),
                adapter=chosen.adapter,
                tenant=f"{record.client.name}\0{body.cache_salt or ''}",
                json_schema=schema,
                tokens_per_step=1 if stream or options.stops else TOKENS_PER_STEP,
            )
            choice = Choice(serving.tokenizer, options, policy.guard(), keeps_tokens=keeps_tokens)
            answers.append(RunningAnswer(index, request, choice, _echoed(serving, prompt, options) if echo else None))
    record.model = chosen.public_id
    record.prompt_tokens = sum(len(prompt.tokens) for prompt in prompts)
    streaming = body.stream_options
    return Job(
        id=request_id,
        model=chosen.public_id,
        tokenizer=serving.tokenizer,
        prompts=prompts,
        answers=answers,
        choices=choices,
        logprobs=logprobs,
        prompt_logprobs=body.prompt_logprobs,
        return_token_ids=bool(body.return_token_ids),
        return_prompt_ids=bool(body.return_token_ids) and not policy.scanners,
        stream=stream,
        include_usage=bool(streaming and streaming.include_usage),
        continuous_usage=bool(streaming and streaming.continuous_usage_stats),
    )


def _check_numbers(serving: Serving, body: GenerationFields, prompts: int) -> None:
    """Raises ApiError for too many prompts or answers, and for fields that do not go together."""
    choices, limits, admission = body.n or 1, serving.limits, serving.admission
    if choices > limits.choices:
        raise ApiError(400, f"n: {choices} answers; at most {limits.choices}.", param="n")
    if prompts > limits.prompts:
        raise ApiError(400, f"prompt: {prompts} prompts; at most {limits.prompts}.", param="prompt")
    if admission is not None and prompts * choices > (most := admission.max_running + admission.max_waiting):
        raise ApiError(400, f"n: {prompts * choices} answers in one request; at most {most}.", param="n")
    if body.stream and body.prompt_logprobs is not None:
        raise ApiError(400, "prompt_logprobs: not with stream.", param="prompt_logprobs")
    if body.stream_options is not None and not body.stream:
        raise ApiError(400, "stream_options: only with stream.", param="stream_options")


def _echoed(serving: Serving, prompt: PromptText, options: ChoiceOptions) -> tuple[str, list[TextToken]]:
    """The prompt as the beginning of its answer: text and tokens."""
    special = options.skip_special_tokens
    return place_prompt(serving.tokenizer, prompt.tokens, prompt.text, skip_special_tokens=special)


def _check_policy(policy: GuardPolicy, prompt: PromptText, serving: Serving, record: RequestRecord, param: str) -> None:
    """Raises ApiError if the policy forbids a prompt."""
    if policy.prompts == "pass":
        return
    text = prompt.text if prompt.text is not None else serving.tokenizer.decode(prompt.tokens)
    category = policy.check_prompt(text)
    if category is None:
        return
    record.outcome = f"blocked {category}"
    if serving.metrics is not None:
        serving.metrics.blocked(category)
    raise ApiError(
        400, f"{param}: the policy of this server forbids it ({category}).", param=param, code="content_filter"
    )

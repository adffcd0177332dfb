"""Requests to token ids, and token ids to the raw text of an answer."""

from collections.abc import Mapping, Sequence
from typing import Any

from model.backends.chat_template import ChatTemplate, TemplateError, text_tokens, unread_tokens
from stages.ports import Completion, Request


class PromptError(Exception):
    """This request cannot be sent to the model. `completion`: what it is answered with."""

    def __init__(self, reason: str, prompt_tokens: int = 0):
        super().__init__(reason)
        self.completion = Completion("", prompt_tokens, 0, "error", reason)


class Prompts:
    """Turns requests into prompts. A prompt and its answer together have at most `max_tokens` tokens.

    `options`: variables of the chat template. `guided`: answers are decoded under their JSON schema, so that there can
    be no thoughts before them. The constructor raises ConfigError, with the model's name, if the
    template cannot be used.
    """

    def __init__(self, tokenizer: Any, max_tokens: int, options: Mapping[str, Any], name: str, *, guided: bool = False):
        self.tokenizer, self.max_tokens, self.guided = tokenizer, max_tokens, guided
        self.template = ChatTemplate(tokenizer, options, name)
        self.unread = unread_tokens(tokenizer)

    def tokens(self, request: Request) -> list[int]:
        """The token ids of the prompt and of the answer's given beginning.

        Raises PromptError if the prompt with its answer is too long or the chat template refuses it.
        """
        try:
            ids = self.template.tokens(list(request.messages), answer_next=True)
        except TemplateError as error:
            raise PromptError(f"chat_template: {error}") from None
        if self.answers_at_once(request):
            ids += self.template.tokens_before_answer() + text_tokens(self.tokenizer, request.begin)
        # one token more for a scored answer: vLLM draws one in any case
        answer = request.sampling.max_tokens if request.scored is None else len(self.scored_tokens(request)) + 1
        if len(ids) + answer > self.max_tokens:
            reason = f"prompt_too_long: {len(ids)} tokens and {answer} for the answer"
            raise PromptError(f"{reason} exceed {self.max_tokens}", len(ids))
        return ids

    def scored_tokens(self, request: Request) -> list[int]:
        """The token ids of the answer to score; empty where the request asks for an answer."""
        return text_tokens(self.tokenizer, request.scored or "")

    def answers_at_once(self, request: Request) -> bool:
        """Whether the prompt ends behind the place of thoughts: what follows it is the answer."""
        return bool(request.begin) or request.scored is not None or (self.guided and request.json_schema is not None)

    def answer_text(self, tokens: Sequence[int], *, at_once: bool, tokenizer: Any = None) -> str:
        """The raw text of an answer, which `stages.answers` reads: special tokens of thoughts and turns are in it.

        `at_once`: `answers_at_once` of the request. `tokenizer`: a copy of this one, for another thread.
        """
        kept = [token for token in tokens if token not in self.unread]
        text = (tokenizer or self.tokenizer).decode(kept, skip_special_tokens=False).strip()
        return text if at_once or not self.template.opened else f"{self.template.opened}\n{text}"

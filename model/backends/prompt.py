"""Conversations to token ids, by the chat template of the model."""

from typing import Any

from stages.ports import Completion, Request


class PromptError(Exception):
    """This request cannot be sent to the model. `completion`: what it is answered with."""

    def __init__(self, reason: str, prompt_tokens: int = 0):
        super().__init__(reason)
        self.completion = Completion("", prompt_tokens, 0, "error", reason)


class Prompts:
    """Turns requests into prompts. A prompt and its answer together have at most `max_tokens` tokens."""

    def __init__(self, tokenizer: Any, max_tokens: int):
        self.tokenizer, self.max_tokens = tokenizer, max_tokens

    def tokens(self, request: Request) -> list[int]:
        """The token ids of the prompt and of the answer's given beginning.

        Raises PromptError if the prompt with its answer is too long or the chat template refuses it.
        """
        ids = chat_tokens(self.tokenizer, list(request.messages), answer_next=True)
        ids += text_tokens(self.tokenizer, request.begin)
        # one token more for a scored answer: vLLM draws one in any case
        answer = request.sampling.max_tokens if request.scored is None else len(self.scored_tokens(request)) + 1
        if len(ids) + answer > self.max_tokens:
            reason = f"prompt_too_long: {len(ids)} tokens and {answer} for the answer"
            raise PromptError(f"{reason} exceed {self.max_tokens}", len(ids))
        return ids

    def scored_tokens(self, request: Request) -> list[int]:
        """The token ids of the answer to score; empty where the request asks for an answer."""
        return text_tokens(self.tokenizer, request.scored or "")


def chat_tokens(tokenizer: Any, messages: list[dict[str, str]], *, answer_next: bool) -> list[int]:
    """Token ids of a conversation; with `answer_next` they end where the assistant's next answer begins.

    Special tokens that are spelt out in a message are taken as plain text: they neither begin nor end a turn. Raises
    PromptError if the tokenizer has no chat template or the template refuses the roles.
    """
    import jinja2

    clean = [row | {"content": _plain(tokenizer, row["content"])} for row in messages]
    try:
        return tokenizer.apply_chat_template(clean, add_generation_prompt=answer_next, return_dict=True)["input_ids"]
    except (ValueError, jinja2.TemplateError) as error:
        raise PromptError(f"chat_template: {error}") from None


def text_tokens(tokenizer: Any, text: str) -> list[int]:
    """Token ids of a text without special tokens."""
    return tokenizer(_plain(tokenizer, text), add_special_tokens=False)["input_ids"] if text else []


def _plain(tokenizer: Any, text: str) -> str:
    """The text with special tokens broken up, and without lone surrogates, on which tokenizers raise."""
    text = text.encode("utf-8", "replace").decode()
    for special in _special_tokens(tokenizer):
        text = text.replace(special, f"{special[0]} {special[1:]}")
    return text


def _special_tokens(tokenizer: Any) -> list[str]:
    """The texts that the tokenizer reads as special tokens, the longest first."""
    added = getattr(tokenizer, "added_tokens_decoder", {}).values()
    names = {token.content for token in added if token.special} | set(getattr(tokenizer, "all_special_tokens", ()))
    return sorted((name for name in names if len(name) > 1), key=lambda name: (-len(name), name))

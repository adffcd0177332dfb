"""Conversations as token ids, by the model's own chat template."""

from typing import Any

from stages.ports import Completion, Request


class PromptError(Exception):
    """This one request cannot be asked; `completion` is its answer."""

    def __init__(self, reason: str, prompt_tokens: int = 0):
        super().__init__(reason)
        self.completion = Completion("", prompt_tokens, 0, "error", reason)


class Prompts:
    """Turns requests into prompts that leave room for their answers within `limit` tokens."""

    def __init__(self, tokenizer: Any, limit: int):
        self.tokenizer, self.limit = tokenizer, limit

    def tokens(self, request: Request) -> list[int]:
        """The prompt's token ids. Raises PromptError when it is too long or the template refuses it."""
        ids = chat_tokens(self.tokenizer, list(request.messages), answer_next=True)
        if len(ids) + request.sampling.max_tokens > self.limit:
            reason = f"prompt_too_long: {len(ids)} tokens and {request.sampling.max_tokens} for the answer"
            raise PromptError(f"{reason} exceed {self.limit}", len(ids))
        return ids


def chat_tokens(tokenizer: Any, messages: list[dict[str, str]], *, answer_next: bool) -> list[int]:
    """Token ids of a conversation; with `answer_next` up to where the assistant's next answer begins.

    The spelling of a special token in a message is text: it opens no turn and ends none. Raises PromptError when the
    tokenizer has no chat template, or the template refuses the roles.
    """
    import jinja2

    # A lone surrogate has no UTF-8 form, and tokenizers raise at it.
    clean = [{key: value.encode("utf-8", "replace").decode() for key, value in row.items()} for row in messages]
    for special in _special(tokenizer):
        for row in clean:
            row["content"] = row["content"].replace(special, f"{special[0]} {special[1:]}")
    try:
        return tokenizer.apply_chat_template(clean, add_generation_prompt=answer_next, return_dict=True)["input_ids"]
    except (ValueError, jinja2.TemplateError) as error:
        raise PromptError(f"chat_template: {error}") from None


def _special(tokenizer: Any) -> list[str]:
    """What the tokenizer takes for a token of its own, the longest first."""
    added = getattr(tokenizer, "added_tokens_decoder", {}).values()
    names = {token.content for token in added if token.special} | set(getattr(tokenizer, "all_special_tokens", ()))
    return sorted((name for name in names if len(name) > 1), key=lambda name: (-len(name), name))

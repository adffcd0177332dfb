"""The chat template of a model: conversations to token ids, whatever the template can and cannot do.

A template is tried when it is opened. What it cannot do is worked around where that is possible: a system message that
it refuses goes before the user's, and an answer is put behind the prompt where the template would render it otherwise
(it begins thoughts in the prompt, or removes them from past turns).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from configs.errors import ConfigError
from model.special_tokens import plain, special_tokens
from stages import marks

_USER, _SYSTEM = "Which day comes after Monday?", "Name the day alone."
_ANSWER = "It is Tuesday."
_SWITCHES = ("enable_thinking", "thinking")  # variables by which templates turn thoughts off

Messages = list[dict[str, str]]


class TemplateError(Exception):
    """The template cannot render a conversation."""


@dataclass(frozen=True, slots=True)
class TemplateTraits:
    """What a template does, as far as users should know."""

    takes_system: bool
    opens_thoughts: bool  # in the prompt's end
    switch: str  # the variable that would turn thoughts off; "" where there is none, or it is set


class ChatTemplate:
    """The template of a tokenizer. `options`: variables that it is rendered with, such as `enable_thinking`.

    The constructor raises ConfigError, with the model's name, if there is no template or it renders no conversation.
    """

    def __init__(self, tokenizer: Any, options: Mapping[str, Any], name: str):
        self.tokenizer, self.options = tokenizer, dict(options)
        self.takes_parts = self.takes_system = False
        if not getattr(tokenizer, "chat_template", None):
            raise ConfigError(
                f"generator.model: {name} has no chat template, so it cannot be asked anything; use its instruct "
                "version, or put the chat_template.jinja of the model that it was tuned from into its folder"
            )
        prompt = self._try_user(name)
        self.takes_system = self._try_system()
        opened = marks.OPENED.search(prompt)
        self.opened = opened["mark"] if opened else ""  # what begins the thoughts at the prompt's end
        self.before_answer, self.after_answer = self._try_answer(prompt)

    def text(self, messages: Messages, *, answer_next: bool) -> str:
        """The rendered conversation. Raises TemplateError."""
        return self._render(messages, answer_next=answer_next, tokenize=False)

    def tokens(self, messages: Messages, *, answer_next: bool) -> list[int]:
        """Token ids of a conversation; with `answer_next` they end where the assistant's next answer begins.

        Special tokens that are spelt out in a message are taken as plain text: they neither begin nor end a turn.
        Raises TemplateError if the template refuses the roles.
        """
        clean = [row | {"content": plain(self.tokenizer, row["content"])} for row in messages]
        return self._render(clean, answer_next=answer_next, return_dict=True)["input_ids"]

    def tokens_before_answer(self) -> list[int]:
        """Token ids between a prompt and an answer without thoughts: those that end the thoughts, or name a channel."""
        return self._markup(self.before_answer)

    def conversation(self, messages: Messages) -> tuple[list[int], list[int]] | None:
        """Token ids of the prompt, and of the last message as its answer with the end of its turn.

        None where the template refuses the conversation or there is no answer.
        """
        answer = messages[-1]["content"].strip()
        if len(messages) < 2 or not answer:
            return None
        try:
            prompt = self.tokens(messages[:-1], answer_next=True)
            whole = self.tokens(messages, answer_next=False)
        except TemplateError:
            return None
        if whole[: len(prompt)] == prompt and len(whole) > len(prompt):
            return prompt, whole[len(prompt) :]
        end = self._markup(self.after_answer) or [token for token in [self.tokenizer.eos_token_id] if token is not None]
        return prompt + self.tokens_before_answer(), text_tokens(self.tokenizer, answer) + end

    def traits(self) -> TemplateTraits:
        """What it does with system messages and thoughts."""
        question = [{"role": "user", "content": _USER}]
        prompt = self.text(question, answer_next=True)
        switches = (
            name
            for name in _SWITCHES
            if name not in self.options
            and self._render(question, answer_next=True, tokenize=False, **{name: False}) != prompt
        )
        return TemplateTraits(self.takes_system, bool(self.opened), next(switches, ""))

    def _render(self, messages: Messages, *, answer_next: bool, **more: Any) -> Any:
        import jinja2

        content: list[dict[str, Any]] = list(messages) if self.takes_system else merge_system(messages)
        if self.takes_parts:
            content = [row | {"content": [{"type": "text", "text": row["content"]}]} for row in content]
        try:
            return self.tokenizer.apply_chat_template(
                content, add_generation_prompt=answer_next, **(self.options | more)
            )
        except (ValueError, TypeError, KeyError, AttributeError, ImportError, jinja2.TemplateError) as error:
            raise TemplateError(" ".join(str(error).split()) or type(error).__name__) from None

    def _try_user(self, name: str) -> str:
        """The prompt of a question. Raises ConfigError if the template cannot render one, in either form of content."""
        reason = "it leaves the user's message out"
        for self.takes_parts in (False, True):
            try:
                prompt = self.text([{"role": "user", "content": _USER}], answer_next=True)
            except TemplateError as error:
                reason = str(error)
                continue
            if _USER in prompt:
                return prompt
        raise ConfigError(
            f"generator.model: the chat template of {name} cannot render a question ({reason}); correct its "
            "chat_template.jinja, set generator.chat_template_kwargs if it needs variables, or use another model"
        )

    def _try_system(self) -> bool:
        self.takes_system = True
        messages = [{"role": "system", "content": _SYSTEM}, {"role": "user", "content": _USER}]
        try:
            prompt = self.text(messages, answer_next=True)
        except TemplateError:
            return False
        return _SYSTEM in prompt and _USER in prompt

    def _try_answer(self, prompt: str) -> tuple[str, str]:
        """What is between a prompt and an answer without thoughts, and after the answer."""
        closing = f"\n{marks.closing(self.opened)}\n\n" if self.opened else ""
        messages = [{"role": "user", "content": _USER}, {"role": "assistant", "content": _ANSWER}]
        try:
            whole = self.text(messages, answer_next=False)
        except TemplateError:
            return closing, ""
        before, answer, after = whole.rpartition(_ANSWER)
        if not answer:
            return closing, ""
        return (before[len(prompt) :] if before.startswith(prompt) else closing), after

    def _markup(self, text: str) -> list[int]:
        """Token ids of a text in which special tokens count."""
        return self.tokenizer(text, add_special_tokens=False)["input_ids"] if text else []


def text_tokens(tokenizer: Any, text: str) -> list[int]:
    """Token ids of a text without special tokens."""
    return tokenizer(plain(tokenizer, text), add_special_tokens=False)["input_ids"] if text else []


def unread_tokens(tokenizer: Any) -> frozenset[int]:
    """The special tokens that say nothing about an answer: all but those of thoughts, channels and turns."""
    return frozenset(number for name, number in special_tokens(tokenizer).items() if not re.fullmatch(marks.ANY, name))


def merge_system(messages: Messages) -> Messages:
    """The messages with a system message put before the user's."""
    if len(messages) < 2 or messages[0]["role"] != "system":
        return list(messages)
    system, first, *others = messages
    return [first | {"content": f"{system['content']}\n\n{first['content']}"}, *others]

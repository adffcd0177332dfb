"""`Conversation`: questions and answers of `gristmill chat`, at a terminal or through pipes."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, suppress
from typing import Any

from configs.errors import GristmillError
from model.serve.client import ChatClient
from stages.storage.utf8 import without_surrogates

HELP = "/clear starts anew, /quit or Ctrl-D ends, Ctrl-C stops an answer"
NOTES = {  # by finish_reason
    "length": "the answer was cut at its longest; --max-tokens raises the limit",
    "content_filter": "the server's policy stopped the answer",
}
Answer = tuple[str, str | None]  # the text and its finish_reason


class Conversation:
    """One conversation with one model; each question is asked with all before it.

    Args:
        client: whom to ask.
        model: which of its models.
        system: the system message, if any.
        options: further fields of each request.
    """

    def __init__(self, client: ChatClient, model: str, system: str | None = None, **options: Any) -> None:
        self._client, self._model, self._options = client, model, options
        self._start = [{"role": "system", "content": system}] if system else []
        self.messages = list(self._start)

    def ask(self, question: str, write: Callable[[str], None], *, may_stop: bool = False) -> Answer:
        """Returns the answer to a question.

        Args:
            question: what to ask.
            write: is called with each piece of the answer.
            may_stop: Ctrl-C ends the answer: what there is of it is kept, with `stopped` as its finish_reason.

        Raises:
            BackendError: there is no whole answer. The question is forgotten.
        """
        question_at = len(self.messages)
        self.messages.append({"role": "user", "content": question})
        text, reason = "", None
        try:
            with closing(self._client.answer(self._model, self.messages, **self._options)) as parts:  # type: ignore[type-var]
                for part in parts:
                    text += part.text
                    reason = part.finish_reason or reason
                    write(part.text)
        except KeyboardInterrupt:
            if not may_stop:
                raise
            reason = "stopped"
        except GristmillError:
            del self.messages[question_at:]
            raise
        if text:
            self.messages.append({"role": "assistant", "content": text})
        else:
            del self.messages[question_at:]
        return text, reason

    def clear(self) -> None:
        """Forgets all questions and answers."""
        self.messages = list(self._start)


def chat_at_terminal(
    conversation: Conversation, write: Callable[[str], None], notify: Callable[[object], None]
) -> None:
    """Asks what is typed, until /quit or the end of input. Errors are shown, and the conversation goes on."""
    with suppress(ImportError):
        import readline  # noqa: F401 - keys for editing and earlier lines

    notify(HELP)
    for question in _typed(write):
        if question == "/quit":
            return
        if question == "/clear":
            conversation.clear()
            continue
        try:
            _, reason = conversation.ask(question, write, may_stop=True)
        except GristmillError as error:
            write("\n")
            notify(error)
            continue
        write("\n")
        if reason in NOTES:
            notify(NOTES[reason])


def chat_through_pipes(
    conversation: Conversation,
    questions: Iterable[str],
    write: Callable[[str], None],
    notify: Callable[[object], None],
    report: Callable[[dict[str, Any]], None] | None = None,
) -> None:
    """Asks each line, in one conversation.

    Args:
        conversation: is asked.
        questions: the lines.
        write: is called with the pieces of answers, and a line feed after each answer.
        notify: is called with notes.
        report: if given, is called with each question and answer, and `write` is not.

    Raises:
        BackendError: a question got no whole answer; those after it are not asked.
    """
    for question in questions:
        if question.strip() == "/quit":
            return
        if question.strip() == "/clear":
            conversation.clear()
            continue
        text, reason = conversation.ask(question, (lambda part: None) if report else write)
        if report:
            report({"question": question, "answer": text, "finish_reason": reason})
            continue
        write("\n")
        if reason in NOTES:
            notify(NOTES[reason])


def _typed(write: Callable[[str], None]) -> Iterator[str]:
    """Yields the lines that are typed and not empty, until Ctrl-D. Ctrl-C drops a line."""
    while True:
        try:
            line = without_surrogates(input("> ")).strip()  # for bytes that are not UTF-8
        except KeyboardInterrupt:
            write("\n")
            continue
        except EOFError:
            write("\n")
            return
        if line:
            yield line

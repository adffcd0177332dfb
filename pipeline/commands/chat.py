"""Chat with a model in the terminal: a server's, or one that is started for it."""

import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import typer

from pipeline.command_line.flags import JsonFlag
from pipeline.command_line.output import print_json, print_notice

HELP_GROUP = "Language model"
app = typer.Typer()


@app.command()
def chat(
    url: Annotated[
        str | None, typer.Option("--url", metavar="URL", help="A server with OpenAI's API, e.g. http://127.0.0.1:8000.")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option("--model", metavar="MODEL", help="With --url: which of its models. Else: what to serve and ask."),
    ] = None,
    api_key_file: Annotated[
        str | None, typer.Option("--api-key-file", metavar="FILE", help="A file with the server's key.")
    ] = None,
    system: Annotated[
        str | None, typer.Option("--system", metavar="TEXT", help="The system message: how the model is to answer.")
    ] = None,
    temperature: Annotated[
        float | None, typer.Option("--temperature", metavar="T", help="0 always takes the likeliest token.")
    ] = None,
    max_tokens: Annotated[
        int | None, typer.Option("--max-tokens", metavar="N", help="Most tokens of an answer.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Answers are shown as they are written; each question is asked with all before it.

    At a terminal, Ctrl-C stops an answer, /clear starts anew, /quit ends. From a pipe, each line is a question; with
    --json, each is answered by a line with question, answer and finish_reason.
    """
    from configs.errors import ConfigError
    from model.serve.client import ChatClient
    from pipeline.command_line.conversation import Conversation, chat_at_terminal, chat_through_pipes
    from pipeline.command_line.standard_input import decoded, lines
    from pipeline.report.control_characters import without_control_characters

    if url is None and model is None:
        raise ConfigError("chat: whom to ask? Give --url URL of a server, or --model MODEL to start one")
    if url is None and api_key_file is not None:
        raise ConfigError("--api-key-file: only a server of --url has keys; leave it out")
    is_shown = sys.stdout.isatty()

    def write(text: str) -> None:
        print(without_control_characters(text) if is_shown else text, end="", flush=True)

    options: dict[str, Any] = {"temperature": temperature, "max_tokens": max_tokens}
    with ExitStack() as stack:
        if url is None:
            from pipeline.command_line.local_server import LocalServer

            print_notice(f"starting {model} …")
            url = stack.enter_context(LocalServer(str(model))).url
            model = None
        client = stack.enter_context(ChatClient(url, _read_key(api_key_file) if api_key_file else None))
        names = [model] if model else client.models()
        if not names:
            raise ConfigError(f"--url: {url} serves no model that this key may use; see its --api-key-file")
        given = {name: value for name, value in options.items() if value is not None}
        conversation = Conversation(client, names[0], system, **given)
        if sys.stdin.isatty() and not as_json:
            print_notice(f"{names[0]} at {client.url}")
            chat_at_terminal(conversation, write, print_notice)
        else:
            questions = decoded(lines(), "chat: question")
            chat_through_pipes(conversation, questions, write, print_notice, print_json if as_json else None)


def _read_key(path: str) -> str:
    """Raises ConfigError, without the key in it."""
    from configs.errors import ConfigError

    try:
        words = Path(path).expanduser().read_text("utf-8").split()
    except (OSError, UnicodeError) as error:
        raise ConfigError(
            f"--api-key-file: {path} cannot be read ({getattr(error, 'strerror', 'not UTF-8')}); name a text file that "
            "you may read"
        ) from None
    if len(words) != 1 or not words[0].isascii():
        raise ConfigError(f"--api-key-file: {path} has {len(words)} words; give a file with one key and nothing else")
    return words[0]

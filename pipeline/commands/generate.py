"""Continue prompts with a model, such as one that `gristmill train` made."""

import sys
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Annotated, Any

import typer

from pipeline.command_line.flags import JsonFlag
from pipeline.command_line.output import print_json

HELP_GROUP = "Language model"
app = typer.Typer()


@app.command()
def generate(
    model: Annotated[str, typer.Option("--model", metavar="MODEL", help="Folder, .gguf file or name of the model.")],
    prompts: Annotated[
        list[str] | None,
        typer.Argument(metavar="PROMPT", help="Texts to continue; without any, the lines of standard input."),
    ] = None,
    as_json: JsonFlag = False,
    max_length: Annotated[
        int, typer.Option("--max-length", metavar="N", help="Most tokens, those of the prompt included.")
    ] = 200,
    temperature: Annotated[
        float, typer.Option("--temperature", metavar="T", help="0 always takes the likeliest token.")
    ] = 0.7,
    top_p: Annotated[
        float,
        typer.Option("--top-p", metavar="P", help="Draw from the likeliest tokens that hold this probability."),
    ] = 0.95,
    seed: Annotated[int | None, typer.Option("--seed", metavar="N", help="Makes drawing repeatable.")] = None,
) -> None:
    """Prints each prompt with its continuation, as it is generated; with --json, a line for each prompt."""
    from configs.errors import ConfigError
    from model import Model

    texts = _decoded(prompts or _lines())
    first = next(texts, None)
    if first is None:
        raise ConfigError("generate: no prompt; give one, or lines on standard input")
    generator = Model.from_pretrained(model)
    options: dict[str, Any] = {"max_length": max_length, "temperature": temperature, "top_p": top_p}
    for number, prompt in enumerate(chain([first], texts), 1):
        if not as_json:
            print(prompt, end="", flush=True)
        try:
            text = generator.generate_batch(
                [prompt],
                seed=None if seed is None else seed + number - 1,
                on_text=None if as_json else lambda piece: print(piece, end="", flush=True),
                **options,
            )[0]
        except ValueError as error:
            if not as_json:
                print(flush=True)
            raise ConfigError(f"generate: prompt {number}: {error}") from None
        if as_json:
            print_json({"prompt": prompt, "text": text})
        else:
            print("\n", flush=True)


def _lines() -> Iterator[bytes | str]:
    """Yields the lines of standard input that are not empty, each as soon as it is there."""
    stream: Any = getattr(sys.stdin, "buffer", sys.stdin)
    nothing = stream.read(0)  # bytes or str
    for line in iter(stream.readline, nothing):
        if line.strip():
            yield nothing.join(line.splitlines())


def _decoded(prompts: Iterable[bytes | str]) -> Iterator[str]:
    """Yields the prompts as text. Raises InputError for one that is not UTF-8."""
    from configs.errors import InputError

    for number, prompt in enumerate(prompts, 1):
        try:
            # Words of the command line that are not UTF-8 have their bytes as surrogates.
            yield (prompt if isinstance(prompt, bytes) else prompt.encode("utf-8", "surrogateescape")).decode()
        except UnicodeError:
            raise InputError(
                f"generate: prompt {number} is not UTF-8; convert it, with iconv -f latin1 -t utf-8"
            ) from None

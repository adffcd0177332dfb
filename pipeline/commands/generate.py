"""Continue prompts with a model, such as one that `gristmill train` made."""

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
    from pipeline.command_line.standard_input import decoded, lines

    texts = decoded(prompts or lines(), "generate: prompt")
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

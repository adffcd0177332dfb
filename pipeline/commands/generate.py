"""Continue prompts with a model that `gristmill train` made."""

import sys
from typing import Annotated

import typer

from pipeline.command_line.flags import JsonFlag
from pipeline.command_line.output import print_json

HELP_GROUP = "Language model"
app = typer.Typer()


@app.command()
def generate(
    model: Annotated[str, typer.Option("--model", metavar="DIR", help="Folder of the model.")],
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
    """Prints each prompt with its continuation."""
    from configs.errors import ConfigError
    from model.lm.text_generator import TextGenerator

    texts = prompts or [line.rstrip("\n") for line in sys.stdin if line.strip()]
    if not texts:
        raise ConfigError("generate: no prompt; give one, or lines on standard input")
    generator = TextGenerator.from_pretrained(model)
    try:
        continued = generator.generate_batch(
            texts, max_length=max_length, temperature=temperature, top_p=top_p, seed=seed
        )
    except ValueError as error:
        raise ConfigError(f"generate: {error}") from None
    for prompt, text in zip(texts, continued, strict=True):
        if as_json:
            print_json({"prompt": prompt, "text": text})
        else:
            print(f"{prompt}{text}\n")

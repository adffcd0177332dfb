"""Serve a language model over HTTP, with OpenAI's API.

It answers until SIGTERM or Ctrl-C, which lets running answers end; SIGHUP reads the keys again.
"""

from typing import Annotated

import typer

from pipeline.command_line.output import print_notice
from pipeline.serving.options import Dtype, EngineKind, ServeOptions

HELP_GROUP = "Language model"
app = typer.Typer()


@app.command()
def serve_model(
    model: Annotated[
        str,
        typer.Option(
            "--model", metavar="DIR|NAME", help="A model's folder, the name of a packaged model, or one of the hub."
        ),
    ],
    engine: Annotated[
        EngineKind,
        typer.Option(
            "--engine",
            metavar="auto|embedded|vllm",
            help="What generates. auto: vLLM, if it is there, on a GPU, for models of other makers; else embedded.",
        ),
    ] = ServeOptions.engine,
    host: Annotated[
        str,
        typer.Option(
            "--host", metavar="HOST", help="The address to listen on. Others than this machine's own need keys."
        ),
    ] = ServeOptions.host,
    port: Annotated[
        int,
        typer.Option("--port", metavar="N", help="The port; 0 for a free one."),
    ] = ServeOptions.port,
    api_key_file: Annotated[
        str | None,
        typer.Option("--api-key-file", metavar="FILE", help="Keys of the clients: one a line, or YAML with limits."),
    ] = ServeOptions.api_key_file,
    adapters: Annotated[
        str | None,
        typer.Option("--adapters", metavar="DIR", help="LoRA adapters: each is a model, too."),
    ] = ServeOptions.adapters,
    admin_socket: Annotated[
        str | None,
        typer.Option("--admin-socket", metavar="PATH", help="A Unix socket on which adapters are loaded and unloaded."),
    ] = ServeOptions.admin_socket,
    policy: Annotated[
        str | None,
        typer.Option(
            "--policy",
            metavar="FILE",
            help="What must not leave: a policy file, or default for the shipped one.",
        ),
    ] = ServeOptions.policy,
    served_name: Annotated[
        str | None,
        typer.Option("--served-name", metavar="NAME", help="What clients call the model."),
    ] = ServeOptions.served_name,
    max_length: Annotated[
        int | None,
        typer.Option("--max-length", metavar="N", help="Most tokens of a prompt and its answer."),
    ] = ServeOptions.max_length,
    slots: Annotated[
        int | None,
        typer.Option("--slots", metavar="N", help="Answers that are generated at once."),
    ] = ServeOptions.slots,
    dtype: Annotated[
        Dtype,
        typer.Option("--dtype", metavar="auto|float32|bfloat16", help="Number format of the weights."),
    ] = ServeOptions.dtype,
    max_waiting: Annotated[
        int,
        typer.Option("--max-waiting", metavar="N", help="Answers that wait for a slot; more are refused with 429."),
    ] = ServeOptions.max_waiting,
    max_tokens: Annotated[
        int | None,
        typer.Option("--max-tokens", metavar="N", help="Most tokens of an answer."),
    ] = ServeOptions.max_tokens,
    timeout_s: Annotated[
        float,
        typer.Option("--timeout-s", metavar="S", help="Seconds for a whole answer."),
    ] = ServeOptions.timeout_s,
    grace_s: Annotated[
        float,
        typer.Option("--grace-s", metavar="S", help="Seconds that running answers have once the server is stopped."),
    ] = ServeOptions.grace_s,
) -> None:
    """Starts the engine, then the server."""
    from configs.errors import ConfigError

    try:
        from pipeline.serving.log import log_to_standard_error
        from pipeline.serving.start import serve as start
    except ModuleNotFoundError as error:
        if error.name != "fastapi":
            raise
        raise ConfigError("gristmill serve needs FastAPI: pip install 'gristmill[serve]'") from None

    log_to_standard_error()
    options = ServeOptions(
        model=model,
        engine=engine,
        host=host,
        port=port,
        api_key_file=api_key_file,
        adapters=adapters,
        admin_socket=admin_socket,
        policy=policy,
        served_name=served_name,
        max_length=max_length,
        slots=slots,
        dtype=dtype,
        max_waiting=max_waiting,
        max_tokens=max_tokens,
        timeout_s=timeout_s,
        grace_s=grace_s,
    )
    start(options, print_notice)

"""The commands of `gristmill`, one a file; a folder is a group of commands, as `store` is. `run` is a good one to read.

To add a command, add a file. Its docstring is the command's help, the first line of it is what `gristmill --help`
shows, and the file's name is the command's. It holds a Typer app of one command:

    '''Greet somebody.'''

    import typer

    HELP_GROUP = "Set-up"  # where --help lists it; "Other commands" if left out
    app = typer.Typer()

    @app.command()
    def hello(name: str) -> None:
        print(f"Hello, {name}.")

A command returns its exit code, or None for 0. It raises an error of configs.errors for what a user can fix. With a
flag `as_json` (`--json`) the error is printed as JSON too: the file's `FAILED_RESULT` with status, error and code.
A command file is imported when its command is called: what is heavy is imported inside the function.
"""

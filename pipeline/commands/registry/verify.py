"""Read every file of the registry and hash its adapters. The exit code is 1 if something is wrong."""

import typer

from pipeline.command_line.flags import DataSetFlag, JsonFlag
from pipeline.command_line.output import print_json
from pipeline.command_line.registry import open_registry
from pipeline.exit_codes import DONE, FAILED

app = typer.Typer()


@app.command()
def verify_registry(out: DataSetFlag, as_json: JsonFlag = False) -> int:
    """Prints problems. Returns the exit code."""
    from pipeline.store.registry_check import verify

    data, registry = open_registry(out)
    problems = verify(data)
    domains = registry.domains()
    verdicts = sum(len(registry.numbers(domain)) for domain in domains)
    if as_json:
        print_json({"domains": domains, "verdicts": verdicts, "problems": problems})
    else:
        state = f"{len(problems)} wrong" if problems else "all in order"
        print("\n".join([*problems, f"domains {', '.join(domains) or 'none'}; verdicts {verdicts}: {state}"]))
    return FAILED if problems else DONE

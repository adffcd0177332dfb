"""What `gristmill plan` warns of: sources and settings with which a run would give few rows or none, or take long."""

from collections.abc import Iterable

from configs.schema import Config
from stages import seeds
from stages.sources.formats import reader_name, suffixes
from stages.sources.opening import is_local

ROWS_IN_ORDER = ("jsonl", "json", "csv", "tsv")
LARGE_BYTES = 256 << 20  # of text: a few minutes of a core
COMPRESSION_RATIO = 4  # of English text in gzip, at least
MAX_CHARS_PER_TOKEN = 8  # of running text
MULTILINGUAL_PARAMETERS = 400_000_000  # measured: SmolLM2-135M writes no usable Chinese or Spanish, Qwen2.5-0.5B does


def without_text(files: list[seeds.DomainFile]) -> dict[str, str]:
    """Warnings, by domain, of those whose files are all empty."""
    warnings: dict[str, str] = {}
    for name in dict.fromkeys(file.domain for file in files):
        sources = [file.file for file in files if file.domain == name]
        if not any(source.bytes or not is_local(source.url) for source in sources):  # a remote size may be unknown
            urls = ", ".join(source.url for source in sources[:3])
            warnings[name] = f"domains.{name}.seeds: nothing is in {urls}: no row will be made; add text or sources"
    return warnings


def large_shards(files: list[seeds.DomainFile]) -> Iterable[str]:
    """Large files that are not cut into parts: they take minutes, in which other workers have nothing to read."""
    for file in (file for file in files if not file.file.stop and reader_name(file.file.url) in ROWS_IN_ORDER):
        compression = suffixes(file.file.url)[1]
        size = file.file.bytes * (COMPRESSION_RATIO if compression else 1)
        if size >= LARGE_BYTES:
            fix = (
                f"decompress it, or save it as several {compression} files"
                if compression
                else "save it as JSON Lines in UTF-8"
            )
            yield (
                f"domains.{file.domain}.seeds[{file.place}]: {file.file.name} ({file.file.bytes / 1e6:,.0f} MB) is one "
                f"shard, which one process reads from start to end; {fix}, so that it is read in parts"
            )


def settings_warnings(config: Config, parameters: int, name: str) -> Iterable[str]:
    """Settings that will give poor rows or none with a model of so many parameters (0: unknown), called `name`."""
    if config.evolve is not None and config.generate.samples == 1:
        yield "generate.samples: 1, so that no answers are collected for evolve to train with; set 2 or more"
    for domain_name, domain in config.domains.items():
        tasks = config.fitting_tasks(domain_name, parameters)
        if config.evolve is not None and not any(config.tasks[task].writes == "answer" for task in tasks):
            yield (
                f"evolve: the model writes no answers for {', '.join(tasks)} in {domain_name}, and a verifier judges "
                "nothing else, so no candidate will be taken; add a task such as explain, or a larger model"
            )
        for task in domain.drawn_tasks:
            if 0 < parameters < (needs := config.tasks[task].needs_parameters):
                left_out = task not in config.fitting_tasks(domain_name, parameters)
                yield (
                    f"domains.{domain_name}.tasks: {task} needs about {needs / 1e6:,.0f} M parameters, {name} has "
                    f"{parameters / 1e6:.0f} M: " + ("it is left out" if left_out else "expect few answers that fit")
                )
        yield from _impossible(config, domain_name)
        poor_languages = [language for language in domain.languages if language != "en"]
        if poor_languages and 0 < parameters < MULTILINGUAL_PARAMETERS:
            size = f"{parameters / 1e6:.0f} M parameters"
            yield f"domains.{domain_name}.languages: {', '.join(poor_languages)} will be poor: {name} has {size}"


def _impossible(config: Config, domain_name: str) -> Iterable[str]:
    """Settings with which no row can be made: known without a model, since a token has so many characters at most."""
    domain = config.domains[domain_name]
    context = config.generator.max_model_len
    least_chars = max(
        (spec.options.get("min_chars", 0) for spec in config.screen.filters if spec.name == "length"), default=0
    )
    for name in domain.drawn_tasks:
        task = config.tasks[name]
        tokens = min(task.sampling.max_tokens, config.generate.max_tokens or task.sampling.max_tokens)
        least_tokens = domain.passages.min_chars / MAX_CHARS_PER_TOKEN + tokens
        if task.target == "passage" and context < least_tokens:
            yield (
                f"generator.max_model_len: {context} tokens hold no prompt of {name} in {domain_name} beside an "
                f"answer of up to {tokens} tokens: no row will be made; raise it"
            )
        if task.writes == "answer" and least_chars > tokens * MAX_CHARS_PER_TOKEN:
            yield (
                f"screen.filters: length asks for {least_chars} characters, an answer of {name} in {domain_name} has "
                f"{tokens} tokens at most: no row will be kept; lower min_chars"
            )

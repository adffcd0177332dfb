"""`evaluate`: what `gristmill evaluate` runs. Measures and compares trained models on text that they have not seen.

<out>/evaluation.json    every figure with its settings
<out>/evaluation.png     perplexity by text, retrieval over length
<out>/lm_eval/           the tasks as lm-evaluation-harness reads them
"""

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from configs.errors import ConfigError, StoreError
from model.evaluation import lm_eval_tasks
from model.evaluation.evaluated_model import EvaluatedModel
from model.evaluation.groups import group_models, summarize_group
from model.evaluation.held_out import HeldOutText, read_corpora, read_rows
from model.evaluation.loaded_model import LoadedModel, Watch
from model.evaluation.options import EvaluationOptions
from stages.storage.atomic import replacing, write_text

FILLER_BYTES_PER_TOKEN = 16  # more than any tokenizer's average, so that the filler is long enough for retrieval


def evaluate(
    arguments: Sequence[str], shards: Sequence[Path], options: EvaluationOptions, out: Path, watch: Watch
) -> dict[str, Any]:
    """Measures every model, groups the seeds of one configuration, and writes the results to `out`.

    Args:
        arguments: the models, each as `DIR` or `label=DIR`.
        shards: of a data set whose held-out rows are scored too; may be empty.
        options: what is measured.
        out: the folder of the results.
        watch: is called with a line before each measurement.

    Returns:
        What evaluation.json contains.

    Raises:
        ConfigError: an option or a model's name is wrong.
        InputError: a folder, corpus or shard cannot be used.
        StoreError: the disk is full, or `out` cannot be written.
    """
    _check_folder(out)
    models = [EvaluatedModel.open(argument) for argument in arguments]
    groups = group_models(models)
    rules = [model.held_out(options.held_out) for model in models] if shards else []
    lm_eval_tasks.check(options.tasks)
    corpora_texts = {domain: read_corpora(domain, options.bytes) for domain in options.domains}
    filler_bytes = max(options.bytes, FILLER_BYTES_PER_TOKEN * options.max_length)
    filler = "\n\n".join(read_corpora(options.domains[0], filler_bytes).documents)
    tasks_folder = out / "lm_eval"
    with _writing(tasks_folder):
        if options.tasks:
            shutil.rmtree(tasks_folder, ignore_errors=True)
        tasks = {name: lm_eval_tasks.write(name, tasks_folder, options.questions) for name in options.tasks}
    if shards:
        watch("reading the data set")
    rows = read_rows(shards, rules, options.bytes) if shards else None
    results = []
    described = {name: _describe(text) for name, text in corpora_texts.items()}
    for model in models:
        loaded = LoadedModel(model, options, watch)
        data_texts, unigram = (rows.texts, loaded.count_unigrams(rows)) if rows else ({}, None)
        perplexity = {}
        for name, text in (corpora_texts | data_texts).items():
            perplexity[name] = loaded.measure_perplexity(name, text, unigram)
            described[name] = _describe(text)
        results.append(
            {
                **loaded.about(),
                "perplexity": perplexity,
                **loaded.measure_retrieval(filler),
                "tasks": loaded.measure_tasks(tasks_folder),
            }
        )
    evaluation = {
        "status": "done",
        "models": results,
        "groups": [summarize_group(name, groups, models, results) for name in groups],
        "texts": described,
        "tasks": {name: asdict(task) for name, task in tasks.items()},
        "options": asdict(options),
    }
    from model.evaluation.plot import draw_evaluation

    with _writing(out):
        write_text(out / "evaluation.json", json.dumps(evaluation, indent=1, ensure_ascii=False))
        with replacing(out / "evaluation.png") as temporary:
            draw_evaluation(evaluation, temporary)
    return evaluation


def _check_folder(out: Path) -> None:
    existing = next(place for place in (out, *out.absolute().parents) if place.exists())
    if not existing.is_dir():
        raise ConfigError(f"--out: {existing} is a file; give a folder")


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Turns a failed write into a StoreError."""
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"{path}: cannot be written ({error.strerror or error}); free space or give another --out, then run again"
        ) from None


def _describe(text: HeldOutText) -> dict[str, Any]:
    return {"sources": text.sources, "documents": len(text.documents), "bytes": text.bytes}
